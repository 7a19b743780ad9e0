"""The journal (jbd2): blocks that were committed to it and have not reached their places yet.

A disk that was frozen under a running server has one that was not replayed. Nothing is replayed here either: the
blocks of committed transactions are laid over the disk, in memory, as places in the journal. What was not committed
when the disk was frozen never happened. Checksums are not checked: a commit block is written after what it commits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from csbsctl.errors import Damaged, Unsupported

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _SUPER_1, _SUPER_2, _REVOKE = 1, 2, 3, 4, 5
_64BIT, _ASYNC_COMMIT, _CSUM_2, _CSUM_3, _FAST_COMMIT = 0x2, 0x4, 0x8, 0x10, 0x20
_KNOWN = 0x1 | _64BIT | _CSUM_2 | _CSUM_3 | _FAST_COMMIT
_ESCAPED, _SAME_UUID, _LAST = 0x1, 0x2, 0x8
_WRAP = 1 << 32

ReadBlock = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Overlay:
    """Blocks that are newer in the journal: where in it each is, and those whose first bytes must be put back."""

    blocks: dict[int, int]
    escaped: frozenset[int]
    """Places in the journal, of blocks that happened to begin with the journal's own signature."""
    fast_commits: bool = False
    """Whether there may be newer changes in a form that is not read here."""

    def unescaped(self, place: int, data: bytes) -> bytes:
        """Return a block read at a place of the journal as it belongs on the disk."""
        return struct.pack(">I", _MAGIC) + data[4:] if place in self.escaped else data


EMPTY = Overlay({}, frozenset())


@dataclass(frozen=True, slots=True)
class _Log:
    """The journal's own superblock: the ring of blocks from ``first`` up to ``end``, and where it begins to count."""

    block_size: int
    first: int
    end: int
    start: int
    sequence: int
    features: int

    def after(self, place: int, count: int = 1) -> int:
        place += count
        return place if place < self.end else self.first + (place - self.end) % (self.end - self.first)


def read_journal(read: ReadBlock, blocks: int, block_size: int) -> Overlay:
    """Return what a journal has over its disk. ``read`` returns a block of the journal by its place, of ``blocks``.

    Raises:
        Damaged: it is no journal.
        Unsupported: it is written in a way that is not known here.
    """
    log = _read_log(read(0), blocks, block_size)
    if not log.start:
        return EMPTY
    transactions = list(_transactions(read, log))
    revoked: dict[int, int] = {}
    for sequence, _, revokes in transactions:
        for block in revokes:
            revoked[block] = sequence
    found: dict[int, int] = {}
    escaped: set[int] = set()
    for sequence, tags, _ in transactions:
        for block, place, is_escaped in tags:
            if sequence > revoked.get(block, -1):
                found[block] = place
                if is_escaped:
                    escaped.add(place)
    return Overlay(found, frozenset(escaped), bool(log.features & _FAST_COMMIT))


def _read_log(data: bytes, blocks: int, block_size: int) -> _Log:
    magic, kind = struct.unpack_from(">II", data)
    size, length, first, sequence, start = struct.unpack_from(">IIIII", data, 12)
    if magic != _MAGIC or kind not in (_SUPER_1, _SUPER_2):
        raise Damaged("the journal has no superblock")
    features = struct.unpack_from(">I", data, 40)[0] if kind == _SUPER_2 else 0
    if features & ~_KNOWN:
        raise Unsupported(
            f"the journal uses features that cannot be read: {features & ~_KNOWN:#x}",
            code="filesystem.unsupported",
        )
    end = length - (struct.unpack_from(">I", data, 84)[0] or 256 if features & _FAST_COMMIT else 0)
    sound = size == block_size and 0 < first < end <= blocks and (not start or first <= start < end)
    if not sound:
        raise Damaged("the journal's superblock makes no sense")
    return _Log(size, first, end, start, sequence, features)


_Transaction = tuple[int, list[tuple[int, int, bool]], list[int]]


def _transactions(read: ReadBlock, log: _Log) -> Iterator[_Transaction]:
    """Yield number, (block, place, escaped) and revoked blocks of every committed transaction, oldest first."""
    place, expected, number = log.start, log.sequence, 0
    tags: list[tuple[int, int, bool]] = []
    revokes: list[int] = []
    seen = 0
    while seen < log.end - log.first:  # once round the ring, not twice
        data = read(place)
        magic, kind, sequence = struct.unpack_from(">III", data)
        if magic != _MAGIC or sequence != expected:
            return
        used = 1
        if kind == _DESCRIPTOR:
            for block, escaped in _tags(data, log):
                tags.append((block, log.after(place, used), escaped))
                used += 1
        elif kind == _REVOKE:
            revokes += _revokes(data, log)
        elif kind == _COMMIT:
            yield number, tags, revokes
            number, expected, tags, revokes = number + 1, (expected + 1) % _WRAP, [], []
        else:
            return
        place, seen = log.after(place, used), seen + used


def _tags(data: bytes, log: _Log) -> Iterator[tuple[int, bool]]:
    """Yield (block, escaped) of a descriptor block: the blocks that follow it belong there."""
    wide, third = bool(log.features & _64BIT), bool(log.features & _CSUM_3)
    size = 16 if third else (12 if wide else 8) + (2 if log.features & _CSUM_2 else 0)
    end = log.block_size - (4 if log.features & (_CSUM_2 | _CSUM_3) else 0)
    at = 12
    while at + size <= end:
        if third:
            low, flags, high = struct.unpack_from(">III", data, at)
        else:
            low, flags = struct.unpack_from(">IxxH", data, at)
            high = struct.unpack_from(">I", data, at + 8)[0] if wide else 0
        yield low | (high << 32 if wide else 0), bool(flags & _ESCAPED)
        if flags & _LAST:
            return
        at += size + (0 if flags & _SAME_UUID else 16)


def _revokes(data: bytes, log: _Log) -> list[int]:
    size = 8 if log.features & _64BIT else 4
    used = min(struct.unpack_from(">I", data, 12)[0], log.block_size)
    count = max(0, used - 16) // size
    return list(struct.unpack_from(f">{count}{'Q' if size == 8 else 'I'}", data, 16))  # noqa: PLR2004
