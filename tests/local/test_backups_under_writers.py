"""Whole backups under a workload in another process: what comes back from the vault is a prefix, every time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from csbsctl.model.policy import Consistency
from csbsctl.provider import Marker, Step
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.workload import check, check_at_rest

if TYPE_CHECKING:
    from csbsctl.model.server import Server
    from csbsctl_local.cloud.cloud import Cloud

MiB = 1024 * 1024


def _begun(cloud: Cloud, server: Server) -> int:
    """Wait until the writer has written something, and return how much."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with cloud.disks(server) as disks:
            last = check_at_rest(disks).last
        if last:
            return last
        time.sleep(0.05)
    pytest.fail("the writer never began")


@pytest.mark.parametrize(
    ("count", "reflink"),
    [
        pytest.param(20, "auto", marks=pytest.mark.slow),
        pytest.param(200, "auto", marks=pytest.mark.soak),
        pytest.param(200, "never", marks=pytest.mark.soak),
    ],
)
def test_every_backup_under_a_workload_is_a_prefix(open_provider, csbsctl, count, reflink):
    provider = open_provider(reflink=reflink)
    cloud = provider.cloud
    server = cloud.inventory.server(cloud.machines.create(Wanted("busy", (2 * MiB, MiB, MiB))))
    writer = csbsctl.spawn("sim", "workload", "busy", "--seconds", "600")
    try:
        first = _begun(cloud, server)
        last, parents = first, {}
        for number in range(count):
            step = Step(Marker("v", f"job{number}", server.id, f"backup{number}"))
            snapshot = provider.snapshot(step, server.id, Consistency.CRASH)
            stored = [provider.store(step, each, parents.get(each.volume.id)) for each in snapshot.volumes]
            provider.release(step, snapshot)
            verdict = check([provider._shelf.open(volume.ref) for volume in stored])
            assert verdict.consistent, verdict
            assert verdict.last >= last
            last = verdict.last
            if number % 5 != 3:  # now and then a backup is lost, and the next builds on an older one
                parents = {volume.volume_id: volume for volume in stored}
        assert writer.poll() is None
        assert last > first
    finally:
        writer.kill()
        writer.communicate()
