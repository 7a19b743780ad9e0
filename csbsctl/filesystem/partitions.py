"""Partition tables: GPT, and MBR with its logical partitions. Where each one lies, and nothing of what is in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from csbsctl.filesystem.blocks import BlockSource

_SECTOR = 512
_SIGNATURE = b"\x55\xaa"
_ENTRY = struct.Struct("<B3xB3xII")
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_MOST = 128
_FIRST_LOGICAL = 5


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: its number as Linux counts, and its bytes on the disk."""

    number: int
    start: int
    size: int


def read_partitions(disk: BlockSource) -> list[Partition]:
    """Return the partitions of a disk in order; none where it has no table. What lies outside the disk is left out."""
    first = disk.read(0, _SECTOR)
    if len(first) < _SECTOR or first[510:] != _SIGNATURE:
        return []
    found = list(_gpt(disk)) if any(kind == _PROTECTIVE for kind, _, _ in _entries(first)) else []
    found = found or list(_mbr(disk, first))
    return [p for p in found if p.size > 0 and p.start > 0 and p.start + p.size <= disk.size]


def _gpt(disk: BlockSource) -> Iterator[Partition]:
    for sector in (512, 4096):
        header = disk.read(sector, 92)
        if header[:8] != b"EFI PART" or len(header) < 92:  # noqa: PLR2004 - the header's own length
            continue
        table, count, size = struct.unpack_from("<QII", header, 72)
        if not 128 <= size <= 4096:  # noqa: PLR2004
            continue
        rows = disk.read(table * sector, min(count, _MOST) * size) if table * sector < disk.size else b""
        for number in range(len(rows) // size):
            kind = rows[number * size : number * size + 16]
            start, last = struct.unpack_from("<QQ", rows, number * size + 32)
            if any(kind):
                yield Partition(number + 1, start * sector, (last + 1 - start) * sector)
        return


def _mbr(disk: BlockSource, first: bytes) -> Iterator[Partition]:
    for number, (kind, start, count) in enumerate(_entries(first), 1):
        if kind in _EXTENDED:
            yield from _logical(disk, start)
        elif kind:
            yield Partition(number, start * _SECTOR, count * _SECTOR)


def _logical(disk: BlockSource, extended: int) -> Iterator[Partition]:
    """Yield the chain of logical partitions: each table names one, and where the next table is."""
    at = extended
    for number in range(_FIRST_LOGICAL, _FIRST_LOGICAL + _MOST):  # a chain may be bent into a ring
        if at * _SECTOR >= disk.size:
            return
        table = disk.read(at * _SECTOR, _SECTOR)
        if len(table) < _SECTOR or table[510:] != _SIGNATURE:
            return
        (kind, start, count), (following, step, _), *_ = _entries(table)
        if kind:
            yield Partition(number, (at + start) * _SECTOR, count * _SECTOR)
        if following not in _EXTENDED or not step:
            return
        at = extended + step


def _entries(sector: bytes) -> list[tuple[int, int, int]]:
    """Return (type, first sector, sectors) of the four entries of a table."""
    rows = (_ENTRY.unpack_from(sector, 446 + 16 * number) for number in range(4))
    return [(kind, start, count) for _, kind, start, count in rows]
