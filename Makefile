# Needs Python 3.11 or later and make; everything else is set up here, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-s3 test-openstack test-openstack-all test-guests lint bench bench-openstack soak schemas docs lock clean

demo: $(VENV)/.base
	@$(BIN)/csbsctl demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 4 --dist worksteal

# Starts Ceph's radosgw (packages are installed when root) and OpenStack Swift on loopback, and stops them.
test-s3: $(VENV)/.dev
	@CSBSCTL_REAL_S3=1 $(BIN)/python -m pytest tests/s3 -m s3

# Starts a real OpenStack on loopback, runs the provider's tests on it, and stops it. Root on Debian 12; installs what it
# needs. With real guests for what only they can show, which takes ten minutes more.
test-openstack: $(VENV)/.dev
	@tests/openstack/run.sh

test-guests: $(VENV)/.dev
	@NOVA_DRIVER=libvirt tests/openstack/run.sh tests/openstack/test_openstack_guests.py

# As test-openstack, and kills commands at every step boundary, not at the most telling ones only: an hour more.
test-openstack-all: $(VENV)/.dev
	@CSBSCTL_EVERY_STEP=1 LIMIT=7200 tests/openstack/run.sh

lint: $(VENV)/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

# Ten minutes on a quiet machine. Peers are measured where they are installed: restic, borg and kopia for the data
# plane, terraform for the engine. S3 is a radosgw that is started for it, whose packages are installed when root.
bench: $(VENV)/.dev
	@$(BIN)/python benchmarks/bench.py

bench-openstack: $(VENV)/.dev
	@tests/openstack/run.sh measure

soak: $(VENV)/.dev
	@$(BIN)/python -m pytest -m soak --timeout 3600 -s -o faulthandler_timeout=0

# What is generated from the code: the schemas of what people write, the reference pages.
schemas: $(VENV)/.dev
	@$(BIN)/python -m csbsctl.config.schema
	@$(BIN)/python -m csbsctl.rehearsal.schema

docs: $(VENV)/.dev
	@$(BIN)/python docs/generate.py

# Needs uv on the PATH. The lock names no index, so that it works with whichever one pip is configured for.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate pyproject.toml requirements/build.in -o requirements/base.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra dev pyproject.toml requirements/build.in -o requirements/dev.txt

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("csbsctl needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: requirements/base.txt pyproject.toml | $(BIN)/python
	@$(PIP) --require-hashes -r requirements/base.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
