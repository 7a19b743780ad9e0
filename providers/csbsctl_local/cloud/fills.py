"""Disks that are readable and writable before their bytes have arrived.

A lazy disk has a source and a map of granules. A granule that is missing is fetched when somebody reads it or writes
a part of it, and in the background. The map lives in a file beside the disk, so that any process can go on after
the one that began was killed. What a source is, only the cloud's owner knows: here it is a description to resolve.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from csbsctl.errors import CloudUnavailable
from csbsctl_local.cloud.layout import GRANULE, granules
from csbsctl_local.cloud.mapped import GranuleMap
from csbsctl_local.cloud.sparse import Extent, write_at


class Source(Protocol):
    """Where the bytes of a lazy disk come from; never changes while a disk needs it."""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes; zeros past the end."""
        ...

    def extents(self) -> Iterable[Extent]:
        """Yield where there may be anything but zeros."""
        ...


Sources = Callable[[dict[str, Any]], Source]
"""Turns the description of a source into the source. Raises CloudUnavailable."""


def no_sources(description: dict[str, Any]) -> Source:
    """Stand in where nothing can be fetched from."""
    raise CloudUnavailable(
        f"the disk is still being filled from {description}, which cannot be reached",
        hint="configure the vault that holds the backup it is restored from",
    )


class Fill:
    """The fetching side of one lazy disk."""

    def __init__(self, path: Path, size: int, description: str, sources: Sources) -> None:
        self.size = size
        self.present = GranuleMap(
            path, granules(size), create=False
        )  # an empty map would mean: all is missing
        self._description: dict[str, Any] = json.loads(description)
        self._sources = sources
        self._source: Source | None = None

    def fetch(self, offset: int, length: int) -> bytes:
        """Return bytes of the source, cut or padded to the disk."""
        if self._source is None:
            self._source = self._sources(self._description)
        data = bytes(self._source.read(offset, length))
        return data if len(data) == length else data + bytes(length - len(data))

    def ensure(self, fd: int, first: int, last: int) -> None:
        """Bring missing granules into the disk; the volume's lock must be held."""
        if self.present.all_set(first, last):
            return
        for granule in self.present.unset(first, last):
            offset = granule * GRANULE
            write_at(fd, offset, self.fetch(offset, min(GRANULE, self.size - offset)))
            self.present.set(granule)

    def close(self) -> None:
        """Let go of the map."""
        self.present.close()


def write_fill_map(path: Path, size: int, extents: Iterable[Extent]) -> None:
    """Create the map of a lazy disk: missing is what the source has data for, the rest is zeros and there already."""
    count = granules(size)
    there = bytearray(b"\1" * count)
    for offset, length in extents:
        first, last = offset // GRANULE, min((offset + length - 1) // GRANULE, count - 1)
        there[first : last + 1] = bytes(max(last + 1 - first, 0))
    path.write_bytes(there)


class Overlay:
    """A disk's fill map as it was at a snapshot: what was missing then is read from the source for ever."""

    def __init__(self, path: Path, size: int, description: str, sources: Sources) -> None:
        self._fill = Fill(path, size, description, sources)

    def apply(self, offset: int, data: memoryview) -> None:
        """Put the granules that were missing in from the source."""
        first, last = offset // GRANULE, (offset + len(data) - 1) // GRANULE
        if not data or self._fill.present.all_set(first, last):
            return
        for granule in self._fill.present.unset(first, last):
            low = max(granule * GRANULE, offset)
            high = min((granule + 1) * GRANULE, offset + len(data))
            data[low - offset : high - offset] = self._fill.fetch(low, high - low)

    def extents(self) -> Iterable[Extent]:
        """Yield the granules that come from the source."""
        for granule in self._fill.present.unset(0, granules(self._fill.size) - 1):
            yield granule * GRANULE, min(GRANULE, self._fill.size - granule * GRANULE)

    def close(self) -> None:
        """Let go of the map."""
        self._fill.close()


def fetch_run(fill: Fill, fd: int, start: int, count: int, lock: Any) -> None:
    """Fetch up to ``count`` granules from ``start`` outside the lock, then put in those still missing under it."""
    offset = start * GRANULE
    data = memoryview(fill.fetch(offset, min(count * GRANULE, fill.size - offset)))
    with lock:
        for at in range(count):
            piece = data[at * GRANULE : (at + 1) * GRANULE]
            if piece and not fill.present.bytes[start + at]:
                write_at(fd, offset + at * GRANULE, piece)
                fill.present.set(start + at)
