"""The superblock: the sizes and features of a file system, checked before anything is believed of them.

Features that change where bytes are and that this package does not know refuse the file system, as a kernel would.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from csbsctl.errors import Damaged, Unsupported

OFFSET = 1024
LENGTH = 1024
MAGIC = 0xEF53

_FILETYPE, _RECOVER, _META_BG, _EXTENTS, _64BIT = 0x2, 0x4, 0x10, 0x40, 0x80
_KNOWN = {
    _FILETYPE: "filetype",
    _RECOVER: "needs_recovery",
    _META_BG: "meta_bg",
    _EXTENTS: "extents",
    _64BIT: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
_UNKNOWN = {0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata"}
_HAS_JOURNAL, _SPARSE_SUPER2 = 0x4, 0x200
_SPARSE_SUPER = 0x1


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the rest of the package needs of a superblock. Sizes are bytes, places are block numbers."""

    block_size: int
    blocks: int
    first_block: int
    blocks_per_group: int
    inodes: int
    inodes_per_group: int
    inode_size: int
    descriptor_size: int
    first_meta_group: int | None
    """The first group whose descriptors lie beside it; None where all lie in one table."""
    sparse_super: bool
    backup_groups: tuple[int, int] | None
    filetype: bool
    extents: bool
    journal_inode: int | None
    needs_recovery: bool
    label: str

    @property
    def groups(self) -> int:
        """How many block groups there are."""
        return -(-(self.blocks - self.first_block) // self.blocks_per_group)

    @property
    def kind(self) -> str:
        """The name under which the features go."""
        if self.extents:
            return "ext4"
        return "ext3" if self.journal_inode else "ext2"


def read_superblock(data: bytes, size: int) -> Superblock:
    """Return what the bytes of a superblock say; ``size`` is the bytes of the partition.

    Raises:
        Damaged: they contradict each other, or what is there.
        Unsupported: the file system uses a feature that is not known here.
    """
    if len(data) < LENGTH or struct.unpack_from("<H", data, 56)[0] != MAGIC:
        raise Damaged("there is no superblock")

    def u16(at: int) -> int:
        return int.from_bytes(data[at : at + 2], "little")

    def u32(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    compat, incompat, readonly = (u32(at) if u32(76) else 0 for at in (92, 96, 100))
    _check_features(incompat)
    wide = bool(incompat & _64BIT)
    found = Superblock(
        block_size=1024 << min(u32(24), 7),
        blocks=u32(4) | (u32(0x150) << 32 if wide else 0),
        first_block=u32(20),
        blocks_per_group=u32(32),
        inodes=u32(0),
        inodes_per_group=u32(40),
        inode_size=u16(88) if u32(76) else 128,
        descriptor_size=u16(254) if wide else 32,
        first_meta_group=u32(0x104) if incompat & _META_BG else None,
        sparse_super=bool(readonly & _SPARSE_SUPER),
        backup_groups=(u32(0x24C), u32(0x250)) if compat & _SPARSE_SUPER2 else None,
        filetype=bool(incompat & _FILETYPE),
        extents=bool(incompat & _EXTENTS),
        journal_inode=u32(224) or None if compat & _HAS_JOURNAL else None,
        needs_recovery=bool(incompat & _RECOVER),
        label=data[120:136].split(b"\0")[0].decode("utf-8", "backslashreplace"),
    )
    _check(found, u32(24), size)
    return found


def _check_features(incompat: int) -> None:
    strange = [bit for bit in (1 << n for n in range(32)) if incompat & bit and bit not in _KNOWN]
    if strange:
        names = ", ".join(_UNKNOWN.get(bit, f"number {bit:#x}") for bit in strange)
        raise Unsupported(
            f"the file system uses features that cannot be read: {names}", code="filesystem.unsupported"
        )


def _check(found: Superblock, shift: int, size: int) -> None:
    sound = (
        shift <= 6  # noqa: PLR2004 - blocks of 64 KiB at most
        and found.first_block in (0, 1)
        and found.first_block < found.blocks
        and found.blocks * found.block_size <= size
        and 0 < found.blocks_per_group <= 8 * found.block_size * 16
        and 0 < found.inodes_per_group <= 8 * found.block_size
        and 128 <= found.inode_size <= found.block_size  # noqa: PLR2004
        and not found.inode_size & (found.inode_size - 1)
        and 32 <= found.descriptor_size <= 1024  # noqa: PLR2004
        and found.descriptor_size <= found.block_size
        and found.inodes <= found.groups * found.inodes_per_group
    )
    if not sound:
        raise Damaged("the superblock makes no sense, or the file system is larger than its partition")
