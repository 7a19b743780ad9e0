"""The disks of one server are stored at once; one that fails ends the work on the others, and nothing is left."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from csbsctl.errors import Interrupted, QuotaExceeded
from csbsctl.model.backup import BackupState, StoredVolume
from csbsctl.protection.byhand import create_backups
from csbsctl.provider import Capabilities, Host, Step, VolumeSnapshot
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings

if TYPE_CHECKING:
    from tests.protection.conftest import World

MIB = 1 << 20
LONG = 60.0


class WideCloud(LocalProvider):
    """The simulated cloud as Cinder is: somebody else copies the disks, so three at once are no slower."""

    together: threading.Barrier
    fails_on: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, parallel_disks=3)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        self.together.wait(LONG)  # breaks unless all three come
        if self.fails_on is None:
            return super().store(step, snapshot, parent)
        if snapshot.volume.position == self.fails_on:
            raise QuotaExceeded("no room for the third")
        stored = super().store(step, snapshot, parent)
        while True:  # as a copy that takes hours: only a stop ends it
            step.check()
            threading.Event().wait(0.01)
        return stored


@pytest.fixture
def wide(world: World) -> World:
    host = Host("default", world.folder, world.clock, world.vault.data("default"), world.vault.sealer)
    world.cloud.close()
    world.cloud = WideCloud(LocalSettings(), host)
    world.cloud.together = threading.Barrier(3)
    return world


def test_all_disks_are_stored_at_once_and_recorded_in_their_order(wide: World):
    server = wide.server("web-01", MIB, MIB, MIB)
    (backup,) = create_backups(wide.site, [server]).succeeded
    assert [v.position for v in backup.volumes] == [0, 1, 2]
    assert [v.volume_id for v in backup.volumes] == [v.id for v in server.volumes]
    assert {event.step for event in wide.events("job.progress")} >= {v.name for v in server.volumes}


def test_one_that_fails_stops_the_others_and_says_why(wide: World):
    server = wide.server("web-01", MIB, MIB, MIB)
    wide.cloud.fails_on = 2
    (failed,) = create_backups(wide.site, [server]).failed
    assert (failed.state, failed.volumes) == (BackupState.ERROR, ())
    assert failed.error is not None
    assert failed.error["message"] == "no room for the third"
    assert wide.leftovers() == []
    assert wide.vault.jobs.open() == []


def test_a_wish_to_stop_ends_the_work_on_all_disks(wide: World):
    server = wide.server("web-01", MIB, MIB, MIB)
    wide.cloud.fails_on = 99
    site = wide.site
    wide.cloud.together = threading.Barrier(3, action=site.stop.request)
    with pytest.raises(Interrupted):
        create_backups(site, [server])
    assert wide.backups(server) == ()
    assert wide.leftovers() == []
