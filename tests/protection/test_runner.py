"""Scheduling in virtual time: what is due is taken once, what is late is caught up once, what is missed is told once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.clock import VirtualClock
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, Trigger
from csbsctl.protection.runner import Runner
from csbsctl.protection.status import backup_views
from csbsctl_local.cloud.machines import Wanted

if TYPE_CHECKING:
    from tests.protection.conftest import World

MIB = 1 << 20
NIGHTLY: dict[str, Any] = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 3}}},
    "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}},
}


def test_a_fortnight_of_nights_gives_one_backup_each_and_retention_keeps_the_newest(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    for number in range(14):
        summary = world.run(world.night(number) + timedelta(minutes=1))
        assert (summary.succeeded, summary.failed, summary.missed) == (1, 0, 0)
    assert [b.slot for b in world.backups(server)] == [world.night(n) for n in (11, 12, 13)]
    assert all(b.name.startswith("autobk_") and b.trigger is Trigger.AUTO for b in world.backups(server))
    assert world.leftovers() == []


def test_a_slot_is_taken_once_however_often_run_is_called(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    counts = [world.run(world.night(0) + timedelta(minutes=m)).succeeded for m in (0, 1, 30, 200)]
    assert counts == [1, 0, 0, 0]
    assert len(world.backups(server)) == 1


def test_nothing_is_due_before_the_first_slot_after_the_commit(world: World):
    world.server("web-01")
    world.clock.move_to(world.night(0) + timedelta(minutes=30))
    world.declare(NIGHTLY)
    assert world.run().to_json() == {
        "event": "summary",
        "succeeded": 0,
        "failed": 0,
        "skipped": 0,
        "deleted": 0,
        "missed": 0,
        "recovered": 0,
        "verified": 0,
        "damaged": 0,
        "problems": [],
    }


def test_a_late_slot_is_caught_up_once_and_earlier_ones_are_reported_missed_once(world: World):
    server = world.server("web-01")
    world.declare({**NIGHTLY, "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}}})
    world.run(world.night(0))
    summary = world.run(world.night(3, hour=5))
    assert (summary.succeeded, summary.missed) == (1, 2)
    assert [e.slot for e in world.events("slot.missed")] == [world.night(1), world.night(2)]  # type: ignore[attr-defined]
    assert world.run().missed == 0
    assert world.backups(server)[-1].slot == world.night(3)
    log = world.vault.catalogue.slots("default", server.id)["gold"]
    assert (log.last, log.missed) == (world.night(3), (world.night(1), world.night(2)))


def test_a_slot_too_late_to_start_is_missed(world: World):
    world.server("web-01")
    world.declare({**NIGHTLY, "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}}})
    assert world.run(world.night(0, hour=7)).missed == 1
    assert world.run(world.night(1)).succeeded == 1


def test_deleting_all_backups_by_hand_does_not_bring_old_slots_back(world: World):
    from csbsctl.protection.byhand import delete_backups

    server = world.server("web-01")
    world.declare(NIGHTLY)
    world.run(world.night(0))
    delete_backups(world.site, world.backups(server))
    summary = world.run(world.night(0, hour=3))
    assert (summary.succeeded, summary.missed) == (0, 0)
    assert world.backups(server) == ()


def test_a_new_server_that_fits_the_rule_is_protected_without_an_apply(world: World):
    world.server("web-01")
    world.declare(NIGHTLY)
    world.run(world.night(0))
    world.clock.move_to(world.night(5, hour=12))
    late = world.server("web-02")
    summary = world.run(world.night(6))
    assert summary.succeeded == 2
    assert [b.slot for b in world.backups(late)] == [world.night(6)]
    assert not any(e.server == "web-02" for e in world.events("slot.missed"))


def test_a_disabled_policy_takes_nothing_and_prunes_nothing(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    for number in range(3):
        world.run(world.night(number))
    off = {**NIGHTLY["policies"]["gold"], "enabled": False, "retention": {"count": 1}}
    world.declare({**NIGHTLY, "policies": {"gold": off}})
    summary = world.run(world.night(3))
    assert (summary.succeeded, summary.deleted, summary.missed) == (0, 0, 0)
    assert len(world.backups(server)) == 3


def test_a_server_that_cannot_be_protected_fails_its_slot_and_the_others_go_on(world: World):
    good, bad = world.server("web-01"), world.server("web-02")
    other = world.server("other")
    world.cloud.cloud.machines.attach_existing(world.cloud.server(other.id), bad.volumes[0].id)
    world.declare(NIGHTLY)
    summary = world.run(world.night(0))
    assert (summary.succeeded, summary.failed) == (1, 1)
    assert world.backups(good)[0].state is BackupState.AVAILABLE
    failed = world.backups(bad)[0]
    assert failed.state is BackupState.ERROR
    assert failed.error is not None
    assert failed.error["code"] == "CSBS.6010"
    assert world.run(world.night(0, hour=3)).failed == 0, "a slot is taken at most once, well or badly"


def test_a_slot_that_falls_into_a_running_backup_is_skipped_and_recorded(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    with world.vault.leases.acquire("default", server.id) as lease:
        from csbsctl.model.job import JobKind
        from csbsctl.protection.jobs.work import Work

        work = Work.begin(world.site, lease, JobKind.BACKUP, {}, provider="default", server=server.id)
        second = world.another()
        summary = second.run(world.night(0))
        assert (summary.skipped, summary.succeeded, summary.failed) == (1, 0, 0)
        work.finish()
        second.close()
    assert world.run(world.night(0, hour=3)).succeeded == 0
    assert world.vault.catalogue.slots("default", server.id)["gold"].skipped == (world.night(0),)


def test_two_runners_at_once_take_every_slot_once(world: World):
    servers = [world.server(f"web-{n:02}") for n in range(4)]
    world.declare(NIGHTLY)
    other = world.another()
    for number in range(4):
        world.clock.move_to(world.night(number))
        threads = [threading.Thread(target=w.run) for w in (world, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    other.close()
    for server in servers:
        assert [b.slot for b in world.backups(server)][-3:] == [
            world.night(1),
            world.night(2),
            world.night(3),
        ]
        assert len({b.slot for b in world.backups(server)}) == len(world.backups(server))
    assert world.leftovers() == []


def test_manual_and_protected_backups_and_those_with_images_outlive_every_prune(world: World):
    from csbsctl.protection.byhand import create_backups, create_image, set_protected

    server = world.server("web-01")
    world.declare(NIGHTLY)
    manual = create_backups(world.site, [server]).succeeded[0]
    kept = {manual.id}
    for number in range(10):
        world.run(world.night(number))
        newest = world.backups(server)[-1]
        if number == 1:
            set_protected(world.site, [newest], protected=True)
            kept.add(newest.id)
        if number == 2:
            create_image(world.site, newest)
            kept.add(newest.id)
    assert kept <= {b.id for b in world.backups(server)}
    assert len(world.backups(server)) == len(kept) + 3


def test_a_prune_of_more_than_half_waits_unless_an_apply_announced_it(world: World):
    server = world.server("web-01")
    world.declare(
        {**NIGHTLY, "policies": {"gold": {**NIGHTLY["policies"]["gold"], "retention": {"days": 5}}}}
    )
    for number in range(5):
        world.run(world.night(number))
    summary = world.run(world.night(20))
    assert summary.deleted == 0
    assert len(world.events("prune.held")) == 1
    assert len(world.backups(server)) == 6
    world.declare(NIGHTLY)
    assert world.run(world.night(20, hour=3)).deleted == 3
    assert len(world.backups(server)) == 3


def test_an_apply_that_binds_a_server_again_announces_what_its_policy_lets_go(world: World):
    server = world.server("web-01")
    gold = {"gold": {**NIGHTLY["policies"]["gold"], "retention": {"days": 5}}}
    world.declare({**NIGHTLY, "policies": gold})
    for number in range(5):
        world.run(world.night(number))
    world.declare({"policies": gold})
    world.clock.move_to(world.night(19, hour=12))
    world.declare({"policies": gold, "bindings": {"again": {"policy": "gold", "servers": ["web-01"]}}})
    assert world.run(world.night(20)).deleted == 5
    assert [b.slot for b in world.backups(server)] == [world.night(20)]


def test_an_apply_that_keeps_fewer_last_good_ones_announces_what_goes(world: World):
    world.server("web-01")
    fleeting = {**NIGHTLY, "policies": {"gold": {**NIGHTLY["policies"]["gold"], "retention": {"days": 1}}}}
    world.declare({**fleeting, "guardrails": {"keep_last_good": 5}})
    for number in range(5):
        world.run(world.night(number))
    world.declare({**fleeting, "guardrails": {"keep_last_good": 1}})
    assert world.run(world.night(5)).deleted == 5


def test_a_live_edit_announces_nothing(world: World):
    from csbsctl.engine.edits import Editor

    server = world.server("web-01")
    world.declare(
        {**NIGHTLY, "policies": {"gold": {**NIGHTLY["policies"]["gold"], "retention": {"count": 9}}}}
    )
    for number in range(5):
        world.run(world.night(number))
    world.declare(
        {**NIGHTLY, "policies": {"gold": {**NIGHTLY["policies"]["gold"], "retention": {"count": 8}}}}
    )
    editor = Editor(world.vault.control, world.clock, "ops", "console")
    editor.set("default", "policy.gold", ["retention"], {"count": 1})
    assert world.run(world.night(5)).deleted == 0
    assert len(world.events("prune.held")) == 1
    assert len(world.backups(server)) == 6


def test_the_last_good_backup_survives_an_age_rule_that_lets_all_go(world: World):
    server = world.server("web-01")
    policy = {**NIGHTLY["policies"]["gold"], "retention": {"days": 1}}
    world.declare({**NIGHTLY, "policies": {"gold": policy}})
    world.run(world.night(0))
    world.cloud.cloud.faults.add("snapshot", "refused")
    for number in range(1, 5):
        world.run(world.night(number))
    assert [b.slot for b in world.backups(server) if b.good] == [world.night(0)]


@pytest.mark.parametrize("hours", [0, 13])
def test_every_slot_of_a_two_times_a_day_policy_has_its_own_backup(world: World, hours: int):
    server = world.server("web-01")
    policy = {"schedule": {"at": ["02:00", "14:00"]}, "retention": {"count": 10}}
    world.declare({**NIGHTLY, "policies": {"gold": policy}})
    world.run(world.night(0) + timedelta(hours=hours))
    world.run(world.night(1))
    slots = [b.slot for b in world.backups(server)]
    assert slots == sorted(set(slots))
    assert len(slots) == 2


def test_later_backups_are_incremental_and_full_every_bounds_them(world: World):
    server = world.server("web-01", 4 * MIB)
    policy = {**NIGHTLY["policies"]["gold"], "retention": {"count": 20}, "full_every": 3}
    world.declare({**NIGHTLY, "policies": {"gold": policy}})
    for number in range(7):
        world.write(server, 0, b"night %d" % number)
        world.run(world.night(number))
    kinds = [b.kind for b in world.backups(server)]
    assert kinds == [Kind.FULL, Kind.INCREMENTAL, Kind.INCREMENTAL] * 2 + [Kind.FULL]


def test_a_pass_under_a_clock_that_ran_ahead_does_not_end_the_schedule_when_it_is_right_again(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    for number in range(2):
        world.run(world.night(number))
    assert world.run(world.night(400)).succeeded == 1
    assert world.run(world.night(2)).to_json()["succeeded"] == 1
    summary = world.run(world.night(3, hour=7))
    assert (summary.succeeded, summary.missed) == (0, 1)
    assert world.run(world.night(4)).succeeded == 1
    slots = [b.slot for b in world.backups(server)]
    assert slots[-4:] == [world.night(1), world.night(2), world.night(4), world.night(400)]


@pytest.mark.parametrize(("day", "first"), [("wed", 3), ("sun", 0)])
def test_old_jobs_are_forgotten_whatever_weekday_a_policy_runs_on_and_though_nothing_expires(
    world: World, day: str, first: int
):
    world.server("web-01")
    policy = {"schedule": {"at": ["02:00"], "days": [day]}, "retention": {"permanent": True}}
    world.declare({**NIGHTLY, "policies": {"gold": policy}})
    for number in range(first, 140, 7):
        world.run(world.night(number))
    oldest = min(job.started_at for job in world.vault.jobs.list())
    assert world.clock.now() - oldest < timedelta(days=30 + 6 * 7)


class WrongClock(VirtualClock):
    """A clock that is wrong and does not know it."""

    virtual = False


def test_nothing_is_pruned_by_a_clock_that_the_store_contradicts(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    for number in range(3):
        world.run(world.night(number))
    site = replace(world.site, clock=WrongClock(world.night(3)))
    summary = Runner(site).once()
    assert (summary.succeeded, summary.deleted) == (1, 0)
    assert "more than 5 minutes apart" in summary.problems[0]
    assert len(world.backups(server)) == 4
    assert world.run(world.night(3)).deleted == 1


def test_a_server_that_is_gone_or_left_its_policy_is_noted_once_and_its_backups_show_no_expiry(world: World):
    gone, stays = world.server("web-01"), world.server("web-02")
    known = {"web": {gone.id: "web-01", stays.id: "web-02"}}
    world.declare(NIGHTLY, members=known)
    world.run(world.night(0))
    expiry = {v["server"]["name"]: v["expires_at"] for v in backup_views(world.site)}
    assert expiry["web-01"] is not None
    world.cloud.cloud.machines.delete(gone.id)
    world.run(world.night(1))
    generation = world.vault.catalogue.slots("default", gone.id)["gold"]
    world.run()
    assert world.vault.catalogue.slots("default", gone.id)["gold"] == generation
    assert generation.released == world.night(1)
    expiry = {v["server"]["name"]: v["expires_at"] for v in backup_views(world.site)}
    assert expiry["web-01"] is None
    assert expiry["web-02"] is not None


def test_a_server_that_comes_back_under_its_policy_shows_when_its_backups_expire_again(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    world.run(world.night(0))
    elsewhere = {"web": {"policy": "gold", "match": {"name": "db-*"}}}
    world.declare({**NIGHTLY, "bindings": elsewhere})
    world.run(world.night(0, hour=3))
    assert [v["expires_at"] for v in backup_views(world.site)] == [None]
    world.declare(NIGHTLY)
    world.run(world.night(0, hour=4))
    (view,) = backup_views(world.site)
    assert view["expires_at"] is not None
    assert world.vault.catalogue.slots("default", server.id)["gold"].released is None


def test_who_left_is_noted_for_the_others_when_one_record_is_damaged(world: World):
    hurt, gone = world.server("web-01"), world.server("web-02")
    world.declare(NIGHTLY)
    world.run(world.night(0))
    world.damage_record(hurt)
    world.cloud.cloud.machines.delete(gone.id)
    summary = world.run(world.night(1))
    assert (summary.succeeded, summary.failed) == (0, 1)
    assert world.vault.catalogue.slots("default", gone.id)["gold"].released == world.night(1)


def test_a_runner_that_watches_reads_no_record_again_that_did_not_change(world: World):
    servers = [
        world.cloud.server(world.cloud.cloud.machines.create(Wanted(f"web-{n}", (4096,)))) for n in range(70)
    ]
    taken = Backup(
        id="",
        name="autobk_0001",
        server=ServerRef(id="", name=""),
        provider="default",
        policy="gold",
        trigger=Trigger.AUTO,
        state=BackupState.AVAILABLE,
        kind=Kind.FULL,
        job="none",
        started_at=world.night(0),
        finished_at=world.night(0),
    )
    for server in servers:
        backup = taken.model_copy(
            update={"id": server.id, "server": ServerRef(id=server.id, name=server.name)}
        )
        world.vault.catalogue.update("default", server.id, lambda _, new=backup: (new,))
    world.declare(NIGHTLY)
    runner = Runner(world.site)
    assert runner.once().failed == 0
    for path in (world.folder / "vault" / "catalogue").rglob("*.json"):
        path.chmod(0o644)
        path.write_bytes(b"garbage that nobody is to see")
    again = runner.once()
    assert (again.failed, again.problems) == (0, [])
    world.clock.advance(timedelta(hours=1))
    assert runner.once().problems, "backups age, so they are judged again"
