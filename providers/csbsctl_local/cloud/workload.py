"""A database in miniature: numbered records over all disks of a server, each written only when the last one is done.

A crash-consistent copy of the disks therefore holds a prefix: every record up to some number and none after it. If a
snapshot of one disk is but a moment older than that of another, a record is missing in the middle.

Record n goes to disk (n - 1) mod D, into slot ((n - 1) div D) mod S: a ring, so that a workload can run for ever. A
record is one page that carries n, D and S; where the newest is M, every place must hold the largest n <= M that
belongs there, which leaves a torn copy nowhere to hide, however often the ring went round.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from csbsctl.errors import CloudRefused, ResourceConflict
from csbsctl_local.cloud.disk import Disk

BASE = 64 * 1024
"""Where the ring begins on each disk; below it the disk is left alone."""
PAGE = 4096
SLOTS = 2048
_HEAD = struct.Struct("<8sQIII")
_MAGIC = b"csbs rec"
_ZEROS = bytes(PAGE)


class Readable(Protocol):
    """A disk, living or frozen."""

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk."""
        ...


class Writable(Readable, Protocol):
    """A disk that can be written to."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes to the disk."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: records 1 to ``last`` (those the ring still holds), or the first that is missing."""

    last: int
    hole: int | None = None
    reason: str = ""
    slots: int = 0

    @property
    def consistent(self) -> bool:
        """Say whether the records are a prefix."""
        return self.hole is None

    def __str__(self) -> str:
        if self.consistent:
            return f"prefix 1..{self.last}"
        if not self.last:
            return f"record 1 is missing: {self.reason}"
        return f"record {self.hole} of {self.last} is missing: {self.reason}"


@dataclass(frozen=True, slots=True)
class _Place:
    """What stands in one slot: a record's number with its ring's shape, 0 for nothing, -1 for something else."""

    number: int
    disks: int = 0
    slots: int = 0


def check(disks: Sequence[Readable]) -> Verdict:
    """Read the records back and judge them."""
    rings = [list(_places(disk)) for disk in disks]
    found = [place for ring in rings for place in ring if place.number > 0]
    if not found:
        return _nothing(rings)
    newest = max(found, key=lambda place: place.number)
    last, slots = newest.number, newest.slots
    if newest.disks != len(disks):
        return Verdict(
            last, 1, f"it was written when the server had {newest.disks} disks, now it has {len(disks)}"
        )
    for number in range(max(1, last - len(disks) * slots + 1), last + 1):
        disk, slot = _where(number, len(disks), slots)
        there = rings[disk][slot].number if slot < len(rings[disk]) else 0
        if there != number:
            what = {0: "nothing", -1: "something else"}.get(there, f"record {there}")
            return Verdict(last, number, f"disk {disk} has {what} at offset {BASE + slot * PAGE}", slots)
    return Verdict(last, slots=slots)


def check_at_rest(disks: Sequence[Disk]) -> Verdict:
    """Judge living disks at one instant: nobody writes to any of them meanwhile."""
    with ExitStack() as held:
        still = {
            disk.volume_id: held.enter_context(disk.still())
            for disk in sorted(disks, key=lambda disk: disk.volume_id)
        }
        return check([still[disk.volume_id] for disk in disks])


def run(disks: Sequence[Writable], *, more: Callable[[int], bool], fresh: bool = False) -> tuple[int, int]:
    """Write records after those that are there while ``more(records written)``; return (written, last number).

    Ends early, without error, when the server is stopped.

    Raises:
        CloudRefused: a disk is too small, or what is there is no prefix (``fresh`` starts over).
    """
    slots = min(SLOTS, *((disk.size - BASE) // PAGE for disk in disks))
    if slots < 1:
        raise CloudRefused(f"a workload needs disks of at least {BASE + PAGE} bytes")
    before = check(disks)
    if fresh:
        before = _wipe(disks, slots)
    elif before.last and not before.consistent:  # what is no record at all is simply overwritten
        raise CloudRefused(
            f"the records on the disks are no prefix: {before}", hint="start over with --fresh"
        )
    slots = before.slots or slots
    written, number = 0, before.last
    while more(written):
        disk, slot = _where(number + 1, len(disks), slots)
        try:
            disks[disk].write(BASE + slot * PAGE, record(number + 1, len(disks), slots))
        except ResourceConflict:
            break
        written, number = written + 1, number + 1
    return written, number


def record(number: int, disks: int, slots: int) -> bytes:
    """Return the page of one record: head, a filling that depends on the number, and a checksum in the head."""
    filling = number.to_bytes(8, "little") * ((PAGE - _HEAD.size) // 8)
    body = filling + bytes(PAGE - _HEAD.size - len(filling))
    return _HEAD.pack(_MAGIC, number, disks, slots, _sum(number, disks, slots, body)) + body


def _wipe(disks: Sequence[Writable], slots: int) -> Verdict:
    for disk in disks:
        disk.write(BASE, bytes(min(SLOTS, (disk.size - BASE) // PAGE) * PAGE))
    return Verdict(0, slots=slots)


def _where(number: int, disks: int, slots: int) -> tuple[int, int]:
    return (number - 1) % disks, (number - 1) // disks % slots


def _places(disk: Readable) -> Iterator[_Place]:
    area = disk.read(BASE, min(SLOTS, max(disk.size - BASE, 0) // PAGE) * PAGE)
    for start in range(0, len(area), PAGE):
        yield _read(area[start : start + PAGE])


def _read(page: bytes) -> _Place:
    if page == _ZEROS:
        return _Place(0)
    magic, number, disks, slots, checksum = _HEAD.unpack_from(page)
    if magic != _MAGIC or checksum != _sum(number, disks, slots, page[_HEAD.size :]):
        return _Place(-1)
    return _Place(number, disks, slots)


def _nothing(rings: Sequence[Sequence[_Place]]) -> Verdict:
    if any(place.number < 0 for ring in rings for place in ring):
        return Verdict(0, 1, "the disks hold something, but no record")
    return Verdict(0)


def _sum(number: int, disks: int, slots: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<QII", number, disks, slots)))
