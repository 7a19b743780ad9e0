"""Backups, deletions, images and verification by hand, and the rules that hold them back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.errors import NotFound, Refused, UsageError
from csbsctl.model.backup import BackupState, Kind, Trigger, Verification
from csbsctl.protection.byhand import (
    backups_before,
    create_backups,
    create_image,
    delete_backups,
    delete_image,
    leaves_none_good,
    run_policy,
    set_protected,
    verify_backups,
)
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.rebuild import rebuild
from csbsctl.protection.restore import restore
from csbsctl.protection.status import (
    backup_views,
    find_backed_up_server,
    policy_views,
    server_views,
    status_view,
)
from csbsctl.provider import Depth

if TYPE_CHECKING:
    from tests.protection.conftest import World

NIGHTLY: dict[str, Any] = {
    "policies": {
        "gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 3}, "tags": {"team": "shop"}}
    },
    "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}},
}


def test_backups_are_chosen_by_the_name_their_policy_has_now(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    world.run(world.night(0))
    (backup,) = world.backups(server)
    head = world.vault.control.head()
    renamed = replace(head.stacks["default"], former={"platinum": ["gold"]})
    world.vault.control.commit(
        replace(head, generation=head.generation + 1, stacks={"default": renamed}, at=world.clock.now())
    )
    about = world.site, "default", server.id, world.clock.now()
    assert backups_before(*about, "platinum") == backups_before(*about) == [backup]
    assert backups_before(*about, "gold") == []


def test_nothing_is_deleted_of_a_provider_that_is_not_configured(world: World):
    server = world.server("web-01")
    backup = create_backups(world.site, [server]).succeeded[0]
    with pytest.raises(UsageError, match="no provider named 'default'"):
        delete_backups(replace(world.site, providers={}), [backup])
    assert world.backups(server) == (backup,)
    assert world.vault.jobs.open() == []


def test_one_server_takes_the_name_as_it_is_and_several_get_numbers(world: World):
    servers = [world.server(f"web-{n}") for n in range(3)]
    assert [b.name for b in create_backups(world.site, servers[:1], name="before").succeeded] == ["before"]
    several = create_backups(world.site, servers, name="upgrade").succeeded
    assert sorted(b.name for b in several) == ["upgrade-0001", "upgrade-0002", "upgrade-0003"]
    unnamed = create_backups(world.site, servers[:1]).succeeded[0]
    assert unnamed.name.startswith("manualbk_")
    assert len(unnamed.name) == len("manualbk_") + 4


def test_a_name_that_is_taken_or_none_is_refused(world: World):
    server = world.server("web-01")
    create_backups(world.site, [server], name="before")
    outcome = create_backups(world.site, [server], name="before")
    assert not outcome.complete
    assert outcome.refused[0][1].code == "CSBS.9001"
    with pytest.raises(UsageError):
        create_backups(world.site, [server], name="no spaces")


def test_the_first_is_full_later_ones_are_increments_unless_a_full_one_is_asked_for(world: World):
    server = world.server("web-01")
    kinds = [
        create_backups(world.site, [server], full=full).succeeded[0].kind for full in (False, False, True)
    ]
    assert kinds == [Kind.FULL, Kind.INCREMENTAL, Kind.FULL]


def test_a_disk_that_is_new_or_grew_is_taken_whole(world: World):
    server = world.server("web-01", 1 << 20, 1 << 20)
    create_backups(world.site, [server])
    machines = world.cloud.cloud.machines
    machines.resize(world.cloud.server(server.id).volumes[1], 2 << 20)
    machines.attach(world.cloud.server(server.id), 1 << 20)
    backup = create_backups(world.site, [server]).succeeded[0]
    assert [v.kind for v in backup.volumes] == [Kind.INCREMENTAL, Kind.FULL, Kind.FULL]


def test_a_server_that_cannot_be_protected_is_refused_and_the_others_are_backed_up(world: World):
    good, bad, other = world.server("a"), world.server("b"), world.server("c")
    world.cloud.cloud.machines.attach_existing(world.cloud.server(other.id), bad.volumes[0].id)
    outcome = create_backups(world.site, [good, bad])
    assert [b.server.name for b in outcome.succeeded] == ["a"]
    assert [(s.name, e.code) for s, e in outcome.refused] == [("b", "CSBS.6010")]


@pytest.mark.parametrize("step", ["snapshot", "store", "release"])
def test_a_failed_step_leaves_an_error_that_cannot_be_restored_and_nothing_in_the_cloud(
    world: World, step: str
):
    server = world.server("web-01", 1 << 20, 1 << 20)
    world.cloud.cloud.faults.add(step, "refused", times=1)
    outcome = create_backups(world.site, [server])
    failed = outcome.failed[0]
    assert failed.state is BackupState.ERROR
    assert failed.error is not None
    assert "sim fail" in failed.error["message"]
    assert (failed.volumes, failed.good) == ((), False)
    assert world.leftovers() == []
    assert world.vault.jobs.open() == []
    with pytest.raises(Refused) as caught:
        restore(world.site, RestoreRequest(failed))
    assert caught.value.code == "CSBS.4000"
    assert create_backups(world.site, [server]).complete, "the next one is not disturbed"


def test_a_cloud_that_is_away_for_a_moment_is_tried_again(world: World):
    server = world.server("web-01")
    world.cloud.cloud.faults.add("store", "unavailable", times=1)
    assert create_backups(world.site, [server]).complete


def test_what_cannot_be_undone_now_is_undone_by_the_next_run(world: World):
    server = world.server("web-01")
    world.cloud.cloud.faults.add("store", "refused", times=1)
    world.cloud.cloud.faults.add("release", "unavailable")
    outcome = create_backups(world.site, [server])
    assert not outcome.complete
    assert len(world.vault.jobs.open()) == 1
    assert world.run().recovered == 1 or world.vault.jobs.open()
    world.cloud.cloud.faults.clear()
    world.run()
    assert world.vault.jobs.open() == []
    assert world.leftovers() == []
    assert [b.state for b in world.backups(server)] == [BackupState.ERROR]


def test_a_stop_leaves_nothing_half_done_and_the_slot_free(world: World):
    server = world.server("web-01")
    world.declare(NIGHTLY)
    world.clock.move_to(world.night(0))
    site = world.site
    site.stop.request()
    outcome = None
    with pytest.raises(BaseException, match="interrupted"):
        outcome = create_backups(site, [server])
    assert outcome is None
    assert world.backups(server) == ()
    assert world.leftovers() == []
    assert world.run().succeeded == 1


def test_a_policy_by_hand_is_manual_carries_its_tags_and_outlives_retention(world: World):
    server = world.server("web-01")
    off = {**NIGHTLY["policies"]["gold"], "enabled": False}
    world.declare({**NIGHTLY, "policies": {"gold": off}})
    taken = run_policy(world.site, "gold").succeeded[0]
    assert (taken.trigger, taken.policy, taken.slot) == (Trigger.MANUAL, "gold", None)
    assert taken.tags == {"team": "shop"}
    world.declare(NIGHTLY)
    for number in range(5):
        world.run(world.night(number))
    assert taken.id in {b.id for b in world.backups(server)}
    with pytest.raises(NotFound) as unknown:
        run_policy(world.site, "golden")
    with pytest.raises(Refused) as empty:
        run_policy(world.site, "gold", ["nobody"])
    assert (unknown.value.code, empty.value.code) == ("CSBS.3000", "CSBS.6032")


def test_deletion_refuses_what_has_an_image_is_protected_or_busy(world: World):
    server = world.server("web-01")
    pinned, kept, busy = (create_backups(world.site, [server]).succeeded[0] for _ in range(3))
    image = create_image(world.site, pinned)
    (kept,) = set_protected(world.site, [kept], protected=True)
    busy = busy.model_copy(update={"state": BackupState.RESTORING})
    codes = []
    for backup in (world.vault.catalogue.find(pinned.id), kept, busy):
        with pytest.raises(Refused) as caught:
            delete_backups(world.site, [backup])
        codes.append(caught.value.code)
    assert codes == ["CSBS.8007", "backup.protected", "CSBS.2003"]
    delete_image(world.site, image.id)
    delete_backups(world.site, [world.vault.catalogue.find(pinned.id)])
    assert pinned.id not in {b.id for b in world.backups(server)}


def test_deleting_one_does_not_hurt_the_others(world: World):
    server = world.server("web-01")
    digests = []
    for number in range(3):
        world.clock.move_to(world.night(number))
        world.write(server, 0, b"state %d" % number)
        digests.append(world.digest(server))
        create_backups(world.site, [server])
    first, second, third = world.backups(server)
    delete_backups(world.site, [second])
    for backup, digest in ((first, digests[0]), (third, digests[2])):
        restore(world.site, RestoreRequest(backup, safety=False))
        assert world.digest(server) == digest


def test_the_last_good_backup_is_known_before_it_is_deleted(world: World):
    server = world.server("web-01")
    one, two = (create_backups(world.site, [server]).succeeded[0] for _ in range(2))
    assert leaves_none_good(world.site, [one]) == []
    assert leaves_none_good(world.site, [one, two]) == ["web-01"]


def test_an_image_is_made_once_and_only_of_a_whole_good_backup(world: World):
    server = world.server("web-01")
    backup = create_backups(world.site, [server]).succeeded[0]
    image = create_image(world.site, backup, "golden")
    found = world.vault.catalogue.find(backup.id)
    assert found.images == (image.id,)
    with pytest.raises(Refused) as twice:
        create_image(world.site, found)
    disks_only = found.model_copy(update={"images": (), "volumes": ()})
    world.vault.catalogue.update("default", server.id, lambda _: [disks_only])
    with pytest.raises(Refused) as headless:
        create_image(world.site, disks_only)
    assert (twice.value.code, headless.value.code) == ("CSBS.8001", "CSBS.8009")


def test_a_failed_image_leaves_the_backup_free(world: World):
    server = world.server("web-01")
    backup = create_backups(world.site, [server]).succeeded[0]
    world.cloud.cloud.faults.add("image", "refused", times=1)
    with pytest.raises(Exception, match="sim fail"):
        create_image(world.site, backup)
    assert world.vault.catalogue.find(backup.id).images == ()
    assert create_image(world.site, backup).backup == backup.id


def test_a_backup_that_is_deleted_while_it_is_read_is_not_called_damaged(world: World):
    server = world.server("web-01")
    backup = create_backups(world.site, [server]).succeeded[0]
    delete_backups(world.site, [backup])
    (ended,) = verify_backups(world.site, [backup])
    assert ended.result is not None
    assert (ended.result.gone, ended.result.damage) == (True, {})


def test_backups_of_a_cloud_that_cannot_be_had_do_not_stop_the_verification_of_others(world: World):
    backup = create_backups(world.site, [world.server("web-01")]).succeeded[0]
    elsewhere = backup.model_copy(update={"id": "elsewhere", "provider": "lost"})
    ended = verify_backups(world.site, [elsewhere, backup])
    assert [(end.item.id, end.error is None) for end in ended] == [("elsewhere", False), (backup.id, True)]


def test_a_clean_full_verification_passes_and_a_quick_one_says_nothing_new(world: World):
    server = world.server("web-01")
    backup = create_backups(world.site, [server]).succeeded[0]
    assert verify_backups(world.site, [backup], Depth.QUICK)[0].result.sound  # type: ignore[union-attr]
    assert world.vault.catalogue.find(backup.id).verification is Verification.NONE
    verify_backups(world.site, [backup])
    assert world.vault.catalogue.find(backup.id).verification is Verification.PASSED


def test_the_catalogue_is_rebuilt_from_the_cloud(world: World):
    server = world.server("web-01", 1 << 20, 1 << 20)
    world.declare(NIGHTLY)
    world.run(world.night(0))
    world.clock.move_to(world.night(0, hour=3))
    manual = create_backups(world.site, [server]).succeeded[0]
    before = world.digest(server)
    shutil.rmtree(world.folder / "vault" / "catalogue")
    fresh = world.another()
    assert fresh.backups(server) == ()
    assert len(rebuild(fresh.site).added) == 2
    auto, found = fresh.backups(server)
    assert (auto.slot, auto.policy, auto.trigger) == (world.night(0), "gold", Trigger.AUTO)
    assert (found.id, found.trigger, found.consistency) == (manual.id, Trigger.MANUAL, manual.consistency)
    world.write(server, 0, b"ruined")
    restore(fresh.site, RestoreRequest(found))
    assert fresh.digest(server) == before
    assert rebuild(fresh.site).added == []
    fresh.close()


def test_views_have_the_keys_that_scripts_rely_on(world: World):
    server = world.server("web-01")
    world.server("other")
    world.declare(NIGHTLY)
    for number in range(2):
        world.run(world.night(number))
    (first, _) = views = list(backup_views(world.site, server="web-01"))
    assert [v["policy"] for v in views] == ["gold", "gold"]
    assert first["expires_at"] == "2026-11-04T02:00:00Z", "when the third later night makes it the fourth"
    (web, other) = server_views(world.site)
    assert (web["policy"], web["binding"], web["protectable"]) == ("gold", "web", True)
    assert web["last_backup"] == "2026-11-02T02:00:00Z"
    assert (other["policy"], other["last_backup"]) == (None, None)
    (gold,) = policy_views(world.site)
    assert (gold["next_run"], gold["servers"]) == ("2026-11-03T02:00:00Z", 1)
    status = status_view(world.site)
    assert status["servers"] == {"total": 2, "protected": 1}
    assert find_backed_up_server(world.site, "web-01") == ("default", server.id)
