"""Restores: the exact bytes back, the rules before, and going on where an earlier try stopped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.errors import CsbsError, NotFound, Refused
from csbsctl.model.backup import BackupState, Trigger
from csbsctl.model.server import ServerState
from csbsctl.protection.byhand import create_backups, verify_backups
from csbsctl.protection.preflight import RestoreRequest, check_restore
from csbsctl.protection.restore import backup_as_of, restore

if TYPE_CHECKING:
    from csbsctl.model.backup import Backup
    from csbsctl.model.server import Server
    from tests.protection.conftest import World

MIB = 1 << 20


def backed_up(world: World, *disks: int) -> tuple[Server, Backup, list[str]]:
    """Return a server, a backup of it and the digests of then; its disks are something else by now."""
    server = world.server("db-01", *(disks or (MIB, 2 * MIB)))
    backup = create_backups(world.site, [server]).succeeded[0]
    before = world.digest(server)
    for number in range(len(server.volumes)):
        world.write(server, number, b"ruined", 4096)
    assert world.digest(server) != before
    return server, backup, before


def test_restore_in_place_brings_every_byte_back_after_a_safety_backup(world: World):
    server, backup, before = backed_up(world)
    ruined = world.digest(server)
    done = restore(world.site, RestoreRequest(backup))
    assert world.digest(server) == before
    assert done.replaced is None
    assert world.cloud.server(server.id).state is ServerState.ACTIVE
    safety = world.vault.catalogue.find(str(done.safety))
    assert (safety.trigger, safety.state) == (Trigger.MANUAL, BackupState.AVAILABLE)
    restore(world.site, RestoreRequest(safety, safety=False))
    assert world.digest(server) == ruined
    assert world.leftovers() == []
    assert world.vault.jobs.open() == []


def test_where_another_server_takes_over_that_one_is_started_and_the_old_one_stays_off(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    server, backup, _ = backed_up(world)
    other = world.server("db-01", MIB)
    world.cloud.cloud.machines.set_state(other.id, ServerState.STOPPED)

    class Replacing(type(world.cloud)):  # type: ignore[misc]
        """A cloud that restores in place by building another server, as OpenStack may have to."""

        def swap(self, step: Any, plan: Any, restored: Any) -> Server:
            super().swap(step, plan, restored)
            return self.server(other.id)

    monkeypatch.setattr(world.cloud, "__class__", Replacing)
    done = restore(world.site, RestoreRequest(backup, safety=False))
    assert (done.server, done.replaced) == ({"id": other.id, "name": "db-01"}, server.id)
    assert world.cloud.server(other.id).state is ServerState.ACTIVE
    assert world.cloud.server(server.id).state is ServerState.STOPPED


def test_a_server_that_was_stopped_or_shall_stay_off_is_not_started(world: World):
    server, backup, before = backed_up(world)
    restore(world.site, RestoreRequest(backup, power_on=False))
    assert world.cloud.server(server.id).state is ServerState.STOPPED
    restore(world.site, RestoreRequest(backup))
    assert world.cloud.server(server.id).state is ServerState.STOPPED
    assert world.digest(server) == before


def test_restore_leaves_disks_added_since_alone_and_tells_those_that_are_gone(world: World):
    server, backup, before = backed_up(world, MIB, MIB, MIB)
    machines = world.cloud.cloud.machines
    machines.detach(world.cloud.server(server.id), server.volumes[1])
    machines.attach(world.cloud.server(server.id), MIB)
    now = world.cloud.server(server.id)
    machines.resize(now.volumes[1], 3 * MIB)
    world.write(now, 2, b"new and dear")
    dear = world.digest(server)[2]

    checked = check_restore(world.site, RestoreRequest(backup))
    assert checked.refusals == ()
    assert [v.volume_id for v in checked.gone] == [server.volumes[1].id]
    assert [v.id for v in checked.left_alone] == [now.volumes[2].id]
    restore(world.site, RestoreRequest(backup))

    after = world.digest(server)
    assert after[0] == before[0]
    assert after[2] == dear
    enlarged = world.cloud.server(server.id).volumes[1]
    assert enlarged.size == 3 * MIB
    with world.cloud.cloud.disk(enlarged.id) as disk:
        assert disk.read(0, 5) == b"db-01"


def test_restore_as_a_new_server_leaves_the_old_one_alone(world: World):
    server, backup, before = backed_up(world)
    ruined = world.digest(server)
    done = restore(world.site, RestoreRequest(backup, name="db-02", power_on=False))
    copy = world.cloud.server(done.server["id"])
    assert (copy.name, copy.state) == ("db-02", ServerState.STOPPED)
    assert world.digest(copy) == before
    assert world.digest(server) == ruined
    assert world.leftovers() == []


def test_an_instant_restore_reads_the_right_bytes_at_once(world: World):
    server, backup, before = backed_up(world)
    assert backup.instant_restore
    restore(world.site, RestoreRequest(backup, instant=True))
    assert world.digest(server) == before


def test_one_disk_alone_can_be_restored(world: World):
    server, backup, before = backed_up(world)
    ruined = world.digest(server)
    restore(world.site, RestoreRequest(backup, volumes=(backup.volumes[1].name,)))
    assert world.digest(server) == [ruined[0], before[1]]


def test_a_disk_can_be_sent_to_another_disk_that_is_large_enough(world: World):
    server, backup, before = backed_up(world, MIB, MIB, MIB)
    ruined = world.digest(server)
    one, two = backup.volumes[1], server.volumes[2]
    restore(world.site, RestoreRequest(backup, volumes=(one.volume_id,), mapping={one.volume_id: two.id}))
    assert world.digest(server) == [*ruined[:2], before[1]]


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ({1: 0}, "CSBS.6023"),
        ({2: 1}, "CSBS.6024"),
        ({1: 2, 2: 2}, "CSBS.9001"),
    ],
)
def test_disks_that_do_not_fit_are_refused_with_the_code_of_the_rule(
    world: World, mapping: dict[int, int], code: str
):
    server, backup, _ = backed_up(world, MIB, MIB, 2 * MIB)
    named = {backup.volumes[a].volume_id: server.volumes[b].id for a, b in mapping.items()}
    ruined = world.digest(server)
    with pytest.raises(Refused) as caught:
        restore(world.site, RestoreRequest(backup, volumes=tuple(named), mapping=named))
    assert caught.value.code == code
    assert world.digest(server) == ruined
    assert len(world.backups(server)) == 1, "no safety backup was taken of a restore that was refused"


def test_unknown_disks_servers_and_states_are_refused(world: World):
    server, backup, _ = backed_up(world)

    def code(request: RestoreRequest) -> list[str]:
        return [refusal.code for refusal in check_restore(world.site, request).refusals]

    assert code(RestoreRequest(backup, volumes=("nosuch",))) == ["CSBS.6017"]
    assert code(RestoreRequest(backup, mapping={backup.volumes[0].name: "nosuch"})) == ["CSBS.6014"]
    assert code(RestoreRequest(backup, server="nosuch")) == ["CSBS.6000"]
    assert code(RestoreRequest(backup.model_copy(update={"state": BackupState.ERROR}))) == ["CSBS.4000"]
    world.cloud.cloud.machines.set_state(server.id, ServerState.ERROR)
    assert code(RestoreRequest(backup)) == ["CSBS.6015"]


def test_a_deleted_server_is_restored_as_a_new_one(world: World):
    server, backup, before = backed_up(world)
    world.cloud.cloud.machines.delete(server.id)
    with pytest.raises(Refused, match="--as"):
        restore(world.site, RestoreRequest(backup))
    done = restore(world.site, RestoreRequest(backup, name="db-01"))
    assert world.digest(done.server["id"]) == before


@pytest.mark.parametrize("step", ["restore", "swap", "start"])
def test_a_restore_that_failed_midway_leaves_the_server_off_and_the_same_request_goes_on(
    world: World, step: str
):
    server, backup, before = backed_up(world)
    world.cloud.cloud.faults.add(step, "refused", times=1)
    with pytest.raises(CsbsError, match="sim fail") as caught:
        restore(world.site, RestoreRequest(backup))
    assert "same command" in str(caught.value.hint)
    assert world.cloud.server(server.id).state is ServerState.STOPPED
    world.run()
    assert world.cloud.server(server.id).state is ServerState.STOPPED, "a run leaves a failed restore alone"
    restore(world.site, RestoreRequest(backup))
    assert world.digest(server) == before
    assert world.cloud.server(server.id).state is ServerState.ACTIVE
    assert len(world.backups(server)) == 2, "one safety backup, not two"
    assert world.leftovers() == []
    assert all(b.state is BackupState.AVAILABLE for b in world.backups(server))


def test_a_failed_safety_backup_stops_the_restore_before_anything_happens(world: World):
    server, backup, _ = backed_up(world)
    ruined = world.digest(server)
    world.cloud.cloud.faults.add("snapshot", "refused", times=1)
    with pytest.raises(Refused, match="safety backup") as caught:
        restore(world.site, RestoreRequest(backup))
    assert "--no-safety-backup" in str(caught.value.hint)
    assert world.digest(server) == ruined
    assert world.cloud.server(server.id).state is ServerState.ACTIVE


def test_as_of_picks_the_newest_good_backup_at_or_before(world: World):
    server = world.server("db-01")
    taken = []
    for number in range(3):
        world.clock.move_to(world.night(number))
        taken += create_backups(world.site, [server]).succeeded
    assert backup_as_of(world.site, "default", server.id, world.night(1)) == taken[1]
    assert backup_as_of(world.site, "default", server.id, world.night(1, hour=23)) == taken[1]
    with pytest.raises(NotFound):
        backup_as_of(world.site, "default", server.id, world.night(0, hour=1))


def test_another_request_for_the_server_overtakes_a_failed_one(world: World):
    server, backup, before = backed_up(world)
    world.cloud.cloud.faults.add("swap", "refused", times=1)
    with pytest.raises(CsbsError):
        restore(world.site, RestoreRequest(backup))
    other = create_backups(world.site, [server]).succeeded[0]
    assert any(left.startswith("volume") for left in world.leftovers())
    restore(world.site, RestoreRequest(other, safety=False))
    assert world.leftovers() == [], "what the overtaken one had restored is removed"
    assert world.cloud.server(server.id).state is ServerState.ACTIVE, (
        "it ran before the failed one stopped it"
    )
    restore(world.site, RestoreRequest(backup, safety=False))
    assert world.digest(server) == before


def test_a_restore_that_never_got_to_its_disks_overtakes_nothing(world: World):
    server, backup, before = backed_up(world)
    world.cloud.cloud.faults.add("swap", "refused", times=1)
    with pytest.raises(CsbsError):
        restore(world.site, RestoreRequest(backup))
    other = create_backups(world.site, [server]).succeeded[0]
    world.cloud.cloud.faults.add("snapshot", "refused", times=1)
    with pytest.raises(Refused, match="safety backup"):
        restore(world.site, RestoreRequest(other))
    assert world.cloud.server(server.id).state is ServerState.STOPPED, "its disks are still half restored"
    restore(world.site, RestoreRequest(backup))
    assert world.digest(server) == before
    assert world.cloud.server(server.id).state is ServerState.ACTIVE


def test_a_server_that_is_deleted_midway_is_said_to_be_and_its_restore_is_over(world: World):
    server, backup, before = backed_up(world)
    world.cloud.cloud.faults.add("swap", "refused", times=1)
    with pytest.raises(CsbsError, match="sim fail"):
        restore(world.site, RestoreRequest(backup, safety=False))
    world.cloud.cloud.machines.delete(server.id)
    with pytest.raises(Refused, match="was deleted while it was being restored") as caught:
        restore(world.site, RestoreRequest(backup, safety=False))
    assert caught.value.code == "CSBS.6000"
    assert "--as" in str(caught.value.hint)
    assert "same command" not in str(caught.value.hint)
    done = restore(world.site, RestoreRequest(backup, name="db-01"))
    assert world.digest(done.server["id"]) == before
    world.run()
    assert world.vault.jobs.open() == []


def test_a_damaged_backup_is_found_by_verify_and_not_offered_as_good(world: World):
    server = world.server("db-01", MIB)
    world.write(server, 0, random.Random(1).randbytes(MIB // 2))
    backup = create_backups(world.site, [server]).succeeded[0]
    packs = sorted((world.folder / "vault" / "data").rglob("*"), key=lambda p: p.stat().st_size)
    pack = next(p for p in reversed(packs) if p.is_file())
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(damaged)
    ended = verify_backups(world.site, [backup])
    assert ended[0].result is None or not ended[0].result.sound
    now = world.vault.catalogue.find(backup.id)
    assert not now.good
    assert next(r.code for r in check_restore(world.site, RestoreRequest(now)).refusals) == "CSBS.4000"
    assert server.id == now.server.id


def test_what_a_restore_left_that_nobody_went_on_with_is_removed_after_a_month(world: World):
    from datetime import timedelta

    from csbsctl.protection.recover import abandon_restores

    _, backup, _ = backed_up(world)
    world.cloud.cloud.faults.add("build", "refused", times=1)
    with pytest.raises(CsbsError, match="sim fail"):
        restore(world.site, RestoreRequest(backup, name="copy"))
    abandon_restores(world.site, world.site.vault.jobs.list(), world.clock.now() - timedelta(days=30))
    assert len(world.leftovers()) == 2, "still waiting for the same request"
    world.clock.move_to(world.night(40))
    abandon_restores(world.site, world.site.vault.jobs.list(), world.clock.now() - timedelta(days=30))
    assert world.leftovers() == []


def test_a_server_that_a_failed_restore_stopped_is_started_by_the_one_that_overtakes_it(world: World):
    server, backup, _ = backed_up(world)
    other = create_backups(world.site, [server]).succeeded[0]
    for wanted in (backup, other):
        world.cloud.cloud.faults.add("swap", "refused", times=1)
        with pytest.raises(CsbsError):
            restore(world.site, RestoreRequest(wanted, safety=False))
    assert world.cloud.server(server.id).state is ServerState.STOPPED
    third = create_backups(world.site, [world.cloud.server(server.id)]).succeeded[0]
    restore(world.site, RestoreRequest(third, safety=False))
    assert world.cloud.server(server.id).state is ServerState.ACTIVE
    assert world.leftovers() == []
