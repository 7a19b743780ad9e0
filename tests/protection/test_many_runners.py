"""Several runner processes on one vault, some of them killed in the middle: every slot once, nothing left behind."""

from __future__ import annotations

import random
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.clock import format_instant
from csbsctl.model.backup import BackupState
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.restore import restore

if TYPE_CHECKING:
    from tests.protection.conftest import World

NIGHTLY: dict[str, Any] = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 3}}},
    "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}},
}
NIGHTS = 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_every_slot_is_taken_once_by_whoever_lives(world: World, apart: Any, seed: int):
    chance = random.Random(seed)
    servers = [world.server(f"web-{n:02}", 1 << 20) for n in range(4)]
    world.declare(NIGHTLY)
    digests: dict[str, dict[str, list[str]]] = {server.id: {} for server in servers}
    killed = 0
    for number in range(NIGHTS):
        slot = world.night(number)
        for server in servers:
            world.write(server, 0, chance.randbytes(50_000), chance.randrange(0, 900_000))
            digests[server.id][slot.isoformat()] = world.digest(server)
        runners = [apart(str(world.folder), format_instant(slot), "run") for _ in range(2)]
        while not world.vault.jobs.open() and any(runner.is_alive() for runner in runners):
            runners[0].join(0.002)
        runners[0].join(chance.uniform(0.0, 0.1))
        runners[0].kill()
        for runner in runners:
            runner.join(60)
        killed += runners[0].exitcode == -signal.SIGKILL
        assert runners[1].exitcode == 0
        world.run(slot + timedelta(minutes=5))
    for server in servers:
        backups = world.backups(server)
        assert [b.slot for b in backups] == [world.night(n) for n in range(NIGHTS - 3, NIGHTS)]
        assert {b.state for b in backups} == {BackupState.AVAILABLE}
        for backup in backups:
            restore(world.site, RestoreRequest(backup, safety=False))
            assert world.digest(server) == digests[server.id][str(backup.slot and backup.slot.isoformat())]
    assert killed, "no runner was killed, so nothing was tried"
    assert world.leftovers() == []
    assert world.vault.jobs.open() == []
    assert world.vault.leases.holders() == []
