"""Blocks of an ext file system by number, those of the journal laid over them, and where each inode lies."""

from __future__ import annotations

import struct

from csbsctl.errors import Damaged
from csbsctl.filesystem.blocks import BlockSource
from csbsctl.filesystem.ext.journal import EMPTY, Overlay
from csbsctl.filesystem.ext.superblock import LENGTH, OFFSET, Superblock, read_superblock

_MOST_GROUPS_KEPT = 4096


class Volume:
    """The blocks of one file system. ``overlay`` is set once its journal was read."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self.superblock: Superblock = read_superblock(source.read(OFFSET, LENGTH), source.size)
        self.overlay: Overlay = EMPTY
        self.journal: tuple[int, ...] = ()
        """The blocks of the journal, by their places in it."""
        self._tables: dict[int, int] = {}

    def block(self, number: int) -> bytes:
        """Return one block, as it is once the journal is replayed. Raises Damaged when it is not on the disk."""
        place = self.overlay.blocks.get(number)
        if place is None:
            return self.raw(number, 1)
        return self.overlay.unescaped(place, self.raw(self.journal[place], 1))

    def run(self, number: int, count: int) -> bytes:
        """Return neighbouring blocks."""
        if not self.overlay.blocks:
            return self.raw(number, count)
        newer = [n for n in range(number, number + count) if n in self.overlay.blocks]
        if not newer:
            return self.raw(number, count)
        data, size = bytearray(self.raw(number, count)), self.superblock.block_size
        for each in newer:
            data[(each - number) * size : (each - number + 1) * size] = self.block(each)
        return bytes(data)

    def raw(self, number: int, count: int) -> bytes:
        """Return neighbouring blocks as they lie on the disk."""
        if number < 0 or number + count > self.superblock.blocks:
            raise Damaged(
                f"blocks {number} to {number + count - 1} are wanted of {self.superblock.blocks} blocks"
            )
        size = self.superblock.block_size
        return self._source.read(number * size, count * size)

    def inode(self, number: int) -> bytes:
        """Return the bytes of an inode. Raises Damaged when there is none of that number."""
        sb = self.superblock
        if not 0 < number <= sb.inodes:
            raise Damaged(f"inode {number} is wanted of {sb.inodes}")
        group, index = divmod(number - 1, sb.inodes_per_group)
        at = index * sb.inode_size
        data = self.block(self._table(group) + at // sb.block_size)
        return data[at % sb.block_size : at % sb.block_size + sb.inode_size]

    def _table(self, group: int) -> int:
        """Return the first block of a group's inodes."""
        if group not in self._tables:
            sb = self.superblock
            per_block = sb.block_size // sb.descriptor_size
            data = self.block(self._descriptors(group // per_block, per_block))
            at = group % per_block * sb.descriptor_size
            high = struct.unpack_from("<I", data, at + 40)[0] if sb.descriptor_size >= 64 else 0  # noqa: PLR2004
            if len(self._tables) > _MOST_GROUPS_KEPT:
                self._tables.clear()
            self._tables[group] = struct.unpack_from("<I", data, at + 8)[0] | high << 32
        return self._tables[group]

    def _descriptors(self, number: int, per_block: int) -> int:
        """Return the block with the group descriptors of that number: in the table, or beside the groups (meta_bg)."""
        sb = self.superblock
        if sb.first_meta_group is None or number < sb.first_meta_group:
            return OFFSET // sb.block_size + 1 + number
        group = number * per_block
        before = int(self._has_superblock(group))
        if number == 0 and sb.first_block == 0 and sb.block_size == OFFSET:  # the boot block is in the way
            before += 1
        return sb.first_block + group * sb.blocks_per_group + before

    def _has_superblock(self, group: int) -> bool:
        sb = self.superblock
        if sb.backup_groups is not None:
            return group == 0 or group in sb.backup_groups
        if group <= 1 or not sb.sparse_super:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1
