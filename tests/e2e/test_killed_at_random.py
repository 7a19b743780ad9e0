"""SIGKILL at random moments: nothing half done is ever seen, and the very next command works."""

from __future__ import annotations

import random
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandLine
    from tests.e2e.conftest import Shop

SEED = 20261123


class Killer:
    """Starts commands and kills them at a random moment of what they take undisturbed."""

    def __init__(self, csbsctl: CommandLine, seed: int = SEED) -> None:
        self._csbsctl = csbsctl
        self._random = random.Random(seed)
        self._takes = 0.0

    def measure(self, *words: str) -> None:
        """Let a command end, and remember how long it took."""
        begun = time.monotonic()
        self._csbsctl.apart(*words)
        self._takes = time.monotonic() - begun

    def strike(self, *words: str) -> bool:
        """Kill a command at a random moment; return whether it was still running."""
        running = self._csbsctl.spawn(*words)
        try:
            running.wait(self._random.uniform(0.4, 1.05) * self._takes)
        except subprocess.TimeoutExpired:
            running.kill()
        running.communicate()
        return running.returncode != 0


def many(bindings: int, count: int, csbsctl: CommandLine) -> None:
    """Write a configuration with so many bindings of servers that exist, each policy keeping ``count``."""
    extra = ", exclude: [none]" if count % 2 else ""
    policies = [f'  p{n}: {{schedule: {{at: ["02:00"]}}, retention: {{count: {count}}}}}' for n in range(10)]
    bound = [f"  b{n}: {{policy: p{n % 10}, servers: [s{n}]{extra}}}" for n in range(bindings)]
    head = ["version: 1", "stack: shop", "providers:", "  default: {type: local, path: ./cloud}"]
    csbsctl.write("\n".join([*head, "policies:", *policies, "bindings:", *bound, ""]))


def kill_applies(csbsctl: CommandLine, *, bindings: int, kills: int) -> int:
    """Kill applies that change everything, and check that each left all of the old or all of the new."""
    csbsctl.at = "2026-11-20T00:00:00Z"
    servers = csbsctl.folder / "servers.jsonl"
    servers.write_text(
        "".join(f'{{"name": "s{n}", "disks": ["1M"]}}\n' for n in range(bindings)), encoding="utf-8"
    )
    csbsctl("sim", "server", "load", str(servers))
    whole: dict[int, Any] = {}
    for count in (2, 3):
        many(bindings, count, csbsctl)
        csbsctl("apply", "--yes")
        whole[count] = csbsctl("show", "--json").json
    killer = Killer(csbsctl)
    many(bindings, 2, csbsctl)
    killer.measure("apply", "--yes")
    struck, live = 0, 2
    for _ in range(kills):
        wanted = 5 - live
        many(bindings, wanted, csbsctl)
        struck += killer.strike("apply", "--yes")
        shown = csbsctl("show", "--json").json
        assert shown in (whole[live], whole[wanted])
        live = live if shown == whole[live] else wanted
        expected = 0 if live == wanted else 2
        assert csbsctl("plan", "--detailed-exitcode", expect=expected).code == expected
        generations = [entry["generation"] for entry in csbsctl("history", "--json").json]
        assert generations == sorted(set(generations), reverse=True)
    many(bindings, 5 - live, csbsctl)
    csbsctl("apply", "--yes")
    assert csbsctl("audit", "verify").code == 0
    return struck


@pytest.mark.slow
def test_an_apply_that_is_killed_lands_whole_or_not_at_all(csbsctl):
    assert kill_applies(csbsctl, bindings=30, kills=8)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_killed_applies_of_a_thousand_bindings(csbsctl):
    assert kill_applies(csbsctl, bindings=1000, kills=200) > 50


def all_good(shop: Shop) -> None:
    """Check that every backup that is offered can be read back whole, and that none of a slot is there twice."""
    listed = shop.backups("--all")
    assert {b["state"] for b in listed} <= {"available", "error"}
    good = [b for b in listed if b["state"] == "available"]
    slots = [
        (b["server"]["id"], shop.csbsctl("backup", "show", b["id"], "--json").json["slot"])
        for b in good
        if b["trigger"] == "auto"
    ]
    assert len(slots) == len(set(slots))
    assert shop.csbsctl("backup", "verify", "--all").code == 0


def kill_runs(shop: Shop, *, kills: int) -> int:
    """Kill a run in each of so many slots; the next one at once finishes what it began."""
    killer = Killer(shop.csbsctl)
    shop.at("2026-11-20T02:10:00Z")
    killer.measure("run")
    struck = 0
    for number in range(kills):
        shop.fill("web-01:0", seed=100 + number)
        day, time_ = 20 + (number + 1) // 2, ("02:10", "14:10")[(number + 1) % 2]
        shop.at(f"2026-11-{day}T{time_}:00Z")
        struck += killer.strike("run")
        shop.csbsctl("run")
        assert shop.csbsctl("job", "list", "--state", "running", "--json").json == []
        newest = {b["server"]["name"]: b for b in shop.backups("--policy", "gold")}
        assert all(b["started_at"][:13] == f"2026-11-{day}T{time_[:2]}" for b in newest.values())
        all_good(shop)
    return struck


@pytest.mark.slow
def test_a_run_that_is_killed_is_finished_by_the_next(open_shop):
    assert kill_runs(open_shop, kills=4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_killed_runs(open_shop):
    assert kill_runs(open_shop, kills=18) > 5


def kill_restores(shop: Shop, *, kills: int) -> int:
    """Kill restores in place; the same command brings every byte back each time."""
    shop.csbsctl("backup", "create", "db-01", "--name", "good")
    before = shop.disks("db-01")
    killer = Killer(shop.csbsctl)
    shop.at("2026-11-20T01:00:00Z")
    killer.measure("restore", "good", "--in-place", "--yes", "--no-safety-backup")
    struck = 0
    for number in range(kills):
        shop.csbsctl("sim", "attack", "db-01", "--seed", str(number))
        safety = () if number % 2 else ("--no-safety-backup",)
        struck += killer.strike("restore", "good", "--in-place", "--yes", *safety)
        shop.csbsctl("restore", "good", "--in-place", "--yes", *safety)
        assert shop.disks("db-01") == before
        assert shop.state("db-01") == "active"
        assert shop.csbsctl("job", "list", "--state", "running", "--json").json == []
        shop.fill("db-01:1", seed=200 + number)
        shop.csbsctl("restore", "good", "--in-place", "--yes", "--no-safety-backup")
        assert shop.disks("db-01") == before
    all_good(shop)
    return struck


@pytest.mark.slow
def test_a_restore_that_is_killed_is_continued_by_the_same_command(open_shop):
    assert kill_restores(open_shop, kills=4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_killed_restores(open_shop):
    assert kill_restores(open_shop, kills=40) > 10


def test_an_instant_restore_survives_the_death_of_what_fills_it(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("backup", "create", "db-01", "--name", "good")
    before = open_shop.disks("db-01")
    open_shop.at("2026-11-20T01:00:00Z")
    fault = {"CSBSCTL_FAULT": "kill:cloud.fill.arrived"}
    csbsctl.apart("restore", "good", "--as", "db-02", "--instant", expect=-9, env=fault)
    csbsctl("run")
    if "db-02" not in csbsctl("sim", "server", "list").out:
        csbsctl("restore", "good", "--as", "db-02", "--instant")
    assert open_shop.disks("db-02") == before
    csbsctl("sim", "fill")
    assert open_shop.disks("db-02") == before
    assert [s["name"] for s in csbsctl("server", "list", "--json").json].count("db-02") == 1
    csbsctl("backup", "create", "db-02", "--name", "after")
    csbsctl("backup", "verify", "after")
