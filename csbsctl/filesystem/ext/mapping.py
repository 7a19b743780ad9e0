"""Which blocks of the disk a file's blocks are: extent trees (ext4) and block maps (ext2, ext3).

Runs come out ascending and never overlap, and no block of a tree is read twice: whatever the bytes say, the work is
bounded by the file system's size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from csbsctl.errors import Damaged
from csbsctl.filesystem.ext.inode import Inode
from csbsctl.filesystem.ext.volume import Volume

_MAGIC = 0xF30A
_UNWRITTEN = 32768
_DEEPEST = 5
_DIRECT = 12


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` blocks of a file from ``first`` on, which are those of the disk from ``place`` on."""

    first: int
    place: int
    count: int


@dataclass(slots=True)
class _Walk:
    """What was seen on the way: bounds that hold whatever the bytes say."""

    volume: Volume
    number: int
    seen: set[int] = field(default_factory=set)
    next: int = 0
    total: int = 0

    def read(self, block: int) -> bytes:
        """Return a block of the tree, the first time."""
        if block in self.seen:
            raise Damaged(f"inode {self.number}: block {block} is twice in its map")
        self.seen.add(block)
        return self.volume.block(block)

    def run(self, first: int, place: int, count: int) -> Run:
        """Return a run that comes after all before it and, with them, is not more than the file system."""
        self.total += count
        if first < self.next or self.total > self.volume.superblock.blocks:
            raise Damaged(f"inode {self.number}: its map overlaps itself at block {first}")
        self.next = first + count
        return Run(first, place, count)


def runs(volume: Volume, inode: Inode) -> Iterator[Run]:
    """Yield where a file's blocks are, ascending; holes and unwritten blocks are left out. Raises Damaged."""
    walk = _Walk(volume, inode.node.number)
    if inode.extents:
        yield from _extents(walk, inode.map, _DEEPEST + 1)
    else:
        yield from _joined(walk, _blocks(walk, inode.map))


def _extents(walk: _Walk, data: bytes, above: int) -> Iterator[Run]:
    magic, entries, _, depth = struct.unpack_from("<HHHH", data)
    if magic != _MAGIC or depth >= above or 12 + entries * 12 > len(data):
        raise Damaged(f"inode {walk.number}: its extent tree makes no sense")
    for at in range(12, 12 + entries * 12, 12):
        if depth:
            _, low, high = struct.unpack_from("<IIH", data, at)
            yield from _extents(walk, walk.read(low | high << 32), depth)
            continue
        first, count, high, low = struct.unpack_from("<IHHI", data, at)
        if count <= _UNWRITTEN:
            yield walk.run(first, low | high << 32, count)
        else:
            walk.run(first, 0, count - _UNWRITTEN)


def _blocks(walk: _Walk, block_map: bytes) -> Iterator[tuple[int, int]]:
    """Yield (block of the file, block of the disk) of a classic map: twelve direct ones, then trees of 1 to 3 levels."""
    pointers = struct.unpack("<15I", block_map)
    yield from ((number, place) for number, place in enumerate(pointers[:_DIRECT]) if place)
    per_block = walk.volume.superblock.block_size // 4
    first = _DIRECT
    for level, place in enumerate(pointers[_DIRECT:], 1):
        if place:
            yield from _tree(walk, place, level, first)
        first += per_block**level


def _tree(walk: _Walk, block: int, level: int, first: int) -> Iterator[tuple[int, int]]:
    per_block = walk.volume.superblock.block_size // 4
    below = per_block ** (level - 1)
    for index, place in enumerate(struct.unpack(f"<{per_block}I", walk.read(block))):
        if not place:
            continue
        if level == 1:
            yield first + index, place
        else:
            yield from _tree(walk, place, level - 1, first + index * below)


def _joined(walk: _Walk, blocks: Iterator[tuple[int, int]]) -> Iterator[Run]:
    first = place = count = 0
    for number, block in blocks:
        if count and number == first + count and block == place + count:
            count += 1
            continue
        if count:
            yield walk.run(first, place, count)
        first, place, count = number, block, 1
    if count:
        yield walk.run(first, place, count)
