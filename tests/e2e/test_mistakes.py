"""What a stranger gets wrong, or finds broken: each answered with what, where and how to mend it; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import EXECUTABLE

HEAD = "version: 1\nstack: shop\nvault: ./vault\nproviders:\n  default: {type: local, path: ./cloud}\n"
POLICY = 'policies:\n  gold: {schedule: {at: ["02:00"]}, retention: {count: 3}}\n'
MISTAKES = {
    "not YAML": ("policies: [1, 2\n", "csbs.yaml:7:", "not valid YAML"),
    "unquoted time": (
        "policies:\n  gold: {schedule: {at: [02:00]}, retention: {count: 3}}\n",
        "csbs.yaml:7:26",
        'write "02:00"',
    ),
    "wrong type": (POLICY.replace("3", "many"), "csbs.yaml:7:56", "expected a whole number, got 'many'"),
    "unknown key": (POLICY.replace("schedule", "scedule"), "csbs.yaml:7:10", "did you mean 'schedule'?"),
    "unknown zone": (
        POLICY.replace('"]}', '"], timezone: Asia/Shanghay}'),
        "csbs.yaml:7:46",
        "did you mean 'Asia/Shanghai'?",
    ),
    "unknown policy": (
        POLICY + "bindings:\n  a: {policy: golf, servers: [web-01]}\n",
        "csbs.yaml:9:15",
        "did you mean 'gold'?",
    ),
    "missing server": (
        POLICY + "bindings:\n  a: {policy: gold, servers: [web-09]}\n",
        "csbs.yaml:9:31",
        "did you mean 'web-0",
    ),
    "ambiguous name": (
        POLICY + "bindings:\n  a: {policy: gold, servers: [twin]}\n",
        "csbs.yaml:9:31",
        "fits 2 servers",
    ),
    "empty match": (
        POLICY + "bindings:\n  a: {policy: gold, match: {}}\n",
        "csbs.yaml:9:21",
        "empty `match`",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_file_is_shown_where_it_stands(shop, case):
    text, place, words = MISTAKES[case]
    shop.csbsctl("sim", "server", "create", "twin", "--disk", "1M")
    shop.csbsctl("sim", "server", "create", "twin", "--disk", "1M")
    shop.declare(HEAD + text)
    for command in (("plan",), ("apply", "--yes")):
        said = shop.csbsctl(*command, expect=1)
        assert place in said.err
        assert words in said.err
        assert said.out == ""
    assert not (shop.folder / "vault").exists()


def test_bindings_that_reach_one_server_are_both_shown(shop):
    silver = '  silver: {schedule: {at: ["03:00"]}, retention: {count: 3}}\n'
    bindings = (
        'bindings:\n  a: {policy: gold, servers: [web-01]}\n  b: {policy: silver, match: {name: "web-*"}}\n'
    )
    shop.declare(HEAD + POLICY + silver + bindings)
    said = shop.csbsctl("plan", expect=1).err
    assert "csbs.yaml:11:" in said
    assert "csbs.yaml:10:" in said
    assert "web-01" in said


def test_a_provider_nobody_knows_and_a_setting_nobody_knows(shop):
    shop.declare(HEAD.replace("type: local", "type: locall") + POLICY)
    assert "did you mean 'local'?" in shop.csbsctl("plan", expect=1).err
    shop.declare(HEAD.replace("path:", "pat:") + POLICY)
    said = shop.csbsctl("plan", expect=1).err
    assert "csbs.yaml:5:" in said
    assert "unknown key 'pat' in providers.default" in said
    assert "did you mean 'path'?" in said
    shop.declare(HEAD.replace("type: local", "type: aws") + POLICY)
    for words in (("plan",), ("validate",)):
        error = shop.csbsctl(*words, "--json", expect=1).json["error"]
        assert error["message"] == "no provider of type 'aws' is installed"
        assert (error["where"]["line"], error["where"]["column"]) == (5, 19)


def test_a_server_with_a_shared_disk_is_named_and_fails_its_slot(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("sim", "disk", "share", "web-01:1", "db-01")
    assert "web-01-disk-1" in csbsctl("plan").out
    listed = {s["name"]: s for s in csbsctl("server", "list", "--json").json}
    assert not listed["web-01"]["protectable"]
    assert "CSBS.6010" in listed["web-01"]["reason"]
    said = csbsctl("backup", "create", "web-01", "web-02", expect=3)
    assert "shared" in said.out + said.err
    events = open_shop.run("2026-11-20T02:10:00Z", expect=3)
    assert events[-1]["failed"] >= 1
    assert events[-1]["succeeded"] == 1


NAMES = (
    (("backup", "show", "befor"), "did you mean 'before'?"),
    (("restore", "befor", "--in-place"), "did you mean 'before'?"),
    (("backup", "create", "web-1"), "did you mean 'web-0"),
    (("server", "show", "web-1"), "did you mean 'web-0"),
    (("restore", "--server", "web-1", "--in-place"), "did you mean 'web-0"),
    (("policy", "disable", "golf"), "did you mean 'gold'?"),
    (("run", "--policy", "golf"), "did you mean 'gold'?"),
    (("schedule", "golf"), "did you mean 'gold'?"),
    (("show", "policy.golf"), "did you mean 'policy.gold'?"),
    (("job", "show", "nosuch"), "csbsctl job list"),
    (("job", "list", "--state", "bogus"), "running, succeeded, failed"),
    (("plan", "--target", "policy.golf"), "did you mean 'policy.gold'?"),
    (("plan", "--target", "guardrails"), "csbsctl show"),
    (("plan", "--format", "pdf"), "formats are text"),
    (("plan", "--fail-on", "bogus"), "destroys-data"),
    (("drift", "--only", "bogus"), "unprotected"),
    (("--at", "tomorrow", "plan"), "2026-11-22T18:00:00Z"),
    (("--at", "2026-13-40", "plan"), "2026-11-22T18:00:00Z"),
    (("backup", "delete"), "--server"),
    (("backup", "verify"), "--all"),
    (("restore", "before"), "--in-place, --as NAME, --no-server"),
    (("restore", "before", "--in-place", "--map", "x"), "DISK=DISK"),
    (("run", "--watch", "--every", "soon"), "30m"),
    (("apply", "nosuch.plan"), "nosuch.plan"),
    (("rollback", "99"), "99"),
)


@pytest.fixture
def named_shop(open_shop):
    """Return a shop with a backup called ``before``."""
    open_shop.csbsctl("backup", "create", "web-01", "--name", "before")
    return open_shop


def test_a_wrong_name_gets_a_hint_at_the_right_one(named_shop):
    for words, hint in NAMES:
        said = named_shop.csbsctl(*words, expect=1)
        assert hint in said.err, f"{words}: {said.err}"
        assert said.err.startswith("Error: ")
    assert named_shop.names() == ["before"]


def test_without_a_terminal_nothing_is_destroyed_unless_told(named_shop):
    csbsctl = named_shop.csbsctl
    before = named_shop.disks("web-01")
    for words in (
        ("destroy",),
        ("backup", "delete", "before"),
        ("restore", "before", "--in-place"),
        ("image", "delete", "nosuch"),
    ):
        said = csbsctl.apart(*words, expect=1)
        assert "add --yes" in said.err or "nosuch" in said.err
    assert named_shop.names() == ["before"]
    assert named_shop.disks("web-01") == before
    assert "No changes." in csbsctl("plan").out


def test_a_plan_file_that_is_broken_or_overtaken_is_refused(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl.write("hello", "broken.plan")
    assert "not a whole plan file" in csbsctl("apply", "broken.plan", "--yes", expect=1).err
    csbsctl.write((open_shop.folder / "csbs.yaml").read_text().replace("count: 3", "count: 4"))
    csbsctl("plan", "-o", "good.plan")
    whole = (open_shop.folder / "good.plan").read_bytes()
    (open_shop.folder / "cut.plan").write_bytes(whole[: len(whole) // 2])
    assert "not a whole plan file" in csbsctl("apply", "cut.plan", "--yes", expect=1).err
    csbsctl("policy", "disable", "gold")
    said = csbsctl("apply", "good.plan", "--yes", "--json", expect=1)
    assert said.json["error"]["code"] == "plan.stale"


def test_a_vault_of_a_newer_version_is_left_alone(open_shop):
    path = open_shop.folder / "vault" / "vault.json"
    text = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps({**text, "format": 99}))
    for words in (("plan",), ("run",), ("apply", "--yes"), ("backup", "list")):
        said = open_shop.csbsctl(*words, expect=1)
        assert "format 99" in said.err
        assert "newer csbsctl" in said.err


def test_a_file_in_place_of_a_folder_is_told(shop):
    (shop.folder / "vault").write_text("hello")
    for words in (("plan",), ("apply", "--yes"), ("vault", "init")):
        said = shop.csbsctl(*words, expect=1)
        assert f"{shop.folder}/vault" in said.err
        assert "move the file away" in said.err
    assert (shop.folder / "vault").read_text() == "hello"
    (shop.folder / "vault").unlink()
    (shop.folder / "cloud").rename(shop.folder / "elsewhere")
    (shop.folder / "cloud").write_text("hello")
    said = shop.csbsctl("sim", "server", "list", expect=1)
    assert f"{shop.folder}/cloud" in said.err
    assert (shop.folder / "cloud").read_text() == "hello"


@pytest.mark.parametrize(("folder", "code"), [("control", 1), ("catalogue", 3)])
def test_a_damaged_document_is_named_with_the_way_on(named_shop, folder, code):
    document = max((named_shop.folder / "vault" / folder).rglob("*.json"))
    document.chmod(0o644)
    document.write_text("garbage")
    said = named_shop.csbsctl("run", expect=code)
    assert document.name in said.out + said.err
    assert "csbsctl vault check" in said.out + said.err
    assert document.name in named_shop.csbsctl("vault", "check", expect=1).out


def test_output_that_nobody_reads_is_no_error(named_shop, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # so that the end writes what is left
    shared = ["-C", str(named_shop.folder)]
    shell = " ".join([sys.executable, "-c", f'"{EXECUTABLE[2]}"', *shared])
    lines = ("backup list | head -1", "backup list | true", "run | true", "backup list >&-", "run >&- 2>&-")
    for line in (f"{shell} {line}" for line in lines):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    full = subprocess.run(
        ["bash", "-c", f"{shell} backup list > /dev/full"], capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    assert full.stderr == "Error: cannot write the output: No space left on device\n"


def test_a_reader_that_leaves_does_not_stop_a_backup(named_shop):
    named_shop.fill("web-01:0", seed=50)
    command = " ".join(
        [
            sys.executable,
            "-c",
            f'"{EXECUTABLE[2]}"',
            "-C",
            str(named_shop.folder),
            "backup create web-01 --name deaf",
        ]
    )
    subprocess.run(["bash", "-c", f"{command} | true"], capture_output=True, check=False)
    named_shop.at("2026-11-24T00:00:00Z")
    assert named_shop.csbsctl("backup", "show", "deaf", "--json").json["state"] == "available"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_leaves_nothing_half_done(open_shop, number, code):
    csbsctl = open_shop.csbsctl
    csbsctl("sim", "latency", "store", "3")
    open_shop.at("2026-11-20T02:10:00Z")
    running = csbsctl.spawn("run")
    for line in running.stdout:
        if "backing up" in line:
            break
    time.sleep(0.2)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert "Traceback" not in err
    csbsctl("sim", "fail", "clear")
    assert all(b["state"] in ("available", "error") for b in open_shop.backups("--all"))
    csbsctl("run")
    assert csbsctl("job", "list", "--state", "running", "--json").json == []
    good = [b["server"]["name"] for b in open_shop.backups() if b["state"] == "available"]
    assert sorted(good) == ["web-01", "web-02"]
    assert csbsctl("backup", "verify", "--all").code == 0


@pytest.fixture
def tmpfs(tmp_path):
    """Return a function that mounts a memory file system of some size; unmounted at the end."""
    mounted = []

    def mount(where, size, *options):
        where.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(where)]
        if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("needs root and mount(8)")
        mounted.append(where)

    yield mount
    for where in mounted:
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_fails_one_backup_and_loses_none(shop, tmpfs):
    csbsctl = shop.csbsctl
    tmpfs(shop.folder / "vault", "3m")
    csbsctl("vault", "init")
    csbsctl("backup", "create", "web-01", "--name", "good")
    before = shop.disks("web-01")
    shop.fill("web-01:0", seed=70, size="3M", offset="512K")
    said = csbsctl("backup", "create", "web-01", "--name", "large", expect=3)
    assert "disk full" in said.out + said.err
    shop.at("2026-11-20T01:00:00Z")
    states = {b["name"]: b["state"] for b in shop.backups()}
    assert states.get("large", "error") == "error"
    csbsctl("restore", "good", "--in-place", "--yes", "--no-safety-backup")
    assert shop.disks("web-01") == before
    subprocess.run(["mount", "-o", "remount,size=30m", str(shop.folder / "vault")], check=True)
    csbsctl("run")
    csbsctl("backup", "create", "web-01", "--name", "after")
    assert csbsctl("backup", "verify", "--all").code == 0
    assert csbsctl("vault", "check").code == 0


def test_a_vault_that_cannot_be_written_can_be_looked_at(named_shop, tmpfs):
    vault, away = named_shop.folder / "vault", named_shop.folder / "away"
    vault.rename(away)
    tmpfs(vault, "8m")
    subprocess.run(["cp", "-a", f"{away}/.", str(vault)], check=True)
    subprocess.run(["mount", "-o", "remount,ro", str(vault)], check=True)
    csbsctl = named_shop.csbsctl
    for words in (
        ("plan",),
        ("status",),
        ("backup", "list"),
        ("history",),
        ("restore", "before", "--in-place", "--dry-run"),
    ):
        csbsctl(*words)
    for words, code in ((("backup", "create", "web-01"), 3), (("policy", "disable", "gold"), 1)):
        said = csbsctl(*words, expect=None)
        assert said.code in (1, code)
        assert "read-only" in (said.out + said.err).lower()
