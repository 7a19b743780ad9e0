"""Changed-block tracking: for every granule of a volume, the era of its last write.

A snapshot closes an era. What changed since a snapshot is what carries a later era; that may include writes made
after the snapshot one compares with, so the answer is a superset of the truth, never less. It stays right when a
backup in between failed, was deleted or never took place, because nothing is ever reset.

The table is mapped, so a killed process loses nothing of it; a machine that stopped may have (see ``tracking``).
"""

from __future__ import annotations

import struct
from pathlib import Path

from csbsctl_local.cloud.layout import GRANULE, granules
from csbsctl_local.cloud.mapped import MappedFile
from csbsctl_local.cloud.sparse import Extent, data_extents

_ENTRY = struct.Struct("=I")


class Eras:
    """The table of one volume."""

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._file = MappedFile(path, granules(size) * _ENTRY.size)

    def mark(self, first: int, last: int, era: int) -> None:
        """Note a write to granules first to last (included), before it happens; the volume's lock must be held."""
        if first == last:
            _ENTRY.pack_into(self._file.bytes, first * _ENTRY.size, era)
            return
        start, end = first * _ENTRY.size, (last + 1) * _ENTRY.size
        self._file.bytes[start:end] = _ENTRY.pack(era) * (last + 1 - first)

    def since(self, era: int) -> list[Extent]:
        """Return the byte ranges written in a later era than the given one."""
        ranges: list[Extent] = []
        start = end = -1
        for granule in self._later(era):
            if granule != end:
                if end > start:
                    ranges.append(self._range(start, end))
                start = granule
            end = granule + 1
        if end > start:
            ranges.append(self._range(start, end))
        return ranges

    def close(self) -> None:
        """Unmap the table."""
        self._file.close()

    def _later(self, era: int) -> list[int]:
        later: list[int] = []
        for offset, length in data_extents(self._file.fd, self._file.size):  # a hole was never written
            first = offset // _ENTRY.size
            written = _ENTRY.iter_unpack(
                self._file.bytes[offset : offset + length // _ENTRY.size * _ENTRY.size]
            )
            later.extend(first + at for at, (entry,) in enumerate(written) if entry > era)
        return later

    def _range(self, start: int, end: int) -> Extent:
        return start * GRANULE, min(end * GRANULE, self._size) - start * GRANULE
