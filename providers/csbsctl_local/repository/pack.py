"""Packs: objects of 8 to 16 MiB that hold segments, and a table of what is in them. Byte layout in ``FORMAT.md``.

A pack proves itself: segments and table are sealed, header and trailer are compared, and the lengths add up, so that
no byte of it can change unseen. Knows nothing of stores, indexes or disks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from csbsctl.blobs import Buffer
from csbsctl.errors import Damaged

from .codec import Codec
from .layout import CHUNK, NAME, ChunkName, PackId, segment_context, table_context

HEADER = b"CSBPACK\x01"
_TRAILER = struct.Struct("<I8s")
_END = b"CSBPEND\x01"
_COUNTS = struct.Struct("<II")
_SEGMENT = struct.Struct("<IB")
TRAILER = _TRAILER.size
WHOLE = 255
"""The slot of something that has a segment to itself: a leaf."""


class Place(NamedTuple):
    """Where a chunk is stored: a slot of a segment of a pack."""

    pack: PackId
    offset: int
    length: int
    slot: int


class Segment(NamedTuple):
    """One sealed piece of a pack: where it is, and the names in it. ``chunks`` is 0 where it holds a single leaf."""

    offset: int
    length: int
    chunks: int
    names: tuple[ChunkName, ...]

    @property
    def plain(self) -> int | None:
        """Bytes it decodes to, where that is fixed."""
        return self.chunks * CHUNK or None


@dataclass(frozen=True, slots=True)
class Table:
    """What one stored pack holds. ``size`` is bytes of the whole object."""

    pack: PackId
    size: int
    segments: tuple[Segment, ...]

    def entries(self) -> Iterator[tuple[ChunkName, Place]]:
        """Yield every name with its place."""
        for offset, length, chunks, names in self.segments:
            for slot, name in enumerate(names):
                yield name, Place(self.pack, offset, length, slot if chunks else WHOLE)


class PackBuilder:
    """Grows one pack in memory; one thread's own."""

    def __init__(self, pack: PackId, codec: Codec) -> None:
        self.pack = pack
        self._codec = codec
        self._body = bytearray(HEADER)
        self._segments: list[Segment] = []

    @property
    def size(self) -> int:
        """Bytes so far, table excluded."""
        return len(self._body)

    def add(self, plain: Buffer, names: tuple[ChunkName, ...], *, leaf: bool = False) -> None:
        """Append a segment: some chunks, one after the other, or one leaf."""
        offset = len(self._body)
        sealed = self._codec.encode(plain, segment_context(self.pack, offset))
        self._body += sealed
        self._segments.append(Segment(offset, len(sealed), 0 if leaf else len(names), names))

    def finish(self) -> tuple[bytearray, Table]:
        """Append table and trailer; return the bytes to store and what they hold."""
        table = self._codec.encode(_table_bytes(self._segments), table_context(self.pack))
        self._body += table
        self._body += _TRAILER.pack(len(table), _END)
        return self._body, Table(self.pack, len(self._body), tuple(self._segments))


def _table_bytes(segments: list[Segment]) -> bytes:
    names = [name for segment in segments for name in segment.names]
    heads = [_SEGMENT.pack(segment.length, segment.chunks) for segment in segments]
    return b"".join([_COUNTS.pack(len(segments), len(names)), *heads, *names])


def table_length(trailer: Buffer) -> int:
    """Return the bytes of the table that the last bytes of a pack announce.

    Raises:
        Damaged: this is not the end of a pack.
    """
    if len(trailer) != TRAILER:
        raise Damaged("the pack is cut short")
    length, end = _TRAILER.unpack(trailer)
    if end != _END:
        raise Damaged("the pack does not end as a pack ends")
    return int(length)


def read_table(pack: PackId, size: int, sealed: Buffer, codec: Codec) -> Table:
    """Return the table of a pack of that many bytes from its sealed form.

    Raises:
        Damaged: it is not authentic, or its lengths do not add up to the pack.
    """
    plain = codec.decode(sealed, table_context(pack))
    count, named = _COUNTS.unpack_from(plain)
    at = _COUNTS.size + count * _SEGMENT.size
    if len(plain) != at + named * NAME:
        raise Damaged("the pack's table does not parse")
    segments: list[Segment] = []
    offset = len(HEADER)
    for length, chunks in _SEGMENT.iter_unpack(plain[_COUNTS.size : at]):
        end = at + (chunks or 1) * NAME
        names = tuple(ChunkName(plain[i : i + NAME]) for i in range(at, end, NAME))
        segments.append(Segment(offset, length, chunks, names))
        offset, at = offset + length, end
    if offset + len(sealed) + TRAILER != size:
        raise Damaged(
            f"the pack has {size} bytes where its table accounts for {offset + len(sealed) + TRAILER}"
        )
    return Table(pack, size, tuple(segments))


def open_pack(pack: PackId, stored: Buffer, codec: Codec) -> Table:
    """Check header, trailer and table of a whole pack and return the table; segments are left to the caller.

    Raises:
        Damaged: any of them is not what was written.
    """
    view = memoryview(stored)
    if view[: len(HEADER)] != HEADER:
        raise Damaged("the pack does not start as a pack starts")
    length = table_length(view[-TRAILER:])
    return read_table(pack, len(view), view[-TRAILER - length : -TRAILER], codec)
