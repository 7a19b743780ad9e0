"""Listings that lag: some keys appear late, some that are gone still show. Reads are right at all times.

Random lives of a repository in virtual time, with writers that fall asleep in the middle of a disk and right before
they commit, while others collect; every disk that is stored must stay whole, and in the end nothing may be left that nobody needs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer, PlainSealer
from csbsctl.clock import VirtualClock
from csbsctl.errors import CsbsError
from csbsctl_local.repository import FileSource, Repository
from csbsctl_local.repository.marks import Marks

LAG = 60.0
CHUNK = 65536
SIZE = 6 * CHUNK


@dataclass
class Stored:
    data: bytes
    created: datetime
    deleted: datetime | None = None


class LaggingStore:
    """Keeps objects in memory; each listing decides for each young change anew whether it shows it."""

    remote = True

    def __init__(self, clock: VirtualClock, chance: random.Random, lag: float = LAG) -> None:
        self.lag = lag
        self.lied = 0
        self.hides: set[str] = set()
        """What is hidden for sure while it is young; then chance has no say."""
        self._clock, self._chance = clock, chance
        self._objects: dict[str, Stored] = {}
        self._lock = threading.RLock()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            found = self._objects.get(key)
            if found is None or found.deleted:
                raise BlobNotFound(key)
            return found.data[start:][:length]

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        with self._lock:
            if key in self._objects and not self._objects[key].deleted:
                raise BlobExists(key)
            self.put(key, data)

    def put(self, key: str, data: Buffer) -> None:
        with self._lock:
            self._objects[key] = Stored(bytes(data), self.now())

    def delete(self, key: str) -> None:
        with self._lock:
            found = self._objects.get(key)
            if found and not found.deleted:
                found.deleted = self.now()

    def delete_all(self, keys: Collection[str]) -> None:
        for key in keys:
            self.delete(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        with self._lock:
            young = self.now() - timedelta(seconds=LAG)
            shown = []
            for key, each in sorted(self._objects.items()):
                is_there = not each.deleted
                changed = each.deleted or each.created
                if changed > young and (key in self.hides if self.hides else self._chance.random() < 0.5):
                    is_there = not is_there
                    self.lied += 1
                if is_there and key.startswith(prefix) and key > after:
                    shown.append(Blob(key, len(each.data), each.created))
            return iter(shown)

    def now(self) -> datetime:
        return self._clock.now()


class Clock(VirtualClock):
    """Waiting takes no time, but counts."""

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=seconds))


class Life:
    """Draws what happens from a seed, and knows what every stored disk must hold."""

    def __init__(self, folder: Path, seed: int, lag: float = LAG) -> None:
        self.chance = random.Random(seed)
        self.clock = Clock(datetime(2026, 11, 1, tzinfo=UTC))
        self.store = LaggingStore(self.clock, self.chance, lag)
        self.folder = folder
        self.disk = folder / "disk"
        self.disk.write_bytes(bytes(SIZE))
        self.held: dict[str, bytes] = {}
        self.open_jobs: dict[str, datetime] = {}
        self.numbers = count(1)
        self.writers = [self.repository() for _ in range(2)]
        self.asleep = False

    def repository(self) -> Repository:
        return Repository(self.store, PlainSealer(), clock=self.clock)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.chance.choice((self.write, self.write, self.delete, self.collect, self.collect, self.wait))()

    def write(self) -> None:
        changed = [(self.chance.randrange(6) * CHUNK, CHUNK) for _ in range(2)]
        with self.disk.open("r+b") as file:
            for offset, length in changed:
                file.seek(offset)
                # few different contents, so that chunks are stored already, or were and are doomed
                file.write(bytes([self.chance.randrange(1, 9)]) * length)
        now = self.disk.read_bytes()
        name = f"m{next(self.numbers):04}"
        parent = self.chance.choice([None, *sorted(self.held)[-3:]])
        if parent is not None:
            old = self.held[parent]
            changed = [
                (at, CHUNK) for at in range(0, SIZE, CHUNK) if old[at : at + CHUNK] != now[at : at + CHUNK]
            ]
        self.open_jobs[name] = self.clock.now()
        source = FileSource(self.disk)
        try:
            self.chance.choice(self.writers).write(
                source,
                manifest=name,
                parent=parent,
                changed=changed if parent else None,
                job=name,
                check=self.fall_asleep,
                threads=1,
            )
            self.held[name] = now
        except CsbsError:
            pass  # declared dead, or its parent is gone: nothing was promised
        finally:
            source.close()
            del self.open_jobs[name]

    def fall_asleep(self) -> None:
        """Before the disk is read and before the commit, sometimes, let time pass and others work."""
        if self.asleep or self.chance.random() < 0.5:
            return
        self.asleep = True
        try:
            for _ in range(self.chance.randrange(4)):
                self.chance.choice((self.delete, self.collect, self.wait))()
        finally:
            self.asleep = False

    def delete(self) -> None:
        if len(self.held) > 2:
            name = self.chance.choice(sorted(self.held))
            del self.held[name]
            self.repository().delete(name)

    def collect(self) -> None:
        young = self.clock.now() - timedelta(seconds=LAG)  # who opened a job just now may not be known yet
        known = frozenset(j for j, at in self.open_jobs.items() if at <= young or self.chance.random() < 0.5)
        with suppress(CsbsError):  # it did not see all it needs, and did nothing
            self.repository().collect(job=f"c{next(self.numbers)}", open_jobs=known)
        self.hold()

    def wait(self) -> None:
        self.clock.advance(timedelta(seconds=self.chance.choice((1, 20, 61, 150))))

    def hold(self) -> None:
        for name, content in self.held.items():
            target = self.folder / "restored"
            with target.open("w+b") as file:
                self.repository().restore(name, file.fileno(), threads=1)
            assert target.read_bytes() == content, name

    def settle(self) -> None:
        for _ in range(12):
            self.clock.advance(timedelta(seconds=200))
            self.repository().collect(job=f"c{next(self.numbers)}", open_jobs=frozenset())
        self.clock.advance(timedelta(seconds=200))
        self.hold()
        repository = self.repository()
        assert repository.check(read_data=True) == []
        marks = Marks(repository._parts, avoid=set(), check=lambda: None)
        assert repository._parts.index.packs().keys() == marks.live.keys()
        left = [blob.key for blob in self.store.list("") if blob.key.startswith(("doom/", "collector/"))]
        assert left == []


@pytest.mark.parametrize("seed", range(8))
def test_nothing_needed_goes_while_listings_lag(tmp_path: Path, seed: int):
    life = Life(tmp_path, seed)
    life.live(40)
    assert life.store.lied > 50
    life.settle()


def test_what_was_needed_when_its_turn_came_is_not_deleted_while_its_verdict_is_lifted(tmp_path: Path):
    life = Life(tmp_path, seed=0)
    life.store.hides = {"manifests/m2"}
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * CHUNK)
    passed = iter([100, 200])  # before it reads the disk, and right before it commits

    def asleep() -> None:
        if next(passed) == 200:
            life.repository().delete("m1")
            life.repository().collect(job="c1", open_jobs=frozenset({"m2"}))  # condemns, and waits for m2
            life.clock.advance(timedelta(seconds=200))

    def write(name: str, check: Callable[[], None]) -> None:
        source = FileSource(disk)
        life.repository().write(source, manifest=name, job=name, check=check, threads=1)
        source.close()

    def collect(after: int) -> list[str]:
        life.clock.advance(timedelta(seconds=after))
        life.repository().collect(job=f"c{after}", open_jobs=frozenset())
        return [key for key, each in life.store._objects.items() if "packs/" in key and not each.deleted]

    write("m1", lambda: None)
    life.clock.advance(timedelta(seconds=200))
    write("m2", asleep)
    stored = collect(after=10)  # m2 is not listed yet: nothing seems to need them
    assert collect(after=61) == stored  # their turn, but now m2 is seen
    life.repository().delete("m2")
    assert collect(after=62) == stored
    assert [collect(after=200) for _ in range(4)][-1] == []
