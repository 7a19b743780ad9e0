"""The main job, as its user does it: declare, plan, apply, back up, lose data, get it back."""

from __future__ import annotations

import re

import pytest


def test_after_an_apply_a_plan_is_empty_and_a_destroy_keeps_backups(shop):
    csbsctl = shop.csbsctl
    assert "Plan: 4 to add, 0 to change, 0 to destroy." in csbsctl("plan").out
    assert csbsctl("plan", "--detailed-exitcode", expect=2).code == 2
    assert shop.apply()["applied"]
    assert "No changes." in csbsctl("plan", "--detailed-exitcode").out
    assert not shop.apply()["applied"]
    csbsctl("backup", "create", "web-02")
    csbsctl("destroy", "--yes")
    assert len(shop.backups()) == 1
    assert "No policy is in force" in csbsctl("policy", "list").out


def test_each_slot_is_served_once_and_retention_lets_go_of_the_oldest(open_shop):
    for day in (20, 21, 22):
        for time in ("02:10", "02:20", "03:10", "14:10", "14:20"):
            open_shop.run(f"2026-11-{day}T{time}:00Z")
    assert [b["started_at"][:13] for b in open_shop.backups("--server", "web-01")] == [
        "2026-11-21T14",
        "2026-11-22T02",
        "2026-11-22T14",
    ]
    assert all(b["tags"] == {"team": "shop"} for b in open_shop.backups("--policy", "gold"))
    first, *later = open_shop.backups("--server", "db-01")
    assert first["started_at"] > "2026-11-21"
    assert all(b["kind"] == "incremental" for b in later)


def test_a_slot_nobody_ran_for_is_caught_up_once_or_recorded_as_missed(open_shop):
    events = [(e["event"], e.get("server")) for e in open_shop.run("2026-11-21T05:30:00Z")]
    assert events.count(("job.finished", "web-01")) == 1
    assert events.count(("slot.missed", "web-01")) == 2
    assert events.count(("slot.missed", "db-01")) == 1
    assert {e["event"] for e in open_shop.run("2026-11-21T05:40:00Z")} == {"summary"}


def test_backups_by_hand_have_the_names_of_the_service(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("backup", "create", "web-01")
    assert re.fullmatch(r"manualbk_[0-9a-f]{4}", open_shop.names()[0])
    csbsctl("backup", "create", "web-01", "web-02", "--name", "before")
    csbsctl("backup", "create", "web-01", "--name", "alone", "--full", "--description", "by a test")
    assert {"alone", "before-0001", "before-0002"} < set(open_shop.names())
    kinds = {b["name"]: b["kind"] for b in open_shop.backups()}
    assert (kinds["before-0001"], kinds["alone"]) == ("incremental", "full")
    assert csbsctl("backup", "show", "alone", "--json").json["description"] == "by a test"
    assert "by a test" in csbsctl("backup", "show", "alone").out


def test_what_is_protected_or_has_an_image_cannot_go(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("backup", "create", "web-01", "--name", "keep")
    csbsctl("backup", "protect", "keep")
    assert "is protected" in csbsctl("backup", "delete", "keep", "--yes", expect=1).err
    csbsctl("backup", "unprotect", "keep")
    csbsctl("image", "create", "keep", "--name", "golden")
    assert "CSBS.8007" in csbsctl("backup", "delete", "keep", "--yes", expect=1).err
    csbsctl("sim", "server", "create", "web-03", "--image", "golden")
    assert open_shop.disks("web-03") == open_shop.disks("web-01")
    said = csbsctl("image", "delete", "golden", "--yes")
    assert said.out == "Deleted image golden.\n"
    csbsctl("backup", "delete", "keep", "--yes")
    assert open_shop.backups() == []


@pytest.fixture
def attacked(open_shop):
    """Return a shop whose database was backed up as ``good``, then encrypted; with its digests before."""
    open_shop.before = open_shop.disks("db-01")
    open_shop.csbsctl("backup", "create", "db-01", "--name", "good")
    open_shop.at("2026-11-20T01:00:00Z")
    open_shop.csbsctl("sim", "attack", "db-01", "--seed", "7")
    open_shop.ruined = open_shop.disks("db-01")
    assert open_shop.ruined != open_shop.before
    return open_shop


def test_restore_in_place_brings_every_byte_back_and_keeps_what_was_there(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("restore", "good", "--in-place", "--yes")
    assert attacked.disks("db-01") == attacked.before
    assert attacked.state("db-01") == "active"
    safety = next(b for b in attacked.backups("--server", "db-01") if b["name"] != "good")
    assert safety["trigger"] == "manual"
    csbsctl("restore", safety["name"], "--in-place", "--yes", "--no-safety-backup")
    assert attacked.disks("db-01") == attacked.ruined
    assert len(attacked.backups()) == 2


def test_a_server_that_was_stopped_or_shall_stay_so_is_left_stopped(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("restore", "good", "--in-place", "--yes", "--no-power-on")
    assert attacked.state("db-01") == "stopped"
    csbsctl("restore", "good", "--in-place", "--yes")
    assert attacked.state("db-01") == "stopped"
    csbsctl("restore", "good", "--as", "db-02", "--no-power-on")
    assert attacked.state("db-02") == "stopped"


def test_disks_that_came_went_or_grew_since(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("sim", "disk", "attach", "db-01", "1M")
    attacked.fill("db-01:3", seed=9, size="300K")
    added = attacked.digest("db-01:3")
    csbsctl("sim", "disk", "detach", "db-01:1")
    csbsctl("sim", "disk", "resize", "db-01:1", "3M")
    plan = csbsctl("restore", "good", "--in-place", "--dry-run", "--json").json
    assert [disk["name"] for disk in plan["left_alone"]] == ["db-01-disk-3"]
    assert [disk["name"] for disk in plan["gone"]] == ["db-01-disk-1"]
    csbsctl("restore", "good", "--in-place", "--yes")
    assert attacked.digest("db-01:0") == attacked.before[:1]
    assert attacked.digest("db-01:2") == added
    image = attacked.folder / "grown.raw"
    csbsctl("sim", "disk", "export", "db-01:1", str(image))
    assert image.stat().st_size == 3 << 20


def test_one_disk_alone_is_restored_and_the_others_are_not_touched(attacked):
    attacked.csbsctl("restore", "good", "--in-place", "--yes", "--volume", "db-01-disk-2")
    now = attacked.disks("db-01")
    assert now[2] == attacked.before[2]
    assert now[:2] == attacked.ruined[:2]


def test_a_disk_can_be_sent_to_another_disk_that_is_large_enough(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("sim", "disk", "attach", "db-01", "2M")
    csbsctl(
        "restore",
        "good",
        "--in-place",
        "--yes",
        "--volume",
        "db-01-disk-2",
        "--map",
        "db-01-disk-2=db-01-disk-3",
    )
    assert attacked.digest("db-01:3") == attacked.before[2:]
    assert attacked.digest("db-01:2") == attacked.ruined[2:]


def test_a_target_disk_that_is_too_small_is_refused_with_the_code_of_the_service(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("sim", "disk", "attach", "db-01", "1M")
    words = ("restore", "good", "--in-place", "--yes", "--map", "db-01-disk-2=db-01-disk-3")
    said = csbsctl(*words, expect=1)
    assert "CSBS.6024" in said.err
    assert "1 MiB" in said.err
    assert attacked.disks("db-01")[:3] == attacked.ruined
    assert attacked.names() == ["good"]


def test_data_never_goes_onto_the_system_disk_or_a_shared_one(attacked):
    csbsctl = attacked.csbsctl
    onto_system = ("restore", "good", "--in-place", "--yes", "--volume", "db-01-disk-2", "--map")
    assert "CSBS.6023" in csbsctl(*onto_system, "db-01-disk-2=db-01-disk-0", expect=1).err
    csbsctl("sim", "disk", "share", "db-01:2", "web-02")
    assert "CSBS.6021" in csbsctl("restore", "good", "--in-place", "--yes", expect=1).err
    assert attacked.disks("db-01") == attacked.ruined


def test_a_deleted_server_comes_back_as_a_new_one(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("sim", "server", "delete", "db-01")
    assert "--as NAME" in csbsctl("restore", "good", "--in-place", "--yes", expect=1).err
    csbsctl("restore", "--server", "db-01", "--as", "db-01")
    assert attacked.disks("db-01") == attacked.before


def test_a_point_in_time_is_the_newest_good_backup_before_it(open_shop):
    csbsctl = open_shop.csbsctl
    digests = {}
    for number, time in enumerate(("02:10", "14:10")):
        open_shop.fill("web-02:0", seed=20 + number)
        digests[time] = open_shop.disks("web-02")
        open_shop.run(f"2026-11-20T{time}:00Z")
    open_shop.at("2026-11-20T16:00:00Z")
    said = csbsctl("restore", "--server", "web-02", "--as-of", "2026-11-20T13:00:00Z", "--as", "then")
    assert "2026-11-20" in said.out
    assert open_shop.disks("then") == digests["02:10"]
    early = csbsctl("restore", "--server", "web-02", "--as-of", "2020-01-01T00:00:00Z", "--as", "x", expect=1)
    assert "no good backup at or before 2020-01-01" in early.err
    assert "web-02" in early.err


def test_an_instant_restore_is_readable_at_once_and_writable_while_it_fills(attacked):
    csbsctl = attacked.csbsctl
    csbsctl("sim", "latency", "restore", "0.2")
    csbsctl("restore", "good", "--as", "db-02", "--instant")
    assert attacked.disks("db-02") == attacked.before
    attacked.fill("db-02:1", seed=33, size="64K", offset="1M")
    written = attacked.digest("db-02:1")
    csbsctl("sim", "fill")
    assert attacked.digest("db-02:1") == written
    assert [attacked.digest("db-02:0")[0], attacked.digest("db-02:2")[0]] == attacked.before[::2]


def test_instant_restore_follows_the_table_of_the_service(open_shop):
    csbsctl = open_shop.csbsctl
    open_shop.run("2026-11-20T03:10:00Z")
    flags = {b["server"]["name"]: b["instant_restore"] for b in open_shop.backups()}
    assert flags == {"web-01": False, "web-02": False, "db-01": True}
    name = open_shop.names("--server", "web-01")[0]
    said = csbsctl("restore", f"{name}@web-01", "--as", "x", "--instant", expect=1)
    assert "does not allow an instant restore" in said.err
    csbsctl("backup", "create", "web-01", "--name", "full", "--full")
    csbsctl("restore", "full", "--as", "web-copy", "--instant")
    assert open_shop.disks("web-copy") == open_shop.disks("web-01")


def test_a_disabled_policy_takes_and_deletes_nothing_but_runs_by_hand(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("policy", "disable", "gold")
    assert "already disabled" in csbsctl("policy", "disable", "gold").out
    events = open_shop.run("2026-11-20T02:10:00Z")
    assert {e["event"] for e in events} == {"summary"}
    csbsctl("policy", "run", "gold", "--server", "web-02")
    assert [b["trigger"] for b in open_shop.backups()] == ["manual"]
    assert "enabled" in csbsctl("drift", "--only", "config", expect=2).out
    csbsctl("policy", "enable", "gold")
    assert csbsctl("drift", "--only", "config").code == 0


def test_a_policy_run_for_a_server_outside_of_it_says_so(open_shop):
    said = open_shop.csbsctl("policy", "run", "gold", "--server", "db-01", expect=1)
    assert "db-01" in said.err
    assert "gold" in said.err


def test_status_and_audit_tell_what_happened(open_shop):
    csbsctl = open_shop.csbsctl
    open_shop.run("2026-11-20T02:10:00Z")
    said = csbsctl("status").out
    assert "3 of 3 servers are protected." in said
    assert re.search(r"gold +yes +2 +2026-11-20 02:1\d +2026-11-20 14:00", said)
    listed = csbsctl("audit", "list").out
    for action in ("createBackupPolicy", "bindResources", "createCheckpoint"):
        assert action in listed
    assert csbsctl("audit", "verify").out == "The audit trail is whole.\n"
    assert "The vault is sound" in csbsctl("vault", "check").out


def test_damage_in_the_vault_is_found_named_and_never_offered(attacked):
    csbsctl = attacked.csbsctl
    data = [path for path in (attacked.folder / "vault/data").rglob("*") if path.is_file()]
    pack = max(data, key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(content)
    said = csbsctl("backup", "verify", "good", expect=1)
    assert "1 of 1 backups are damaged: good" in said.err
    assert "damaged" in csbsctl("backup", "list").out
    refused = csbsctl("restore", "good", "--in-place", "--yes", expect=1)
    assert "failed its verification" in refused.err
    assert attacked.disks("db-01") == attacked.ruined
