"""How often a repository asks its store: every request is a round trip where the store is a bucket far away."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import Damaged
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import Repository
from csbsctl_local.repository.layout import LEAF

CHUNK = 65536
LEAVES = 24


class FarStore(DirectoryStore):
    """A folder that says it is far away, and counts what it is asked."""

    remote = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()

    def _note(self, verb: str, key: str) -> None:
        with self._lock:
            self.asked[f"{verb} {key.partition('/')[0]}"] += 1

    def get(self, key, start=0, length=None):
        self._note("get", key)
        return super().get(key, start, length)

    def create(self, key, data, *, authenticated=False):
        self._note("create", key)
        return super().create(key, data, authenticated=authenticated)

    def delete(self, key):
        self._note("delete", key)
        return super().delete(key)

    def list(self, prefix, after=""):
        self._note("list", prefix)
        return super().list(prefix, after)


@pytest.fixture
def far(plain_place):
    """A store with one disk of many leaves in it, stored as ``m``; ``open`` is another process with the same cache."""
    store = FarStore(plain_place.folder / "store")
    disk = plain_place.disk(LEAVES * LEAF)
    for number in range(LEAVES):
        disk.put(number * LEAF, f"leaf {number}".encode() * 9000)

    def open_again():
        store.asked.clear()
        cache = plain_place.folder / "cache"
        return Repository(store, plain_place.sealer, clock=SystemClock(), cache=cache)

    open_again().write(disk, manifest="m", job="j")
    disk.changed.clear()
    return plain_place, store, disk, open_again


def test_the_leaves_of_a_parent_are_read_in_one_go(far):
    _place, store, disk, open_again = far
    for number in range(LEAVES):
        disk.put(number * LEAF + 9 * CHUNK, b"changed")
    written = open_again().write(disk, manifest="n", parent="m", changed=disk.changed, job="j")
    assert written.read == LEAVES * CHUNK
    assert store.asked["get packs"] == 1
    assert store.asked["get index"] == 0  # what this machine stored last time is in its cache


def test_a_restore_and_a_verification_read_leaves_in_one_go(far):
    place, store, disk, open_again = far
    with (place.folder / "restored").open("w+b") as file:
        open_again().restore("m", file.fileno(), threads=2)
    assert (place.folder / "restored").read_bytes() == disk.content()
    assert store.asked["get packs"] == LEAVES + 1
    repository = open_again()
    assert repository.verify("m") == []
    assert store.asked["get packs"] == len(place.keys("packs/")) + 1


def test_a_write_that_finds_nothing_new_asks_ten_times(far):
    _place, store, disk, open_again = far
    assert open_again().write(disk, manifest="n", job="j").new == 0
    assert store.asked.total() == 10


def test_collecting_reads_the_leaves_of_many_disks_in_one_go(far):
    place, store, disk, open_again = far
    for number in range(3):
        disk.put(number, b"other")
        open_again().write(disk, manifest=f"n{number}", job="j")
    open_again().collect(job="c", open_jobs=frozenset())
    assert store.asked["get packs"] <= len(place.keys("packs/"))
    assert place.restored("n2") == disk.content()


def test_a_leaf_that_is_damaged_among_its_neighbours_is_named(far):
    place, _store, disk, open_again = far
    leaf_pack = next(key for key in place.keys("packs/") if place.path(key).stat().st_size < LEAVES * 600)
    place.flip(leaf_pack, 40)
    flaws = open_again().verify("m")
    assert any("leaf" in flaw.message for flaw in flaws)
    assert sum(length for flaw in flaws for _, length in flaw.ranges) < disk.size
    with (place.folder / "restored").open("w+b") as file, pytest.raises(Damaged, match="lost"):
        open_again().restore("m", file.fileno())
