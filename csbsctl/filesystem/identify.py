"""What lies where on a disk: every partition (or the whole disk) with the file system in it, by its signature."""

from __future__ import annotations

from dataclasses import dataclass

from csbsctl.errors import Damaged, Unsupported
from csbsctl.filesystem.blocks import BlockSource, Cached, Window
from csbsctl.filesystem.partitions import read_partitions
from csbsctl.filesystem.tree import FileSystem

EXT = "ext2, ext3 or ext4"
_HEAD = 4096 + 1024
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (1024 + 56, b"\x53\xef", EXT),
    (0, b"XFSB", "XFS"),
    (0, b"LUKS\xba\xbe", "LUKS (encrypted)"),
    (512 + 24, b"LVM2 001", "LVM"),
    (24, b"LVM2 001", "LVM"),
    (4086, b"SWAPSPACE2", "swap"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker (encrypted)"),
    (82, b"FAT32   ", "FAT"),
    (54, b"FAT", "FAT"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (0, b"hsqs", "squashfs"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
)
"""Offset, bytes, and what they mean; asked in this order."""
_BTRFS = (0x10040, b"_BHRfS_M")


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a disk that may hold files: the whole disk (``partition`` None) or a partition, and what is in it.

    ``kind`` names what the signature says, None where nothing is known.
    """

    partition: int | None
    start: int
    size: int
    kind: str | None
    source: BlockSource

    @property
    def readable(self) -> bool:
        """Whether there is a reader for it."""
        return self.kind == EXT

    def open(self) -> FileSystem:
        """Open the file system.

        Raises:
            Unsupported: there is no reader for it, or for a feature it uses.
            Damaged: its description makes no sense.
        """
        if not self.readable:
            held = (
                f"{self.kind} cannot be read" if self.kind else "no file system or partition is known there"
            )
            raise Unsupported(held, code="filesystem.unsupported")
        from csbsctl.filesystem.ext.reader import ExtFileSystem  # noqa: PLC0415 - only where files are wanted

        return ExtFileSystem(Window(self.source, self.start, self.size))


def find_places(disk: BlockSource) -> list[Place]:
    """Return where a disk may hold files: itself where a file system begins with its first byte, else its partitions."""
    cached = Cached(disk)
    whole = _place(cached, None, 0, disk.size)
    if whole.kind is not None:
        return [whole]
    parts = [_place(cached, each.number, each.start, each.size) for each in read_partitions(cached)]
    return parts or [whole]


def _place(disk: BlockSource, partition: int | None, start: int, size: int) -> Place:
    return Place(partition, start, size, _kind(Window(disk, start, size)), disk)


def _kind(window: Window) -> str | None:
    try:
        head = window.read(0, min(_HEAD, window.size))
        offset, mark = _BTRFS
        if window.size > offset + len(mark) and window.read(offset, len(mark)) == mark:
            return "btrfs"
    except Damaged:
        return None
    for offset, mark, kind in _SIGNATURES:
        if head[offset : offset + len(mark)] == mark:
            return kind
    return None
