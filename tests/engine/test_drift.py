"""Each class of findings: made to happen, and shown not to fire falsely."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.engine.drift import Detector, Evidence
from csbsctl.errors import UsageError
from csbsctl.model.backup import BackupState, Verification
from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.model.server import Volume
from csbsctl.provider import Marked, MarkedKind, Marker, Quota

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
WEB = {"policy": "gold", "servers": ["web-01", "web-02"]}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": WEB}}
RULED = {"policies": {"gold": GOLD}, "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}}}


def drift(world, declared=SHOP, *, jobs=(), marked=None, only=()):
    running = [job for job in jobs if job.state is JobState.RUNNING]
    evidence = Evidence(running, {job.id: job.state for job in jobs}.get, marked or {})
    detector = Detector(world.situation(), evidence)
    return detector.detect(world.wish(declared), only=only)


def classes(world, declared=SHOP, **more):
    return [finding.finding_class.value for finding in drift(world, declared, **more).findings]


def replace_server(backup, server_id):
    return backup.model_copy(update={"server": backup.server.model_copy(update={"id": server_id})})


def last_night(world, name, **more):
    return world.backup(name, world.clock.now().replace(hour=2), **more)


def test_after_an_apply_there_is_no_drift_not_even_in_a_year_of_nightly_backups(world):
    world.apply(SHOP)
    assert drift(world).findings == ()
    assert drift(world).exit_code == 0
    world.clock.advance(timedelta(days=365))
    for name in ("web-01", "web-02"):
        world.keep(last_night(world, name))
    assert drift(world).findings == ()


def test_a_live_edit_is_config_drift_with_who_and_since_when(world):
    world.apply(SHOP)
    world.editor.set("shop", "policy.gold", ["enabled"], False)
    (finding,) = drift(world).findings
    assert finding.finding_class.value == "config"
    assert finding.message == (
        "changed outside of csbsctl: enabled is false, declared true "
        "(console: ops, generation 2, 2026-11-22 12:00 UTC)"
    )
    assert finding.since == world.clock.now()
    assert drift(world).exit_code == 2
    world.apply(SHOP)
    assert drift(world).findings == ()


def test_what_is_declared_and_not_applied_is_config_drift_without_blame(world):
    world.apply(SHOP)
    (finding,) = drift(world, {**SHOP, "policies": {"gold": {**GOLD, "retention": {"count": 9}}}}).findings
    assert finding.message == "not applied: retention.count is 30, declared 9"


def test_a_server_that_must_be_protected_and_is_not(world):
    declared = {**SHOP, "objectives": {"all": {"match": {"name": "*"}, "protected": "required"}}}
    world.apply(declared)
    (finding,) = drift(world, declared).findings
    assert (finding.finding_class.value, finding.address) == ("unprotected", "server.db-07")


def test_a_server_that_another_stack_protects_is_not_unprotected(world):
    declared = {**SHOP, "objectives": {"all": {"match": {"name": "*"}, "protected": "required"}}}
    world.apply(declared)
    lab = {"policies": {"p": GOLD}, "bindings": {"db": {"policy": "p", "servers": ["db-07"]}}}
    world.apply(lab, stack="lab")
    assert classes(world, declared) == []


def test_bound_servers_that_go_are_renamed_or_grow_a_shared_disk(world):
    world.apply(SHOP)
    first, second, db = world.servers
    world.servers = [second, db]
    assert classes(world) == ["binding"]
    world.servers = [replace(first, name="web-99"), second, db]
    assert "web-99" in drift(world).findings[0].message
    shared = (*first.volumes, Volume("v", "quorum", 1 << 30, shared=True))
    world.servers = [replace(first, volumes=shared), second, db]
    assert "quorum" in drift(world).findings[0].message


def test_a_named_server_that_was_built_anew_is_bound_and_told_until_the_next_apply(world):
    world.apply(SHOP)
    first, *others = world.servers
    world.servers = [replace(first, id="rebuilt"), *others]
    world.keep(replace_server(last_night(world, "web-01"), "rebuilt"))
    (finding,) = drift(world).findings
    assert finding.message == f"web-01 is another server now: rebuilt, once {first.id}"
    assert finding.finding_class.value == "binding"
    world.apply(SHOP)
    assert drift(world, only=["binding"]).findings == ()


def test_a_newly_matched_server_is_a_note_until_the_next_apply(world):
    world.apply(RULED)
    world.servers.append(world.server("web-03"))
    (finding,) = drift(world, RULED).findings
    assert (finding.finding_class.value, finding.severity) == ("binding", "note")
    world.apply(RULED)
    assert classes(world, RULED) == []


def test_a_new_server_that_two_bindings_reach_is_an_error_finding_and_no_failure(world):
    declared = {
        "policies": {"gold": GOLD, "iron": GOLD},
        "bindings": {
            "web": {"policy": "gold", "match": {"name": "web-*"}},
            "new": {"policy": "iron", "match": {"name": "*-09"}},
        },
    }
    world.apply(declared)
    world.servers.append(world.server("web-09"))
    report = drift(world, declared)
    assert [f.severity for f in report.findings] == ["error", "note"]
    assert "cannot be in policy" in report.findings[0].message


def test_a_new_server_that_two_stacks_reach_is_found(world):
    world.apply(RULED)
    world.apply(
        {"policies": {"p": GOLD}, "bindings": {"n": {"policy": "p", "match": {"name": "*-09"}}}}, stack="lab"
    )
    world.servers.append(world.server("web-09"))
    report = drift(world, RULED)
    assert "binding.n of stack lab" in report.findings[0].message


def test_a_slot_without_a_backup_is_missed_once_its_time_to_start_is_over(world):
    world.apply(SHOP)
    world.clock.move_to(world.clock.now().replace(day=23, hour=5, minute=59))
    assert classes(world) == []
    world.clock.advance(timedelta(minutes=2))
    report = drift(world)
    assert [f.finding_class.value for f in report.findings] == ["missed", "missed"]
    assert report.findings[0].since == world.clock.now().replace(hour=2, minute=0)
    assert report.summary == {"missed": 2}
    for name in ("web-01", "web-02"):
        world.keep(last_night(world, name))
    assert classes(world) == []


def test_a_slot_that_fell_while_a_backup_was_being_made_is_not_missed(world):
    one = {**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01"]}}}
    world.apply(one)
    world.clock.advance(timedelta(days=1))
    slot = world.clock.now().replace(hour=2)
    early, late = slot - timedelta(hours=1), slot + timedelta(hours=1)
    world.keep(world.backup("web-01", early, policy=None, slot=None, finished_at=late))
    assert classes(world, one) == []


def test_slots_of_a_policy_that_is_off_or_from_before_the_binding_are_not_missed(world):
    off = {**SHOP, "policies": {"gold": {**GOLD, "enabled": False}}}
    world.apply(off)
    world.clock.advance(timedelta(days=2))
    assert classes(world, off) == []
    world.apply(SHOP)
    assert classes(world) == []


def test_an_apply_by_a_clock_that_ran_ahead_hides_no_missed_slot(world):
    world.apply(SHOP)
    world.clock.advance(timedelta(days=40))
    edited = {**SHOP, "policies": {"gold": {**GOLD, "schedule": {"at": ["03:00"]}}}}
    world.apply(edited)
    world.clock.advance(timedelta(days=-38))
    assert classes(world, edited) == ["missed", "missed"]


def test_a_recovery_point_older_than_its_objective(world):
    declared = {**SHOP, "objectives": {"prod": {"match": {"name": "web-01"}, "rpo": "26h"}}}
    world.apply(declared)
    world.keep(last_night(world, "web-01"))
    assert classes(world, declared, only=["objective"]) == []
    world.clock.advance(timedelta(hours=17))
    (finding,) = drift(world, declared, only=["objective"]).findings
    assert finding.address == "server.web-01"
    assert finding.since == world.clock.now() - timedelta(hours=1)
    world.keep(world.backup("web-01", world.clock.now(), policy=None, slot=None, name="manualbk_1"))
    assert classes(world, declared, only=["objective"]) == []


def test_a_server_without_any_backup_gets_as_long_as_the_objective_allows(world):
    declared = {**SHOP, "objectives": {"prod": {"match": {"name": "web-01"}, "rpo": "26h"}}}
    world.apply(declared)
    assert classes(world, declared) == []
    world.clock.advance(timedelta(hours=27))
    assert classes(world, declared, only=["objective"]) == ["objective"]


def test_a_failed_backup_counts_until_a_good_one_follows(world):
    world.apply(SHOP)
    night = world.clock.now().replace(hour=2)
    error = {"code": "provider.refused", "message": "the disk is locked"}
    world.keep(world.backup("web-01", night, state=BackupState.ERROR, error=error))
    (finding,) = drift(world).findings
    assert finding.finding_class.value == "backup"
    assert "the disk is locked" in finding.message
    world.keep(world.backup("web-01", night + timedelta(hours=1)))
    assert classes(world) == []


def test_a_damaged_backup_counts_until_it_is_gone(world):
    world.apply(SHOP)
    world.keep(last_night(world, "web-01", verification=Verification.FAILED))
    assert classes(world) == ["backup"]


def test_a_backup_that_the_cloud_no_longer_has(world):
    world.apply(SHOP)
    kept = last_night(world, "web-01")
    world.keep(kept)
    there = Marked(MarkedKind.BACKUP, kept.volumes[0].ref, Marker("v", kept.job, "id-web-01"))
    assert classes(world, marked={"default": [there]}) == []
    assert classes(world, marked={}) == []
    assert classes(world, marked={"default": []}) == ["backup"]


def test_every_disk_that_the_cloud_no_longer_has_is_named_and_what_depends_on_it(world):
    world.apply(SHOP)
    night = world.clock.now().replace(hour=2)
    full = world.backup("web-01", night)
    data = full.volumes[0].model_copy(update={"volume_id": "vol-data", "name": "data", "ref": "ref-data"})
    full = full.model_copy(update={"volumes": (*full.volumes, data)})
    later = world.backup("web-01", night + timedelta(hours=1), parent=full.volumes[0].ref)
    world.keep(full, later)
    marker = Marker("v", full.job, "id-web-01")
    there = [Marked(MarkedKind.BACKUP, later.volumes[0].ref, marker)]
    found = [f.message for f in drift(world, marked={"default": there}, only=["backup"]).findings]
    ref = full.volumes[0].ref
    assert [message.partition(" cannot be restored: ")[2] for message in found] == [
        f"disk system is missing in the cloud ({ref})",
        "disk data is missing in the cloud (ref-data)",
        f"disk system depends on {ref}, which is missing in the cloud",
    ]
    assert found[2].startswith(f"backup {later.name} ({later.id}) of web-01")


def test_a_stored_disk_that_the_cloud_calls_faulty(world):
    world.apply(SHOP)
    kept = last_night(world, "web-01")
    world.keep(kept)
    marker = Marker("v", kept.job, "id-web-01")
    bad = Marked(MarkedKind.BACKUP, kept.volumes[0].ref, marker, details={"state": "error_deleting"})
    (finding,) = drift(world, marked={"default": [bad]}).findings
    assert "is in state error_deleting in the cloud" in finding.message


def test_disks_attached_and_detached_since_the_newest_good_backup_are_named(world):
    world.apply(SHOP)
    world.keep(last_night(world, "web-01"))
    web = world.servers[0]
    data = Volume("vol-data", "data", 1 << 30, position=1)
    world.servers[0] = replace(web, volumes=(*web.volumes, data))
    (finding,) = drift(world).findings
    assert (finding.finding_class.value, finding.severity) == ("binding", "warning")
    assert finding.message.startswith(
        "disk data (vol-data, 1 GiB) was attached to web-01 after its newest good"
    )
    world.servers[0] = replace(web, volumes=(data,))
    attached, detached = drift(world).findings
    assert "was attached to web-01" in attached.message
    assert detached.message.startswith("disk system (vol-web-01, 10 GiB) is no longer attached to web-01")
    both = world.backup("web-01", world.clock.now().replace(hour=3))
    volumes = tuple(v.model_copy(update={"volume_id": "vol-data"}) for v in both.volumes)
    world.keep(both.model_copy(update={"volumes": volumes}))
    assert classes(world) == []


def test_a_disk_that_a_restore_replaced_is_the_same_disk(world):
    world.apply(SHOP)
    kept = last_night(world, "web-01")
    followed = tuple(v.model_copy(update={"successors": ("vol-new",)}) for v in kept.volumes)
    world.keep(kept.model_copy(update={"volumes": followed}))
    web = world.servers[0]
    world.servers[0] = replace(web, volumes=(replace(web.volumes[0], id="vol-new"),))
    assert classes(world) == []


def test_backups_that_nothing_prunes_any_more_are_noted(world):
    world.apply(SHOP)
    world.nightly("web-02", 3)
    smaller = {**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01"]}}}
    world.apply(smaller)
    (finding,) = drift(world, smaller).findings
    assert finding.severity == "note"
    assert finding.message.startswith("3 backups of policy gold on web-02 never expire")


def test_a_chain_that_hangs_on_a_foreign_backup(world):
    world.apply(SHOP)
    night = world.clock.now().replace(hour=2)
    world.keep(world.backup("web-01", night))
    ours = world.backup("web-01", night).volumes[0].ref
    world.keep(world.backup("web-01", night + timedelta(hours=1), parent=ours))
    assert classes(world) == []
    world.keep(world.backup("web-01", night + timedelta(hours=2), parent="somebody-elses"))
    assert classes(world) == ["chain"]


def job(world, state):
    return Job(
        id="job-1",
        kind=JobKind.BACKUP,
        state=state,
        provider="default",
        runner="r",
        fence=1,
        started_at=world.clock.now(),
    )


def test_a_deletion_that_the_cloud_refuses(world):
    world.apply(SHOP)
    kept = last_night(world, "web-01")
    world.keep(kept)
    pruning = job(world, JobState.RUNNING).model_copy(
        update={"kind": JobKind.PRUNE, "steps": {"refused": {kept.id: "it is error_deleting"}}}
    )
    (finding,) = drift(world, jobs=[pruning]).findings
    assert finding.finding_class.value == "backup"
    assert finding.message.endswith("of web-01 cannot be deleted: it is error_deleting")
    assert classes(world, jobs=[pruning.model_copy(update={"state": JobState.SUCCEEDED})]) == []


def test_a_snapshot_left_behind_is_an_orphan_and_one_in_use_is_not(world):
    world.apply(SHOP)
    old = world.clock.now() - timedelta(hours=1)
    snapshot = Marked(MarkedKind.SNAPSHOT, "snap-1", Marker("v", "job-1", "id-web-01"), created_at=old)
    marked = {"default": [snapshot]}
    assert classes(world, marked=marked, jobs=[job(world, JobState.RUNNING)]) == []
    assert classes(world, marked=marked, jobs=[job(world, JobState.FAILED)]) == ["orphan"]
    young = {"default": [replace(snapshot, created_at=world.clock.now())]}
    assert classes(world, marked=young) == []


def test_a_snapshot_that_a_backup_keeps_is_no_orphan(world):
    world.apply(SHOP)
    kept = last_night(world, "web-01")
    volumes = tuple(v.model_copy(update={"extra": {"snapshot": "snap-1"}}) for v in kept.volumes)
    world.keep(kept.model_copy(update={"volumes": volumes}))
    old = world.clock.now() - timedelta(hours=1)
    marker = Marker("v", kept.job, "id-web-01")
    snapshot = Marked(MarkedKind.SNAPSHOT, "snap-1", marker, created_at=old)
    stored = Marked(MarkedKind.BACKUP, kept.volumes[0].ref, marker, created_at=old)
    assert classes(world, marked={"default": [snapshot, stored]}) == []


def test_a_restored_server_is_a_result_and_no_orphan(world):
    world.apply(SHOP)
    old = world.clock.now() - timedelta(hours=1)
    restored = Marked(MarkedKind.SERVER, "srv", Marker("v", "job-1", "x"), created_at=old)
    assert classes(world, marked={"default": [restored]}) == []


def test_a_quota_that_is_nearly_used_up(world):
    world.apply(SHOP)
    world.quotas = {"default": Quota(backups=10, backups_used=8)}
    assert classes(world) == []
    world.quotas = {"default": Quota(backups=10, backups_used=9)}
    assert [f.severity for f in drift(world).findings] == ["warning"]
    world.quotas = {"default": Quota(backups=10, backups_used=10)}
    assert [f.severity for f in drift(world).findings] == ["error"]


def test_only_looks_at_some_classes_and_refuses_unknown_ones(world):
    world.apply(SHOP)
    world.editor.set("shop", "policy.gold", ["enabled"], False)
    assert classes(world, only=["missed"]) == []
    assert classes(world, only=["config", "missed"]) == ["config"]
    with pytest.raises(UsageError, match="not a class of findings"):
        drift(world, only=["konfig"])


def test_backups_in_a_provider_that_is_not_configured_any_more(world):
    world.apply(SHOP)
    world.nightly("web-01", 3)
    world.keep(replace_server(world.backup("web-02", NOON, stack="other"), "id-other"))
    situation = world.situation(inventory={"main": world.servers})
    found = Detector(situation, Evidence()).detect(world.wish(SHOP), only=["backup"]).findings
    (finding,) = [f for f in found if f.address == "provider.default"]
    assert finding.severity == "error"
    assert finding.message.startswith("3 backups can be neither restored nor deleted: provider default")


def test_a_backup_dated_in_the_future_is_told_and_does_not_hide_a_missed_slot(world):
    world.apply(SHOP)
    world.clock.advance(timedelta(days=2))
    far = world.clock.now().replace(hour=2) + timedelta(days=300)
    for name in ("web-01", "web-02"):
        world.keep(last_night(world, name))
    ahead = world.backup("web-01", far)
    world.keep(ahead)
    world.vault.catalogue.update(
        "default", "id-web-01", lambda old: old, slots=("gold", lambda log: log.taken(far))
    )
    (finding,) = drift(world).findings
    assert (finding.finding_class.value, finding.address) == ("backup", f"backup.{ahead.name}@web-01")
    assert "is dated in the future" in finding.message
    world.clock.advance(timedelta(days=1))
    assert sorted(f.address for f in drift(world).findings if f.finding_class.value == "missed") == [
        "server.web-01",
        "server.web-02",
    ]
