"""Inodes: what a file is, how large, when it was changed, and the bytes that are kept in the inode itself."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass, replace

from csbsctl.errors import Damaged
from csbsctl.filesystem.tree import Kind, Node

_EXTENTS, _ENCRYPTED, _INLINE, _HUGE = 0x80000, 0x800, 0x10000000, 0x40000
_XATTR_MAGIC = 0xEA020000
_SYSTEM = 7
_IN_BLOCK = 60
_GOOD = 128
_LARGEST = 1 << 48


@dataclass(frozen=True, slots=True)
class Inode:
    """One inode. ``map`` are the 60 bytes that say where its blocks are, or hold the first of its data."""

    node: Node
    map: bytes
    extents: bool
    encrypted: bool
    inline: bytes | None
    """All the data, where it is kept in the inode."""
    short_link: bool


def read_inode(number: int, data: bytes) -> Inode:
    """Return what the bytes of an inode say. Raises Damaged for one that is not in use."""
    mode, uid, size, accessed, _, modified = struct.unpack_from("<HHIiii", data)
    gid, links = struct.unpack_from("<HH", data, 24)
    (flags,) = struct.unpack_from("<I", data, 32)
    (size_high,) = struct.unpack_from("<I", data, 108)
    uid_high, gid_high = struct.unpack_from("<HH", data, 120)
    if not mode or not links:
        raise Damaged(f"inode {number} is not in use")
    extra = struct.unpack_from("<H", data, 128)[0] if len(data) > _GOOD else 0
    kind = _kind(mode)
    # Only regular files (and folders, with large_dir) have the upper half; elsewhere the field is another one.
    size |= size_high << 32 if kind in (Kind.FILE, Kind.FOLDER) else 0
    if size > _LARGEST:
        raise Damaged(f"inode {number} claims {size} bytes")
    node = Node(
        number=number,
        kind=kind,
        mode=stat.S_IMODE(mode),
        uid=uid | uid_high << 16,
        gid=gid | gid_high << 16,
        size=size,
        modified=_time(modified, data, 136, extra),
        accessed=_time(accessed, data, 140, extra),
    )
    block_map = data[40:100]
    blocks = int.from_bytes(data[28:32], "little") | int.from_bytes(data[116:118], "little") << 32
    node = replace(node, stored=min(size, blocks * (4096 if flags & _HUGE else 512)))
    inline = _inline(node, block_map, data, extra) if flags & _INLINE else None
    extents = bool(flags & _EXTENTS)
    short = kind is Kind.LINK and size < _IN_BLOCK and not extents and inline is None
    return Inode(node, block_map, extents, bool(flags & _ENCRYPTED), inline, short)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER


def _time(seconds: int, data: bytes, at: int, extra: int) -> int:
    """Return nanoseconds; the extra field, where there is one, carries two more bits of seconds."""
    if extra < at + 4 - _GOOD or len(data) < at + 4:
        return seconds * 10**9
    more = int.from_bytes(data[at : at + 4], "little")
    return (seconds + ((more & 3) << 32)) * 10**9 + min(more >> 2, 10**9 - 1)


def _inline(node: Node, block_map: bytes, data: bytes, extra: int) -> bytes:
    """Return data that is kept in the inode: what fits in the map, the rest in an attribute behind it."""
    if node.size <= _IN_BLOCK:
        return block_map[: node.size]
    rest = _attribute(data, _GOOD + extra)
    if len(rest) < node.size - _IN_BLOCK:
        raise Damaged(f"inode {node.number} does not hold its {node.size} bytes")
    return block_map + rest[: node.size - _IN_BLOCK]


def _attribute(data: bytes, start: int) -> bytes:
    """Return the value of ``system.data`` among the attributes behind an inode, b"" when there is none."""
    if len(data) < start + 4 or struct.unpack_from("<I", data, start)[0] != _XATTR_MAGIC:
        return b""
    first = at = start + 4
    while at + 16 <= len(data) and data[at]:
        length, index, offset, _, size = struct.unpack_from("<BBHII", data, at)
        if index == _SYSTEM and data[at + 16 : at + 16 + length] == b"data":
            return data[first + offset : first + offset + size]
        at += (16 + length + 3) & ~3
    return b""
