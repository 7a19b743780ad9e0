"""Disks that remember what was changed, and repositories on a folder, plain and encrypted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csbsctl.blobs import PlainSealer, Sealer
from csbsctl.clock import SystemClock
from csbsctl.vault.sealing import DataKeys, SealedSealer
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import FileSource, Repository

CHUNK = 65536
NOBODY: frozenset[str] = frozenset()


class Disk(FileSource):
    """A sparse file that notes which ranges were written; ``on_read`` is called before each read."""

    def __init__(self, path: Path, size: int) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.truncate(size)
        super().__init__(path)
        self.path = path
        self.changed: list[tuple[int, int]] = []
        self.reads = 0
        self.on_read: Callable[[int], None] = lambda _count: None

    def put(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data[: max(0, self.size - offset)])
        self.changed.append((offset, len(data)))

    def resize(self, size: int) -> None:
        with self.path.open("r+b") as file:
            file.truncate(size)
        self._size = size

    def content(self) -> bytes:
        return self.path.read_bytes()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.reads += 1
        self.on_read(self.reads)
        super().read_into(offset, buffer)


class Place:
    """A store in a folder, and repositories on it; every call of ``open`` is like another process."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self.folder = folder
        self.sealer = sealer
        self.store = DirectoryStore(folder / "store")
        self._disks: list[Disk] = []

    def open(self, cache: Path | None = None) -> Repository:
        return Repository(self.store, self.sealer, clock=SystemClock(), cache=cache)

    def disk(self, size: int, name: str = "disk") -> Disk:
        self._disks.append(Disk(self.folder / name, size))
        return self._disks[-1]

    def filled(self, size: int, seed: int = 1, name: str = "disk") -> Disk:
        """Return a disk full of noise."""
        disk = self.disk(size, name)
        disk.put(0, random.Random(seed).randbytes(size))
        return disk

    def dotted(self, size: int, seed: int = 1, name: str = "disk") -> Disk:
        """Return a disk with five chunks of noise in each 4 MiB: large to look at, quick to store."""
        disk, rng = self.disk(size, name), random.Random(seed)
        for start in range(0, size, 64 * CHUNK):
            disk.put(start, rng.randbytes(min(5 * CHUNK, size - start)))
        return disk

    def restored(self, manifest: str, *, threads: int = 2) -> bytes:
        path = self.folder / "restored"
        with path.open("w+b") as file:
            self.open().restore(manifest, file.fileno(), threads=threads)
        return path.read_bytes()

    def keys(self, prefix: str = "") -> list[str]:
        return [blob.key for blob in self.store.list(prefix)]

    def path(self, key: str) -> Path:
        return self.folder / "store" / key

    def flip(self, key: str, at: int) -> None:
        """Flip one bit of a stored object."""
        path = self.path(key)
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[at] ^= 4
        path.write_bytes(data)

    def collected(self, times: int = 3) -> None:
        """Collect until nothing is left to wait for."""
        for _ in range(times):
            self.open().collect(job="collect", open_jobs=NOBODY)

    def close(self) -> None:
        for disk in self._disks:
            disk.close()


def real_sealer() -> Sealer:
    return SealedSealer(lambda: DataKeys({1: b"k" * 32}, b"n" * 32))


@pytest.fixture(params=["plain", "sealed"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, PlainSealer() if request.param == "plain" else real_sealer())
    yield made
    made.close()


@pytest.fixture
def plain_place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, PlainSealer())
    yield made
    made.close()
