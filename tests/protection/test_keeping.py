"""Snapshots kept for instant restores, on a cloud that needs them: of the newest backup whose policy asks, no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.model.backup import StoredVolume
from csbsctl.protection.byhand import create_backups, delete_backups
from csbsctl.provider import Capabilities, Host, MarkedKind, Snapshot, Step
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings

if TYPE_CHECKING:
    from tests.protection.conftest import World

POLICY = {"schedule": {"at": ["02:00"]}, "retention": {"count": 3}, "instant_restore": True}


class KeepingCloud(LocalProvider):
    """The simulated cloud as Cinder is: what is to come back at once needs its snapshot."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, instant_keeps_snapshots=True)

    def keep(
        self, step: Step, snapshot: Snapshot, stored: Sequence[StoredVolume]
    ) -> tuple[StoredVolume, ...]:
        kept = self.__dict__.setdefault("kept", {})
        kept[snapshot.volumes[0].ref] = snapshot
        extra = {"snapshot": snapshot.volumes[0].ref}
        return tuple(one.model_copy(update={"extra": {**one.extra, **extra}}) for one in stored)

    def let_go(self, step: Step, stored: StoredVolume) -> StoredVolume:
        if ref := stored.extra.get("snapshot"):
            super().release(step, self.__dict__["kept"][ref])
        return stored.model_copy(
            update={"extra": {key: value for key, value in stored.extra.items() if key != "snapshot"}}
        )

    def delete(self, step: Step, stored: StoredVolume) -> None:
        super().delete(step, stored)
        self.let_go(step, stored)


@pytest.fixture
def keeping(world: World) -> World:
    host = Host("default", world.folder, world.clock, world.vault.data("default"), world.vault.sealer)
    world.cloud.close()
    world.cloud = KeepingCloud(LocalSettings(), host)
    return world


def declare(world: World, **policy: Any) -> None:
    bindings = {"web": {"policy": "gold", "servers": ["web-01"]}}
    world.declare({"policies": {"gold": {**POLICY, **policy}}, "bindings": bindings})


def kept(world: World) -> int:
    return len({m.ref for m in world.cloud.marked(world.vault.id) if m.kind is MarkedKind.SNAPSHOT})


def test_the_newest_backup_of_the_policy_keeps_its_snapshot_and_lets_go_of_the_last(keeping: World):
    server = keeping.server("web-01", 1 << 20, 1 << 20)
    declare(keeping)
    for number in range(3):
        keeping.run(keeping.night(number))
        *older, newest = keeping.backups(server)
        assert newest.instant_restore
        assert all("snapshot" in volume.extra for volume in newest.volumes)
        assert not any(b.instant_restore or "snapshot" in v.extra for b in older for v in b.volumes)
    one = kept(keeping)
    assert one > 0

    by_hand = create_backups(keeping.site, [server]).succeeded[0]
    assert not by_hand.instant_restore
    assert kept(keeping) == one, "a backup by hand replaces none of the policy's"

    declare(keeping, instant_restore=False)
    keeping.run(keeping.night(3))
    assert kept(keeping) == 0
    assert not any(backup.instant_restore for backup in keeping.backups(server))


def test_what_a_backup_kept_goes_with_it(keeping: World):
    server = keeping.server("web-01")
    declare(keeping)
    keeping.run(keeping.night(0))
    assert kept(keeping) > 0
    delete_backups(keeping.site, keeping.backups(server))
    assert kept(keeping) == 0


def test_what_the_cloud_does_not_let_go_of_now_the_next_backup_does(keeping: World):
    server = keeping.server("web-01")
    declare(keeping)
    keeping.run(keeping.night(0))
    keeping.cloud.cloud.faults.add("release", "conflict", times=1)
    assert keeping.run(keeping.night(1)).succeeded == 1
    assert [b.instant_restore for b in keeping.backups(server)] == [True, True]
    keeping.run(keeping.night(2))
    assert [b.instant_restore for b in keeping.backups(server)] == [False, False, True]
