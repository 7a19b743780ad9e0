"""Services of the cloud die in the middle of the work. Restarts services of the test bed: not beside other runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from csbsctl.errors import CloudUnavailable
from csbsctl.ids import new_id
from csbsctl.model.policy import Consistency

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
HERE = Path(__file__).parent
MIB = 1 << 20


def kill(bench: Any, service: str) -> None:
    """Kill a service of the test bed without a word."""
    pid = int((bench.testbed.directory / f"run/{service}.pid").read_text())
    os.killpg(pid, signal.SIGKILL)


def revive(bench: Any) -> None:
    """Start again what does not run."""
    environment = {**os.environ, "TESTBED": str(bench.testbed.directory)}
    done = subprocess.run(
        [HERE / "testbed/up.sh"], capture_output=True, text=True, check=False, env=environment, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr


def frozen(bench: Any, size: int) -> tuple[str, Any, Any]:
    server_id = bench.server(1)
    bench.testbed.write(bench.provider.server(server_id).volumes[0].id, 0, size, 1)
    step = bench.step(server_id, backup=new_id())
    return server_id, step, bench.provider.snapshot(step, server_id, Consistency.CRASH)


def until_data_flows(bench: Any) -> None:
    """Wait until cinder-backup has begun to write the only backup there is."""

    def look() -> str:
        return " ".join("writing" if b.container else b.status for b in bench.cloud.block_storage.backups())

    bench.until(look, "writing", seconds=240)


def test_a_backup_whose_service_died_fails_with_the_reason_and_the_retry_succeeds(bench):
    _, step, snapshot = frozen(bench, 300 * MIB)
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(bench.provider.store, step, snapshot.volumes[0], None)
        until_data_flows(bench)
        kill(bench, "cinder-backup")
        revive(bench)
        with pytest.raises(CloudUnavailable, match="incomplete backup"):
            stored.result(timeout=400)
    again = bench.provider.store(step, snapshot.volumes[0], None)
    assert bench.cloud.block_storage.get_backup(again.ref).status == "available"


def test_an_api_that_is_away_for_a_while_does_not_end_a_backup(bench):
    _, step, snapshot = frozen(bench, 300 * MIB)
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(bench.provider.store, step, snapshot.volumes[0], None)
        until_data_flows(bench)
        kill(bench, "cinder-api")
        time.sleep(6)
        revive(bench)
        assert stored.result(timeout=400).ref
