"""Whole backups under a workload in another process: what comes back from the vault is a prefix, every time."""

from __future__ import annotations

import pytest

from csbsctl.model.policy import Consistency
from csbsctl.provider import Marker, Step
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.workload import check

MiB = 1024 * 1024


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
        last, parents = 0, {}
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
        assert last > count
    finally:
        writer.kill()
        writer.communicate()
