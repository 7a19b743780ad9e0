"""Deletions that the cloud refuses: retried by later runs, shown, and in nobody's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.errors import CloudRefused
from csbsctl.model.backup import BackupState
from csbsctl.protection.byhand import create_backups, delete_backups

if TYPE_CHECKING:
    from tests.protection.conftest import World

NIGHTLY: dict[str, Any] = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 2}}},
    "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}},
}


@pytest.mark.parametrize("error", ["refused", "unavailable"])
def test_a_refused_deletion_keeps_no_later_backup_from_being_made(world: World, error: str):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    for number in range(2):
        world.run(world.night(number))
    world.cloud.cloud.faults.add("delete", error)
    summary = world.run(world.night(2))
    assert (summary.succeeded, summary.failed, summary.deleted) == (1, 0, 0)
    assert "prune of web-01" in summary.problems[0]
    summary = world.run(world.night(3))
    assert (summary.succeeded, summary.failed) == (1, 0)
    assert any(event.outcome.startswith("not yet: ") for event in world.events("recovered"))
    assert [b.slot for b in world.backups(server) if b.good] == [world.night(2), world.night(3)]

    world.cloud.cloud.faults.clear()
    summary = world.run(world.night(4))
    assert (summary.succeeded, summary.recovered) == (1, 2)
    assert [b.slot for b in world.backups(server)] == [world.night(3), world.night(4)]
    assert world.vault.jobs.open() == []
    assert world.leftovers() == []


def test_one_refused_deletion_does_not_keep_the_others_of_its_job(world: World):
    server = world.server("web-01")
    taken = [create_backups(world.site, [server]).succeeded[0] for _ in range(3)]
    world.cloud.cloud.faults.add("delete", "refused", times=1)
    with pytest.raises(CloudRefused, match="cannot be deleted") as caught:
        delete_backups(world.site, taken[:2])
    assert "next run" in str(caught.value.hint)
    left = {b.id: b.state for b in world.backups(server)}
    assert len(left) == 2
    assert left[taken[2].id] is BackupState.AVAILABLE
    assert BackupState.DELETING in left.values()
    assert create_backups(world.site, [server]).complete
    world.run()
    assert len(world.backups(server)) == 2
    assert world.vault.jobs.open() == []


def test_what_a_failed_backup_stored_and_cannot_remove_keeps_no_later_backup_from_being_made(world: World):
    server = world.server("web-01", 1 << 20, 1 << 20)
    world.cloud.cloud.faults.add("release", "refused", times=1)
    world.cloud.cloud.faults.add("remove", "refused", times=1)
    failed = create_backups(world.site, [server]).failed
    assert [b.state for b in failed] == [BackupState.ERROR]
    assert create_backups(world.site, [server]).complete
    world.run()
    assert world.leftovers() == []
