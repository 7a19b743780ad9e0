"""One server's record of backups is damaged: what looks goes on for the others, names that one and says what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import conforms

if TYPE_CHECKING:
    from tests.e2e.conftest import Shop

REMEDY = "csbsctl vault check --repair"


@pytest.fixture
def hurt_shop(open_shop: Shop) -> Shop:
    """Return a shop whose three servers have a backup each, and where the record of web-01 has a flipped bit."""
    csbsctl = open_shop.csbsctl
    csbsctl("backup", "create", "web-01", "web-02", "db-01", "--name", "kept")
    open_shop.run("2026-11-20T02:10:00Z")
    damage(open_shop, "web-01")
    return open_shop


def damage(shop: Shop, name: str) -> None:
    server = shop.csbsctl("server", "show", name, "--json").json["id"]
    newest = max((shop.folder / "vault" / "catalogue" / f"default~{server}").iterdir())
    stored = bytearray(newest.read_bytes())
    stored[len(stored) // 2] ^= 1
    newest.chmod(0o644)
    newest.write_bytes(stored)


def test_lists_show_the_others_and_end_as_failed_in_part(hurt_shop):
    listed = hurt_shop.csbsctl("backup", "list", "--json", expect=3)
    conforms(listed.json, "backup-list")
    assert {backup["server"]["name"] for backup in listed.json} == {"web-02", "db-01"}
    assert "the backups of web-01 (" in listed.err
    assert REMEDY in listed.err
    said = hurt_shop.csbsctl("backup", "list", expect=3)
    assert "web-02" in said.out
    assert REMEDY in said.err
    servers = hurt_shop.csbsctl("server", "list", "--json", expect=3)
    conforms(servers.json, "server-list")
    assert {s["name"]: bool(s["last_backup"]) for s in servers.json}["web-01"] is False
    assert "web-01" in servers.err
    assert hurt_shop.csbsctl("server", "show", "web-02").err == ""
    assert REMEDY in hurt_shop.csbsctl("server", "show", "web-01", expect=3).err


def test_the_lists_of_one_server_are_whole_when_it_is_another_that_is_hurt(hurt_shop):
    kept = hurt_shop.csbsctl("server", "show", "web-02", "--json").json["id"]
    assert len(hurt_shop.backups("--server", kept)) == 2
    assert len(hurt_shop.backups("--server", "web-02")) == 2
    listed = hurt_shop.csbsctl("backup", "list", "--server", "web-01", "--json", expect=3)
    assert listed.json == []
    assert REMEDY in listed.err


def test_drift_and_status_have_it_as_an_error_about_backups_and_nothing_that_follows_from_it(hurt_shop):
    hurt_shop.at("2026-11-20T02:20:00Z")
    report = hurt_shop.csbsctl("drift", "--json", expect=2).json
    conforms(report, "drift")
    (found,) = report["findings"]
    assert (found["class"], found["severity"], found["address"]) == ("backup", "error", "server.web-01")
    assert REMEDY in hurt_shop.csbsctl("drift", expect=2).out
    assert hurt_shop.csbsctl("drift", "--only", "orphan", "--only", "missed", "--json").json["findings"] == []
    status = hurt_shop.csbsctl("status", "--json").json
    conforms(status, "status")
    assert [finding["address"] for finding in status["findings"]] == ["server.web-01"]
    assert [p["name"] for p in hurt_shop.csbsctl("policy", "list", "--json").json] == ["gold", "silver"]


def test_a_forecast_is_made_of_the_others(hurt_shop):
    said = hurt_shop.csbsctl("forecast", "--json", expect=3)
    conforms(said.json, "forecast")
    assert "web-01" in said.err


def test_a_plan_tells_it_and_apply_changes_no_rules_over_backups_that_nobody_can_see(hurt_shop):
    configuration = (hurt_shop.folder / "csbs.yaml").read_text()
    hurt_shop.declare(configuration.replace("{count: 3}", "{count: 1}"))
    plan = hurt_shop.csbsctl("plan", "--json").json
    conforms(plan, "plan")
    (found,) = plan["findings"]
    assert (found["class"], found["severity"], found["address"]) == ("backup", "error", "server.web-01")
    said = hurt_shop.csbsctl("apply", "--yes", expect=1)
    assert "this changes the rules of web-01" in said.err
    assert REMEDY in said.err
    hurt_shop.declare(configuration.replace("{days: 2}", "{days: 3}"))
    hurt_shop.csbsctl("apply", "--yes")


def test_a_backup_of_another_server_is_found_and_a_bare_name_is_not_believed_to_be_the_only_one(hurt_shop):
    csbsctl = hurt_shop.csbsctl
    kept = next(b for b in csbsctl("backup", "list", "--json", expect=3).json if b["policy"] is None)
    csbsctl("restore", kept["id"], "--in-place", "--dry-run")
    csbsctl("backup", "show", kept["id"][:8])
    csbsctl("restore", "--server", "web-02", "--in-place", "--dry-run")
    assert "may fit more" in csbsctl("backup", "delete", kept["name"], "--yes", expect=1).err
    assert REMEDY in csbsctl("backup", "show", "nosuch", expect=1).err
    for server in ("web-01", "nosuch"):
        assert REMEDY in csbsctl("restore", "--server", server, "--in-place", "--dry-run", expect=1).err


def test_verifying_all_verifies_the_others_and_fails(hurt_shop):
    said = hurt_shop.csbsctl("backup", "verify", "--all", expect=1)
    assert "the record of 1 server is damaged" in said.err
    assert hurt_shop.csbsctl("backup", "verify", "--all", "--json", expect=1).json["verified"] > 0


def test_a_check_looks_at_the_data_of_the_others_and_does_not_call_that_of_the_hurt_one_lost(hurt_shop):
    said = hurt_shop.csbsctl("vault", "check", "--no-race", expect=1).out
    assert "was not checked" not in said
    assert "in no record" not in said


def test_what_the_message_says_mends_it(hurt_shop):
    hurt_shop.csbsctl("vault", "check", "--repair", "--no-race", expect=None)
    hurt_shop.csbsctl("backup", "rebuild")
    assert {b["server"]["name"] for b in hurt_shop.backups()} == {"web-01", "web-02", "db-01"}
    hurt_shop.csbsctl("backup", "verify", "--all")
