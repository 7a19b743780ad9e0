"""The vault on real S3 servers: the contract of stores, the race that finds out who is atomic, and a whole life."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandLine

pytestmark = [pytest.mark.s3, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
CONFIGURATION = """\
version: 1
vault:
  url: s3://vault/{PREFIX}
  endpoint_url: {ENDPOINT}
  encryption: {key_file: ./vault.key, control: true}
  {COORDINATION}
providers:
  default: {type: local, path: ./cloud}
policies:
  gold: {schedule: {at: ["02:00"]}, retention: {count: 1}}
bindings:
  web: {policy: gold, servers: [web-01]}
"""


def configure(csbsctl: CommandLine, server: Any, prefix: str, coordination: str = "") -> None:
    text = CONFIGURATION.replace("{PREFIX}", prefix).replace("{ENDPOINT}", server.endpoint)
    csbsctl.write(text.replace("{COORDINATION}", f"coordination: {coordination}" if coordination else ""))
    (csbsctl.folder / "vault.key").write_bytes(os.urandom(32))


def test_the_contract_of_stores_holds(server: Any):
    words = [
        sys.executable,
        "-m",
        "pytest",
        "tests/conformance/store",
        "-k",
        "real",
        "-p",
        "no:cacheprovider",
    ]
    environ = {**os.environ, **server.environ, "CSBSCTL_TEST_S3": server.endpoint}
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_a_race_finds_out_whether_a_store_can_be_believed(csbsctl: CommandLine, server: Any):
    configure(csbsctl, server, "raced")
    said = csbsctl.apart("vault", "init", env=server.environ, expect=0 if server.atomic else 1)
    if not server.atomic:
        assert "coordination" in said.err
        configure(csbsctl, server, "raced", f"file://{csbsctl.folder}/locks")
        csbsctl.apart("vault", "init", env=server.environ)


def test_a_whole_life(csbsctl: CommandLine, server: Any):
    def run(*words: str, expect: int = 0) -> Any:
        return csbsctl.apart(*words, env=server.environ, expect=expect)

    configure(csbsctl, server, "life", "" if server.atomic else f"file://{csbsctl.folder}/locks")
    csbsctl.at = "2026-11-01T00:00:00Z"
    run("sim", "server", "create", "web-01", "--disk", "64M", "--disk", "8M")
    run("apply", "--yes")
    run("sim", "write", "web-01:0", "--offset", "0", "--random", "40M", "--seed", "1")
    before = run("sim", "disk", "sha256", "web-01:0").out
    csbsctl.at = "2026-11-01T02:00:00Z"
    assert "1 backed up" in run("run").out
    csbsctl.at = "2026-11-01T03:00:00Z"
    run("backup", "create", "web-01", "--name", "kept")
    run("sim", "attack", "web-01", "--seed", "3")
    csbsctl.at = "2026-11-02T02:00:00Z"
    assert "1 deleted" in run("run").out
    assert "sound" in run("backup", "verify", "--all").out
    run("restore", "kept@web-01", "--in-place", "--yes")
    assert run("sim", "disk", "sha256", "web-01:0").out == before
    run("vault", "key", "rotate")
    run("backup", "delete", "kept@web-01", "--yes")
    csbsctl.at = "2026-11-03T02:00:00Z"
    run("run")
    assert "sound" in run("vault", "check", "--read-data").out
    run("audit", "verify")
