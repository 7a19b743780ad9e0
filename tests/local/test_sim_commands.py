"""The sim commands, through the real command line."""

from __future__ import annotations

import hashlib
import json
import time

import pytest


@pytest.fixture
def sim(csbsctl):
    """Return csbsctl sim in a folder with one server, web-01, of two disks."""

    def run(*words, **options):
        return csbsctl("sim", *words, **options)

    run(
        "server",
        "create",
        "web-01",
        "--disk",
        "2M",
        "--disk",
        "1M",
        "--az",
        "az1",
        "--metadata",
        "tier=web",
        "--tag",
        "prod",
    )
    return run


def test_a_server_is_created_listed_stopped_started_and_deleted(sim):
    (server,) = sim("server", "list", "--json").json

    assert (server["name"], server["state"], server["availability_zone"]) == ("web-01", "active", "az1")
    assert (server["metadata"], server["tags"]) == ({"tier": "web"}, ["prod"])
    assert [volume["size"] for volume in server["volumes"]] == [2 << 20, 1 << 20]
    assert [volume["bootable"] for volume in server["volumes"]] == [True, False]
    assert sim("server", "stop", "web-01", "--json").json["state"] == "stopped"
    assert sim("server", "start", server["id"], "--json").json["state"] == "active"
    assert "web-01" in sim("server", "list").out
    sim("server", "delete", "web-01")
    assert sim("server", "list", "--json").json == []
    assert "no servers" in sim("server", "list").out


def test_listing_a_cloud_that_does_not_exist_does_not_make_it(csbsctl):
    assert csbsctl("sim", "server", "list", "--json").json == []

    assert not (csbsctl.folder / "cloud").exists()


def test_writing_changes_the_digest_and_the_same_seed_gives_the_same(sim, csbsctl):
    empty = sim("disk", "sha256", "web-01:0", "--json").json["sha256"]
    assert empty == hashlib.sha256(bytes(2 << 20)).hexdigest()

    sim("write", "web-01:0", "--offset", "64K", "--random", "100K", "--seed", "7")
    first = sim("disk", "sha256", "web-01:0").out.strip()
    sim("write", "web-01:0", "--offset", "65536", "--random", "100K", "--seed", "8")
    sim("write", "web-01:0", "--offset", "65536", "--random", "100K", "--seed", "7")

    assert sim("disk", "sha256", "web-01:0").out.strip() == first != empty


def test_an_image_goes_in_and_out(sim, csbsctl):
    raw = csbsctl.folder / "in.raw"
    raw.write_bytes(b"file system" * 1000)

    sim("disk", "import", "web-01:1", str(raw))
    sim("disk", "export", "web-01:1", str(csbsctl.folder / "out.raw"))

    out = (csbsctl.folder / "out.raw").read_bytes()
    assert out == raw.read_bytes().ljust(1 << 20, b"\0")
    assert sim("disk", "sha256", "web-01:1").out.strip() == hashlib.sha256(out).hexdigest()


def test_disks_are_attached_resized_shared_and_detached(sim):
    sim("server", "create", "web-02", "--disk", "1M")
    assert len(sim("disk", "attach", "web-01", "3M", "--json").json["volumes"]) == 3
    assert sim("disk", "resize", "web-01:1", "2M", "--json").json["volumes"][1]["size"] == 2 << 20
    assert sim("disk", "share", "web-01:2", "web-02", "--json").json["volumes"][1]["shared"] is True
    detached = sim("disk", "detach", "web-01:1", "--json").json
    assert len(detached["volumes"]) == 2
    assert (
        len(sim("disk", "attach", "web-01", "--volume", detached["detached"], "--json").json["volumes"]) == 3
    )


def test_a_workload_is_checked_and_an_attack_is_found_out(sim):
    assert sim("check", "web-01").out == "prefix 1..0\n"
    assert sim("workload", "web-01", "--records", "50", "--json").json["last"] == 50
    assert sim("workload", "web-01", "--records", "25", "--json").json["last"] == 75
    assert sim("check", "web-01").out == "prefix 1..75\n"
    assert sim("check", "web-01", "--json").json["last"] == 75

    assert sim("attack", "web-01", "--seed", "1", "--json").json["overwritten"] > 0

    assert "record 1 is missing" in sim("check", "web-01", expect=1).out
    assert sim("check", "web-01", "--json", expect=1).json["hole"] == 1


def test_a_workload_in_another_process_goes_on_beside_other_commands(sim, csbsctl):
    running = csbsctl.spawn("sim", "workload", "web-01", "--seconds", "60")
    try:
        deadline = time.monotonic() + 30
        while sim("check", "web-01", "--json").json["last"] < 50:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sim("server", "stop", "web-01")
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()

    assert running.returncode == 0, err
    assert "Wrote" in out
    assert sim("check", "web-01").out.startswith("prefix 1..")


def test_many_servers_are_loaded_from_json_lines(sim, csbsctl):
    lines = [
        {"name": f"db-{n}", "disks": ["1G", 1 << 20], "metadata": {"n": n}, "tags": ["x"]} for n in range(300)
    ]
    lines[7]["availability_zone"] = "az9"
    csbsctl.write("\n".join(json.dumps(line) for line in lines), "servers.jsonl")

    assert sim("server", "load", str(csbsctl.folder / "servers.jsonl"), "--json").json == {"created": 300}

    listed = sim("server", "list", "--json").json
    assert len(listed) == 301
    assert (listed[8]["name"], listed[8]["availability_zone"]) == ("db-7", "az9")
    assert [volume["size"] for volume in listed[8]["volumes"]] == [1 << 30, 1 << 20]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "not JSON"),
        ('{"disks": ["1G"]}', "needs a name"),
        ('{"name": "a", "disk": ["1G"]}', "'disk'"),
        ('{"name": "a", "disks": ["big"]}', "not a size"),
        ('{"name": "a", "disks": [0]}', "cannot be made"),
        ('{"name": "a", "metadata": []}', "not a server"),
        ("[]", "not a server"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_loaded(sim, csbsctl, line, says):
    csbsctl.write(f'{{"name": "good"}}\n{line}\n', "bad.jsonl")

    assert says in sim("server", "load", str(csbsctl.folder / "bad.jsonl"), expect=1).err
    assert len(sim("server", "list", "--json").json) == 1


def test_faults_and_delays_are_ordered_listed_and_cleared(sim):
    sim("fail", "store", "--server", "web-01", "--times", "2", "--error", "unavailable")
    sim("fail", "snapshot", "--error", "quota")
    sim("latency", "stop", "0.25")

    listed = sim("fail", "list", "--json").json
    assert [(fault["step"], fault["error"], fault["remaining"]) for fault in listed["faults"]] == [
        ("store", "unavailable", 2),
        ("snapshot", "quota", None),
    ]
    assert listed["latencies"] == {"stop": 0.25}
    assert "2 times more" in sim("fail", "list").out
    assert sim("fail", "clear", "--json").json == {"faults": [], "latencies": {}}


def test_the_boundaries_at_which_a_process_can_be_killed_are_listed(sim):
    names = [each["name"] for each in sim("steps", "--json").json]

    assert {"cloud.snapshot.taken", "cloud.restore.written", "cloud.swap.done"} <= set(names)
    assert "cloud.swap.done" in sim("steps").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["server", "create", "new"], "needs a disk"),
        (["server", "create", "new", "--disk", "10Q"], "not a size"),
        (["server", "create", "new", "--disk", "0"], "cannot be made"),
        (["server", "create", "new", "--disk", "1M", "--metadata", "x"], "KEY=VALUE"),
        (["server", "create", "new", "--image", "none"], "no image 'none'"),
        (["server", "delete", "web-02"], "did you mean 'web-01'"),
        (["disk", "sha256", "web-01"], "names no disk"),
        (["disk", "sha256", "web-01:7"], "no number 7"),
        (["disk", "resize", "web-01:0", "1M"], "cannot shrink"),
        (["disk", "detach", "web-01:0"], "system disk"),
        (["disk", "attach", "web-01"], "either"),
        (["disk", "import", "web-01:0", "/nowhere"], "not a file"),
        (["disk", "export", "web-01:0", "/nowhere/x"], "No such file"),
        (["write", "web-01:0"], "either"),
        (["write", "web-01:0", "--file", "/nowhere"], "does not exist"),
        (["write", "web-01:0", "--offset", "2M", "--random", "1"], "do not fit"),
        (["workload", "web-01", "--seconds", "1", "--records", "1"], "not both"),
        (["server", "load", "/nowhere"], "does not exist"),
        (["fail", "nonsense", "--error", "quota"], "no step"),
        (["fail", "store"], "--error"),
        (["latency", "nonsense", "1"], "no step"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason_and_exit_code_1(sim, words, says):
    said = sim(*words, expect=1)

    assert says in said.err
    assert json.loads(sim(*words, "--json", expect=1).out)["error"]["message"]


def test_one_of_several_clouds_is_named(csbsctl):
    csbsctl.write(
        "version: 1\nvault: ./vault\nproviders:\n  one: {type: local, path: ./one}\n  two: {type: local, path: ./two}\n"
    )
    csbsctl("sim", "server", "create", "web-01", "--disk", "1M", "--provider", "two")

    assert len(csbsctl("sim", "server", "list", "--provider", "two", "--json").json) == 1
    assert csbsctl("sim", "server", "list", "--provider", "one", "--json").json == []
    assert "--provider" in csbsctl("sim", "server", "list", expect=1).err
    assert "nowhere" in csbsctl("sim", "server", "list", "--provider", "nowhere", expect=1).err


def test_a_stopped_server_says_so_when_it_is_written_to(sim):
    sim("server", "stop", "web-01")

    assert "stopped" in sim("write", "web-01:0", "--random", "1K", expect=1).err


def test_every_command_teaches_by_its_help(csbsctl):
    for words in (
        ["server"],
        ["disk"],
        ["server", "create"],
        ["workload"],
        ["attack"],
        ["fail"],
        ["latency"],
        ["steps"],
    ):
        assert "Usage" in csbsctl("sim", *words, "--help").out
    assert "Example" in csbsctl("sim", "server", "create", "--help").out
