"""Manifests and leaves: which chunk lies where on a disk. Byte layout in ``FORMAT.md``.

A leaf names the chunks of 16 MiB of disk; a manifest names the leaves. Leaves are content-addressed like chunks, so
that manifests share what did not change: an increment costs 32 bytes for each 16 MiB, and the leaves that differ.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from csbsctl.errors import Damaged, UnsupportedFormat

from .layout import CHUNK, FANOUT, FORMAT, LEAF, NAME, NO_LEAF, ZERO, ChunkName

_MAGIC = b"CSBM"
_HEAD = struct.Struct("<4sHHQqQQQH")
_BITMAP = FANOUT // 8
Slots = list[ChunkName | None]


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a disk did, in bytes.

    ``read`` were read from the source, ``new`` of them nobody had stored before, ``stored`` is what that took in the
    repository: packs, index and manifest.
    """

    manifest: str
    size: int
    parent: str | None
    read: int
    new: int
    stored: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One stored disk: what writing it did, when, and the names of its leaves in the disk's order."""

    written: Written
    created_at: datetime
    leaves: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.written.size

    def leaf(self, number: int) -> ChunkName | None:
        """Return the name of a leaf; None where that part of the disk is all zeros or past the end."""
        name = self.leaves[number * NAME : number * NAME + NAME]
        return ChunkName(name) if name and name != NO_LEAF else None

    def each(self) -> Iterator[tuple[int, ChunkName]]:
        """Yield number and name of every leaf that has data."""
        for number in range(len(self.leaves) // NAME):
            name = self.leaf(number)
            if name is not None:
                yield number, name


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the plain form of a manifest."""
    written, parent = manifest.written, (manifest.written.parent or "").encode()
    stamp = round(manifest.created_at.timestamp() * 1_000_000)
    head = _HEAD.pack(
        _MAGIC, FORMAT, 0, written.size, stamp, written.read, written.new, written.stored, len(parent)
    )
    return b"".join((head, parent, manifest.leaves))


def read_manifest(name: str, plain: bytes) -> Manifest:
    """Return the manifest that plain bytes hold.

    Raises:
        UnsupportedFormat: a newer csbsctl wrote it.
        Damaged: it does not parse.
    """
    if len(plain) < _HEAD.size or plain[:4] != _MAGIC:
        raise Damaged(f"manifest {name} does not parse")
    _, version, _, size, stamp, read, new, stored, cut = _HEAD.unpack_from(plain)
    if version > FORMAT:
        raise UnsupportedFormat(f"manifest {name} has format {version}, this csbsctl knows {FORMAT}")
    parent = plain[_HEAD.size : _HEAD.size + cut].decode() or None
    leaves = plain[_HEAD.size + cut :]
    if len(leaves) != leaf_count(size) * NAME:
        raise Damaged(f"manifest {name} does not cover its disk")
    written = Written(name, size, parent, read=read, new=new, stored=stored)
    return Manifest(written, datetime.fromtimestamp(stamp / 1_000_000, UTC), leaves)


def leaf_count(size: int) -> int:
    """Return how many leaves a disk of that many bytes has."""
    return -(-size // LEAF)


def slot_count(size: int, number: int) -> int:
    """Return how many chunks of a disk lie under one of its leaves."""
    return max(0, min(FANOUT, -(-(size - number * LEAF) // CHUNK)))


def leaf_bytes(slots: Sequence[ChunkName | None]) -> bytes | None:
    """Return the plain form of a leaf: a bitmap of the slots that have a chunk, and their names; None if none has."""
    bits, names = 0, []
    for slot, name in enumerate(slots):
        if name is not None:
            bits |= 1 << slot
            names.append(name)
    return bits.to_bytes(_BITMAP, "little") + b"".join(names) if names else None


def read_leaf(plain: bytes) -> Slots:
    """Return the names under a leaf, slot by slot.

    Raises:
        Damaged: it does not parse.
    """
    bits = int.from_bytes(plain[:_BITMAP], "little")
    if len(plain) != _BITMAP + bits.bit_count() * NAME:
        raise Damaged("a leaf does not parse")
    slots: Slots = [None] * FANOUT
    at = _BITMAP
    for slot in range(FANOUT):
        if bits >> slot & 1:
            slots[slot] = ChunkName(plain[at : at + NAME])
            at += NAME
    return slots


def leaf_names(plain: bytes) -> list[ChunkName]:
    """Return the names in a leaf, without their slots. Raises Damaged."""
    return [name for name in read_leaf(plain) if name is not None]


def is_zero(chunk: memoryview) -> bool:
    """Say whether a chunk (or less) is all zeros; stops at the first byte that is not, and copies nothing."""
    return ZERO.startswith(chunk)
