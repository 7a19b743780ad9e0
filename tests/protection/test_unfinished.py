"""Disks that a failed restore took off their server are not forgotten by the restore that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from csbsctl.errors import CsbsError
from csbsctl.protection.byhand import create_backups
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.restore import restore
from csbsctl.protection.unfinished import taken_off, unfinished_restores

if TYPE_CHECKING:
    from tests.protection.conftest import World

MIB = 1 << 20


def test_what_a_failed_restore_took_off_is_known_until_it_is_overtaken_or_its_place_is_taken(world: World):
    server = world.server("db-01", MIB, MIB, MIB)
    first, second = (create_backups(world.site, [server]).succeeded[0] for _ in range(2))
    machines = world.cloud.cloud.machines
    world.cloud.cloud.faults.add("swap", "refused", times=1)
    with pytest.raises(CsbsError):
        restore(world.site, RestoreRequest(first, safety=False))
    another = RestoreRequest(second, safety=False)

    def off() -> list[str]:
        jobs = unfinished_restores(world.site, "default", another.identity())
        return [volume.id for volume in taken_off(world.cloud.server(server.id), jobs)]

    assert off() == []
    last = world.cloud.server(server.id).volumes[2]
    machines.detach(world.cloud.server(server.id), last)
    assert off() == [last.id]
    machines.attach(world.cloud.server(server.id), MIB)
    assert off() == [], "its place is another disk's"
    newest = world.cloud.server(server.id).volumes[2]
    machines.detach(world.cloud.server(server.id), newest)
    assert off() == [last.id]
    restore(world.site, another)
    assert off() == [], "nobody will go on with it"
