from __future__ import annotations

import subprocess
import sys
import time

import pytest

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.clock import SystemClock
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.coordination import SINGLE_WRITER, coordinated
from csbsctl.vault.probe import probe
from csbsctl.vault.stores import DirectoryStore


class Leaky(DirectoryStore):
    """A store as some are: it refuses a second create, but not a simultaneous one."""

    def create(self, key, data, *, authenticated=False):
        try:
            self.get(key, 0, 1)
        except BlobNotFound:
            time.sleep(0.002)
            self.put(key, data)
        else:
            raise BlobExists(key)


@pytest.fixture
def leaky(tmp_path):
    return Leaky(tmp_path / "leaky")


def test_a_store_with_several_winners_is_found_out(leaky):
    result = probe(leaky, SystemClock(), races=5)
    assert result.several_winners
    assert not result.atomic
    assert list(leaky.list("")) == []


@pytest.mark.parametrize("service", [SINGLE_WRITER, "file"])
def test_under_locks_one_wins(leaky, tmp_path, service):
    url = f"file://{tmp_path}/locks" if service == "file" else service
    result = probe(coordinated(leaky, url), SystemClock(), races=5)
    assert result.several_winners == 0
    assert result.atomic


def test_without_coordination_the_store_is_used_as_it_is(directory):
    assert coordinated(directory, None) is directory


@pytest.mark.parametrize("url", ["nonsense://x", "redis://127.0.0.1:1?socket_timeout=1"])
def test_a_lock_service_that_cannot_be_used_is_named(directory, url):
    with pytest.raises(StoreUnavailable, match="lock service") as caught:
        coordinated(directory, url).create("k", b"")
    assert caught.value.code == "vault.coordination"


def test_without_tooz_it_says_what_to_install(tmp_path):
    script = (
        "import sys; sys.modules['tooz'] = None\n"
        "from pathlib import Path\n"
        "from csbsctl.vault.coordination import coordinated\n"
        "from csbsctl.vault.stores import DirectoryStore\n"
        "coordinated(DirectoryStore(Path(sys.argv[1])), 'file:///x').create('k', b'')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )
    assert "UsageError: vault.coordination needs the tooz library" in done.stderr
