"""Folders: the names in their blocks. The hashed index of large ones hides in entries without an inode; it is not used."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from csbsctl.errors import Damaged

_ROOT_OF_INDEX = (b".", b"..")
_LONGEST = 255


def names(block: bytes, number: int, *, filetype: bool) -> Iterator[tuple[bytes, int]]:
    """Yield (name, inode) of the entries in a block of folder ``number``, ``.`` and ``..`` left out.

    Raises:
        Damaged: an entry leaves the block, or a name is none.
    """
    at = 0
    while at + 8 <= len(block):
        inode, length, name_length, high = struct.unpack_from("<IHBB", block, at)
        if length in (0, 0xFFFF):  # a block of 64 KiB has no other way to say its own length
            length = len(block)
        length = (length & 0xFFFC) | ((length & 3) << 16) if len(block) > 0x8000 and length & 3 else length  # noqa: PLR2004
        name_length |= 0 if filetype else high << 8
        if length < 8 or at + length > len(block) or name_length > min(length - 8, _LONGEST):  # noqa: PLR2004
            raise Damaged(f"folder {number} has an entry that makes no sense")
        if inode:
            name = block[at + 8 : at + 8 + name_length]
            if name not in _ROOT_OF_INDEX:
                if not name or b"/" in name or b"\0" in name:
                    raise Damaged(f"folder {number} has an entry with an impossible name")
                yield name, inode
        at += length
