"""A run: an immutable sorted table of which chunk is where, as it is stored and as it is searched.

Names are uniform (they are digests), so a lookup takes the right bucket of names by their first bits and finds the
name in there with one ``find``: about a microsecond, 44 bytes a chunk, no objects, and on disk where it is large.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from csbsctl.errors import Damaged, UnsupportedFormat

from .layout import FORMAT, NAME, ChunkName, PackId
from .pack import Place, Table

_MAGIC = b"CSBI"
_HEAD = struct.Struct("<4sHHII")
_PACK = struct.Struct("<12sI")
_PLACE = struct.Struct("<III")
ROW = NAME + _PLACE.size
_BUCKET_ROWS = 32
_SPILL = 4 * 1024 * 1024
"""Larger runs live in an unlinked file, so that they are page cache rather than memory of ours."""


class Run:
    """A searchable run. ``packs`` gives id and size of every pack it knows, in the order its rows refer to."""

    def __init__(self, plain: bytes) -> None:
        if len(plain) < _HEAD.size or plain[:4] != _MAGIC:
            raise Damaged("an index does not parse")
        _, version, _, packs, rows = _HEAD.unpack_from(plain)
        self.rows: int = rows
        if version > FORMAT:
            raise UnsupportedFormat(f"an index has format {version}, this csbsctl knows {FORMAT}")
        self._names = _HEAD.size + packs * _PACK.size
        self._places = self._names + self.rows * NAME
        if len(plain) != self._places + self.rows * _PLACE.size:
            raise Damaged("an index does not parse")
        entries = _PACK.iter_unpack(plain[_HEAD.size : self._names])
        self.packs: list[tuple[PackId, int]] = [(PackId(pack), size) for pack, size in entries]
        self._bytes = _spilled(plain)
        self.size = len(plain)
        self._shift, self._bounds = self._fan_out()

    def row(self, name: ChunkName, start: int = 0) -> int:
        """Return the first row from ``start`` on that holds a name, or -1."""
        bucket = int.from_bytes(name[:4], "big") >> self._shift
        base = self._names
        at = base + max(self._bounds[bucket], start) * NAME
        end = base + self._bounds[bucket + 1] * NAME
        while True:
            at = self._bytes.find(name, at, end)
            if at < 0 or not (at - base) % NAME:
                return (at - base) // NAME if at >= 0 else -1
            at += 1

    def place(self, row: int) -> Place:
        """Return where the chunk of a row is."""
        pack, offset, tail = _PLACE.unpack_from(self._bytes, self._places + row * _PLACE.size)
        return Place(self.packs[pack][0], offset, tail >> 8, tail & 0xFF)

    def pack(self, row: int) -> PackId:
        """Return the pack that a row points to."""
        ordinal: int = _PLACE.unpack_from(self._bytes, self._places + row * _PLACE.size)[0]
        return self.packs[ordinal][0]

    def counts(self) -> dict[PackId, int]:
        """Return how many rows point to each pack."""
        with memoryview(self._bytes) as view, view[self._places :] as places:
            counts = Counter(pack for pack, _, _ in _PLACE.iter_unpack(places))
        return {self.packs[pack][0]: count for pack, count in counts.items()}

    def name(self, row: int) -> ChunkName:
        """Return the name in a row."""
        at = self._names + row * NAME
        return ChunkName(self._bytes[at : at + NAME])

    def find(self, name: ChunkName) -> Iterator[Place]:
        """Yield every place of a name."""
        row = self.row(name)
        while 0 <= row < self.rows and self.name(row) == name:
            yield self.place(row)
            row += 1

    def entries(self) -> Iterator[tuple[ChunkName, Place]]:
        """Yield every name with its place, sorted by name."""
        for row in range(self.rows):
            yield self.name(row), self.place(row)

    def _fan_out(self) -> tuple[int, array[int]]:
        bits = min(24, max(0, (self.rows // _BUCKET_ROWS).bit_length()))
        names = _Names(self)
        bounds = array("I", [0])
        for bucket in range(1, 1 << bits):
            bounds.append(bisect_left(names, (bucket << (32 - bits)).to_bytes(4, "big"), lo=bounds[-1]))
        bounds.append(self.rows)
        return 32 - bits, bounds


class _Names:
    """The names of a run as a sequence, for ``bisect``."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __len__(self) -> int:
        return self._run.rows

    def __getitem__(self, row: int) -> bytes:
        return self._run.name(row)


def _spilled(plain: bytes) -> bytes | mmap.mmap:
    if len(plain) <= _SPILL:
        return plain
    with tempfile.TemporaryFile() as file:
        file.write(plain)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def run_of_tables(tables: Iterable[Table]) -> bytes:
    """Return the plain form of a run that holds the tables of some packs."""
    tables = list(tables)
    packs = {table.pack: table.size for table in tables}
    return _run_bytes(packs, (entry for table in tables for entry in table.entries()))


def merged(runs: Iterable[Run], dropped: Collection[PackId] = ()) -> bytes:
    """Return the plain form of one run with all entries of several, less those of the dropped packs."""
    runs = list(runs)
    packs = {pack: size for run in runs for pack, size in run.packs if pack not in dropped}
    return _run_bytes(packs, (entry for run in runs for entry in run.entries() if entry[1].pack in packs))


def _run_bytes(packs: dict[PackId, int], entries: Iterable[tuple[ChunkName, Place]]) -> bytes:
    ordinals = {pack: ordinal for ordinal, pack in enumerate(packs)}
    pack_place = _PLACE.pack
    rows = {
        name + pack_place(ordinals[place.pack], place.offset, place.length << 8 | place.slot)
        for name, place in entries
    }
    ordered = sorted(rows)
    head = _HEAD.pack(_MAGIC, FORMAT, 0, len(packs), len(ordered))
    body = [row[:NAME] for row in ordered]
    body += [row[NAME:] for row in ordered]
    return b"".join([head, *(_PACK.pack(pack, size) for pack, size in packs.items()), *body])
