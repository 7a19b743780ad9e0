"""What scripts rely on: every document that ``--json`` prints is the one that ``schemas/`` describes, and nothing else."""

from __future__ import annotations

import json

import jsonschema
import pytest

from tests.e2e.conftest import SCHEMAS, conforms
from tests.filesystem.conftest import image

EMPTY = {
    ("plan",): "plan",
    ("drift",): "drift",
    ("history",): "history",
    ("status",): "status",
    ("server", "list"): "server-list",
    ("policy", "list"): "policy-list",
    ("job", "list"): "job-list",
    ("audit", "list"): "audit-list",
    ("forecast",): "forecast",
    ("backup", "list"): "backup-list",
    ("image", "list"): "image-list",
}
"""Commands that only look, and have an answer before anything was applied."""


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_every_schema_is_one(path):
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_before_the_first_apply_there_is_an_answer(shop, words):
    code = 2 if words == ("drift",) else 0
    conforms(shop.csbsctl(*words, "--json", expect=code).json, EMPTY[words])
    assert shop.csbsctl(*words, expect=code).out


def test_a_status_that_did_not_look_for_findings_does_not_say_there_are_none(open_shop):
    assert "No findings." in open_shop.csbsctl("status").out
    assert "indings" not in open_shop.csbsctl("status", "--no-findings").out


def test_what_looks_conforms(open_shop):
    csbsctl = open_shop.csbsctl
    for line in open_shop.run("2026-11-20T02:10:00Z"):
        conforms(line, "run-event")
    for line in open_shop.run("2026-11-20T12:10:00Z"):
        conforms(line, "run-event")
    assert {line["event"] for line in open_shop.run("2026-11-20T14:10:00Z")} > {"job.started", "summary"}
    for words, name in EMPTY.items():
        conforms(csbsctl(*words, "--json", expect=None).json, name)
    listed = open_shop.backups("--all")
    conforms(listed, "backup-list")
    assert len(listed) == 4
    conforms(csbsctl("backup", "show", listed[0]["id"], "--json").json, "backup-show")
    conforms(csbsctl("server", "show", "web-01", "--json").json, "server-show")
    conforms(csbsctl("schedule", "gold", "--json").json, "schedule")
    job = csbsctl("job", "list", "--json").json[0]
    conforms(csbsctl("job", "show", job["id"], "--json").json, "job-show")
    conforms(csbsctl("audit", "verify", "--json").json, "audit-verify")
    conforms(csbsctl("vault", "check", "--json").json, "vault-check")
    rebuilt = csbsctl("backup", "rebuild", "--json").json
    conforms(rebuilt, "backup-rebuild")
    assert (rebuilt["added"], rebuilt["known"]) == ([], 4)
    conforms(csbsctl("vault", "init", "--json").json, "vault-init")
    due = csbsctl("--at", "2026-11-21T02:01:00Z", "run", "--dry-run", "--json").lines
    assert [line["event"] for line in due] == ["slot.due", "slot.due"]
    for line in due:
        conforms(line, "run-event")


def test_what_changes_conforms(shop):
    csbsctl = shop.csbsctl
    conforms(csbsctl("vault", "init", "--json").json, "vault-init")
    conforms(csbsctl("apply", "--yes", "--json").json, "apply")
    made = csbsctl("backup", "create", "web-01", "web-02", "--name", "before", "--json").json
    conforms(made, "backup-create")
    assert [backup["name"] for backup in made["succeeded"]] == ["before-0001", "before-0002"]
    first = made["succeeded"][0]["id"]
    conforms(csbsctl("policy", "run", "silver", "--json").json, "backup-create")
    conforms(csbsctl("policy", "disable", "silver", "--json").json, "policy-switch")
    conforms(csbsctl("drift", "--json", expect=2).json, "drift")
    conforms(csbsctl("backup", "protect", first, "--json").json, "backup-protect")
    conforms(csbsctl("backup", "unprotect", first, "--json").json, "backup-protect")
    conforms(csbsctl("backup", "verify", "--all", "--json").json, "backup-verify")
    conforms(csbsctl("image", "create", first, "--name", "golden", "--json").json, "image-create")
    conforms(csbsctl("image", "list", "--json").json, "image-list")
    conforms(csbsctl("backup", "list", "--json").json, "backup-list")
    conforms(csbsctl("image", "delete", "golden", "--yes", "--json").json, "image-delete")
    plan = csbsctl("restore", first, "--in-place", "--dry-run", "--json").json
    conforms(plan, "restore-plan")
    assert plan["allowed"]
    conforms(csbsctl("restore", first, "--in-place", "--yes", "--json").json, "restore")
    conforms(csbsctl("restore", first, "--as", "copy", "--json").json, "restore")
    conforms(csbsctl("restore", first, "--no-server", "--dry-run", "--json").json, "restore-plan")
    conforms(csbsctl("restore", first, "--no-server", "--json").json, "restore")
    conforms(csbsctl("restore", first, "--to", "out", "--dry-run", "--json").json, "restore-disks")
    conforms(csbsctl("restore", first, "--to", "out", "--json").json, "restore-disks")
    (csbsctl.folder / "ext4.img").write_bytes(image("ext4"))
    csbsctl("sim", "server", "create", "files", "--disk", "8M")
    csbsctl("sim", "disk", "import", "files:0", str(csbsctl.folder / "ext4.img"))
    csbsctl("backup", "create", "files", "--name", "files")
    words = ("restore", "files", "--path", "/etc", "--path", "/device")
    conforms(csbsctl(*words, "--dry-run", "--json").json, "restore-files")
    fetched = csbsctl(*words, "--to", "files", "--json").json
    conforms(fetched, "restore-files")
    assert [len(fetched["files"]), len(fetched["skipped"])] == [4, 1]
    assert (csbsctl.folder / "files/etc/hosts").read_text() == "hosts in a journal"
    conforms(csbsctl("backup", "delete", first, "--yes", "--json").json, "backup-delete")
    conforms(csbsctl("destroy", "--yes", "--json").json, "apply")
    conforms(csbsctl("rollback", "1", "--yes", "--json").json, "apply")
    conforms(csbsctl("history", "--json").json, "history")
    conforms(csbsctl("audit", "list", "--json").json, "audit-list")


ERRORS = (
    ("backup", "show", "nosuch"),
    ("backup", "delete", "nosuch", "--yes"),
    ("server", "show", "nosuch"),
    ("job", "show", "nosuch"),
    ("policy", "enable", "nosuch"),
    ("restore", "nosuch", "--in-place"),
    ("restore", "--server", "web-01", "--in-place", "--as", "x"),
    ("image", "delete", "nosuch", "--yes"),
    ("apply", "nosuch.plan", "--yes"),
    ("rollback", "99", "--yes"),
    ("run", "--policy", "nosuch"),
    ("schedule", "nosuch"),
    ("show", "policy.nosuch"),
    ("backup", "create", "web-01", "--name", "no good name"),
    ("destroy",),
    ("--at", "nonsense", "plan"),
    ("nosuch",),
)


@pytest.mark.parametrize("words", ERRORS, ids=" ".join)
def test_every_error_conforms_and_stands_alone_on_stdout(open_shop, words):
    said = open_shop.csbsctl(*words, "--json", expect=1)
    conforms(said.json, "error")


def test_a_wrong_configuration_lists_every_problem(shop):
    shop.csbsctl.write("version: 1\npolices: {}\nbindings: []\n")
    said = shop.csbsctl("plan", "--json", expect=1)
    conforms(said.json, "error")
    assert said.json["error"]["where"]["line"] == 2
    assert len(said.json["error"]["diagnostics"]) >= 2


def test_a_failed_server_is_told_with_its_error(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("sim", "fail", "store", "--server", "web-01", "--error", "refused")
    said = csbsctl("backup", "create", "web-01", "web-02", "--json", expect=3)
    conforms(said.json, "backup-create")
    assert len(said.json["succeeded"]) == 1
    assert len(said.json["failed"]) + len(said.json["refused"]) == 1
    for line in open_shop.run("2026-11-20T02:10:00Z", expect=3):
        conforms(line, "run-event")
    conforms(open_shop.backups("--all"), "backup-list")
    conforms(csbsctl("job", "list", "--state", "failed", "--json").json, "job-list")


def test_every_other_command_prints_one_document_and_nothing_else(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("plan", "-o", "saved.plan")
    for words in (
        ("validate",),
        ("fmt", "--check"),
        ("schema",),
        ("show",),
        ("show", "policy.gold"),
        ("show", "saved.plan"),
        ("policy", "show", "gold"),
        ("graph",),
        ("export", "systemd"),
        ("sim", "server", "list"),
        ("sim", "steps"),
        ("sim", "disk", "sha256", "web-01:0"),
    ):
        said = csbsctl(*words, "--json", expect=None)
        assert said.code in (0, 1), words
        assert said.json is not None, words
        assert "error" not in said.json or words[0] == "fmt", said.out
