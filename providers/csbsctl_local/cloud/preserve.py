"""Copy-before-write: the old granules of a disk that a snapshot still needs.

The writer copies a granule's old bytes, sets its byte in the map, then overwrites the disk. A reader reads the disk
first and the map afterwards: a granule that is not set then was not overwritten before, whatever happened meanwhile.
"""

from __future__ import annotations

import os

from csbsctl_local.cloud.layout import GRANULE, Layout, granules
from csbsctl_local.cloud.mapped import GranuleMap
from csbsctl_local.cloud.sparse import all_zero, read_at, write_at


class OldGranules:
    """One disk of one copy-before-write snapshot."""

    def __init__(self, layout: Layout, snapshot_id: str, position: int, size: int) -> None:
        self._size = size
        self._fd = os.open(layout.frozen(snapshot_id, position, "old"), os.O_RDWR | os.O_CLOEXEC)
        try:
            self._copied = GranuleMap(
                layout.frozen(snapshot_id, position, "map"), granules(size), create=False
            )
        except BaseException:
            os.close(self._fd)
            raise

    @staticmethod
    def create(layout: Layout, snapshot_id: str, position: int, size: int) -> None:
        """Make the files, with nothing copied."""
        old = os.open(
            layout.frozen(snapshot_id, position, "old"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        os.ftruncate(old, size)
        os.close(old)
        GranuleMap(layout.frozen(snapshot_id, position, "map"), granules(size)).close()

    def preserve(self, disk: int, first: int, last: int) -> None:
        """Save granules about to be overwritten; the volume's lock must be held."""
        last = min(last, self._copied.size - 1)  # the disk may have grown since
        if first > last or (first == last and self._copied.bytes[first]) or self._copied.all_set(first, last):
            return
        for granule in self._copied.unset(first, last):
            offset = granule * GRANULE
            old = read_at(disk, offset, min(GRANULE, self._size - offset))
            if not all_zero(old):  # zeros need no copy: the file is a hole there
                write_at(self._fd, offset, old)
            self._copied.set(granule)

    def apply(self, offset: int, data: memoryview) -> None:
        """Put overwritten granules back as they were into what was read from the disk."""
        first, last = offset // GRANULE, (offset + len(data) - 1) // GRANULE
        if not data or not self._copied.any_set(first, last):
            return
        for granule in range(first, last + 1):
            if self._copied.bytes[granule]:
                low, high = max(granule * GRANULE, offset), min((granule + 1) * GRANULE, offset + len(data))
                data[low - offset : high - offset] = read_at(self._fd, low, high - low)

    def close(self) -> None:
        """Let go of the files."""
        self._copied.close()
        os.close(self._fd)
