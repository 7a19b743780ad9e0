"""From YAML to a commit: what is wrong is told with its place, and a kill leaves the old generation or the new one."""

from __future__ import annotations

import json
import signal

import pytest

from csbsctl.config import load
from csbsctl.engine import Desired, Planner
from csbsctl.errors import ConfigError

YAML = """\
version: 1
stack: shop
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: 30}
bindings:
  web:
    policy: gold
    servers:
      - web-01
      - wbe-02
"""


def test_a_server_that_is_not_there_is_told_with_file_line_and_a_guess(world, tmp_path):
    (tmp_path / "csbs.yaml").write_text(YAML)
    wish = Desired.of(load(tmp_path, environ={}))
    with pytest.raises(ConfigError) as caught:
        Planner(world.situation()).plan(wish)
    (problem,) = caught.value.diagnostics
    assert (problem.place.line, problem.place.column) == (15, 9)
    assert problem.place.text.strip() == "- wbe-02"
    assert "web-02" in problem.hint


def test_what_a_file_declares_is_what_is_in_force_after_an_apply(world, tmp_path):
    (tmp_path / "csbs.yaml").write_text(YAML.replace("wbe", "web"))
    configuration = load(tmp_path, environ={})
    world.apply(Desired.of(configuration, commit="abc123"))
    document = world.vault.control.head()
    assert document.stacks["shop"].live == configuration.canonical
    assert document.commit == "abc123"
    assert world.plan(Desired.of(load(tmp_path, environ={}))).plan.empty


@pytest.mark.slow
@pytest.mark.parametrize(("boundary", "generation"), [("apply.before-commit", 0), ("apply.committed", 1)])
def test_an_apply_killed_at_a_boundary_leaves_one_generation_or_the_other(csbsctl, boundary, generation):
    csbsctl.write(YAML.replace("wbe", "web"))
    for name in ("web-01", "web-02"):
        csbsctl.apart("sim", "server", "create", name, "--disk", "1M")
    csbsctl.apart("apply", "--yes", expect=-signal.SIGKILL, env={"CSBSCTL_FAULT": f"kill:{boundary}"})
    kept = json.loads(csbsctl.apart("history", "--json").out)
    assert len(kept) == generation
    again = json.loads(csbsctl.apart("apply", "--yes", "--json").out)
    assert (again["generation"], again["applied"]) == (1, generation == 0)
    assert csbsctl.apart("plan", "--detailed-exitcode").code == 0
