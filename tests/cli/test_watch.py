"""``run --watch`` as somebody reads it who leaves it running."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandLine

CONFIGURATION = """\
version: 1
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold: {schedule: {at: ["02:00"]}, retention: {count: 1}}
bindings:
  web: {policy: gold, servers: [web-01]}
"""


@pytest.mark.slow
def test_a_watch_says_once_that_nothing_is_due(csbsctl: CommandLine):
    csbsctl.write(CONFIGURATION)
    csbsctl.at = "2026-11-01T00:00:00Z"
    csbsctl("sim", "server", "create", "web-01", "--disk", "64K")
    csbsctl("apply", "--yes")
    csbsctl.at = "2026-11-01T02:00:00Z"
    watching = csbsctl.spawn("run", "--watch", "--every", "1s", "--json")
    assert watching.stdout
    passes = 0
    while passes < 4:
        passes += "succeeded" in json.loads(watching.stdout.readline())
    watching.send_signal(signal.SIGTERM)
    _, said = watching.communicate(timeout=60)
    assert watching.returncode == 143
    assert said.count("1 backed up") == 1
    assert said.count("Nothing is due.") == 1
