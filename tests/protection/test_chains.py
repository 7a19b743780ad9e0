"""Retention and deletion on a cloud whose increments cannot be restored without what they build on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.errors import ResourceConflict
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl.protection.byhand import create_backups, delete_backups
from csbsctl.provider import Capabilities, Host, MarkedKind, Step, VolumeSnapshot
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings

if TYPE_CHECKING:
    from tests.protection.conftest import World


class ChainedCloud(LocalProvider):
    """The simulated cloud as Cinder is: an increment needs its parent, and a parent cannot be deleted before it."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, chains=True, full_every=4)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        stored = super().store(step, snapshot, parent)
        if parent is None or stored.kind is Kind.FULL:
            return stored
        self._parents()[stored.ref] = parent.ref
        return stored.model_copy(update={"parent": parent.ref})

    def delete(self, step: Step, stored: StoredVolume) -> None:
        there = {m.ref for m in self.marked() if m.kind is MarkedKind.BACKUP}
        if any(child in there for child, parent in self._parents().items() if parent == stored.ref):
            raise ResourceConflict(f"{stored.ref} has children")
        super().delete(step, stored)

    def _parents(self) -> dict[str, str]:
        return self.__dict__.setdefault("parents_by_child", {})


@pytest.fixture
def chained(world: World) -> World:
    host = Host("default", world.folder, world.clock, world.vault.data("default"), world.vault.sealer)
    world.cloud.close()
    world.cloud = ChainedCloud(LocalSettings(), host)
    return world


NIGHTLY: dict[str, Any] = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 2}}},
    "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}},
}


def test_what_others_need_is_hidden_and_goes_leaf_first_when_nothing_needs_it(chained: World):
    server = chained.server("web-01")
    chained.declare(NIGHTLY)
    held = []
    for number in range(12):
        chained.write(server, 0, b"night %d" % number)
        chained.run(chained.night(number))
        backups = chained.backups(server)
        offered = [b for b in backups if b.good]
        assert [b.slot for b in offered] == [chained.night(n) for n in range(max(0, number - 1), number + 1)]
        refs = {v.ref for b in backups for v in b.volumes}
        assert all(v.parent in refs for b in backups for v in b.volumes if v.parent)
        held.append(len(backups))
    assert max(held) <= 2 + 4, "at most count and full_every together"
    assert chained.events("backup.expired")
    assert chained.leftovers() == []


def test_a_needed_one_deleted_by_hand_is_hidden_until_its_children_are_gone(chained: World):
    server = chained.server("web-01")
    taken = []
    for number in range(3):
        chained.clock.move_to(chained.night(number))
        taken += create_backups(chained.site, [server]).succeeded
    result = delete_backups(chained.site, [taken[0]])
    assert [b.id for b in result.hidden] == [taken[0].id]
    assert [b.good for b in chained.backups(server)] == [False, True, True]
    result = delete_backups(chained.site, [taken[1], taken[2]])
    assert [b.id for b in result.deleted] == [b.id for b in reversed(taken)]
    assert chained.backups(server) == ()


def test_an_unknown_child_in_the_cloud_keeps_its_parent_hidden(chained: World):
    server = chained.server("web-01")
    one = create_backups(chained.site, [server]).succeeded[0]
    chained.cloud._parents()["a foreign backup"] = one.volumes[0].ref  # type: ignore[attr-defined]
    chained.clock.move_to(chained.night(1))
    two = create_backups(chained.site, [server]).succeeded[0]
    foreign = two.volumes[0].ref
    chained.vault.catalogue.update(
        "default", server.id, lambda backups: [b for b in backups if b.id == one.id]
    )
    assert foreign
    result = delete_backups(chained.site, [one])
    assert (result.deleted, [b.id for b in result.hidden]) == ((), [one.id])
    assert chained.backups(server)[0].expired
