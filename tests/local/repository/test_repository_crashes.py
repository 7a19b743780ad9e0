"""Kills a real process at every step boundary of a write, a collection and a repair, and lets the next one finish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CHUNK = 65536
NOBODY: frozenset[str] = frozenset()

SCRIPT = """
import sys
from pathlib import Path
from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import FileSource, Repository

folder, action = Path(sys.argv[1]), sys.argv[2]
repository = Repository(DirectoryStore(folder / "store"), PlainSealer(), clock=SystemClock())
if action == "write":
    with FileSource(folder / "disk") as source:
        repository.write(source, manifest="new", parent="old", changed=[(0, 9 * 65536)], job="w")
elif action == "collect":
    repository.collect(job="c", open_jobs=frozenset({"c"}))
else:
    repository.check(repair=True, read_data=True)
"""


def run(place, action, fault=None):
    """Run an action in a process of its own; say whether it was killed."""
    environ = {**os.environ, "CSBSCTL_FAULT": f"kill:{fault}"} if fault else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(place.folder), action],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def settled(place):
    """Return whether nothing but what is needed is left after enough collections."""
    place.collected(4)
    return not any(place.keys(prefix) for prefix in ("doom/", "collector/", "lost/"))


WRITE_STEPS = ["session.stored", "pack.stored", "pack.stored:2", "index.stored", "manifest.stored"]


@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_killed_write_leaves_garbage_at_most_and_the_next_call_finishes(plain_place, step):
    place = plain_place
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    old = disk.content()
    disk.put(0, os.urandom(9 * CHUNK))
    assert run(place, "write", f"repository.{step}")
    assert place.restored("old") == old
    assert not run(place, "write")
    assert place.restored("new") == disk.content()
    stored = place.open().describe("new")
    assert stored.new <= (0 if step in ("index.stored", "pack.stored:2") else 9 * CHUNK)
    assert settled(place)
    place.open().delete("old")
    assert settled(place)
    assert place.open().check(read_data=True) == []
    assert place.restored("new") == disk.content()


@pytest.mark.parametrize("step", WRITE_STEPS[:-1])
def test_what_a_killed_write_left_is_collected_when_nobody_comes_back(plain_place, step):
    place = plain_place
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    clean = set(place.keys("packs/"))
    disk.put(0, os.urandom(9 * CHUNK))
    assert run(place, "write", f"repository.{step}")
    assert settled(place)
    assert set(place.keys("packs/")) == clean
    assert place.open().verify("old") == []


@pytest.mark.parametrize(
    "step",
    ["collect.copied", "collect.doomed", "collect.unindexed", "collect.deleted", "repository.index.stored"],
)
def test_a_killed_collection_is_finished_by_the_next(plain_place, step):
    place = plain_place
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="a", job="j")
    disk.put(0, os.urandom(15 * CHUNK))  # mostly dead packs, so that there is something to compact
    place.open().write(disk, manifest="b", job="j")
    place.open().delete("a")
    killed = False
    for _ in range(4):
        killed = run(place, "collect", step) or killed
        assert place.open().verify("b") == []
    assert killed
    assert settled(place)
    assert place.restored("b") == disk.content()
    assert sum(blob.size for blob in place.store.list("packs/")) < 21 * CHUNK
    place.open().delete("b")
    assert settled(place)
    assert place.keys("packs/") + place.keys("index/") == []


@pytest.mark.parametrize(
    "step", ["repository.repair.indexed", "repository.repair.salvaged", "repository.pack.stored"]
)
def test_a_killed_repair_is_finished_by_the_next(plain_place, step):
    place = plain_place
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="m", job="j")
    largest = max(place.store.list("packs/"), key=lambda blob: blob.size)
    place.flip(largest.key, -20)
    assert run(place, "check", step)
    assert not run(place, "check")
    assert place.open().check(read_data=True) == []
    assert settled(place)
    assert place.restored("m") == disk.content()


@pytest.mark.slow
def test_writers_and_collectors_in_several_processes_do_not_harm_each_other(plain_place):
    place = plain_place
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    script = SCRIPT.replace('manifest="new"', "manifest=sys.argv[3]").replace('job="w"', "job=sys.argv[3]")
    script = script.replace('frozenset({"c"})', 'frozenset({"c", *(f"w{i}" for i in range(9))})')
    words = [("write", f"w{number}") for number in range(6)] + [("collect", "c")] * 2
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(place.folder), *word], stderr=subprocess.PIPE)
        for word in words
    ]
    for process in running:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error.decode()
    assert settled(place)
    for number in range(6):
        assert place.open().verify(f"w{number}") == []
        assert place.restored(f"w{number}") == disk.content()
