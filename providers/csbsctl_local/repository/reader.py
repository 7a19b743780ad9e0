"""Reading a stored disk at random, as instant restore and file-level restore do."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from csbsctl.errors import UsageError

from .fetch import Fetcher
from .layout import CHUNK, FANOUT, LEAF, ZERO, ChunkName
from .manifest import Manifest, Slots, read_leaf

_KEPT = 64


class Reader:
    """The bytes of one stored disk; every method may be called from any thread."""

    def __init__(self, manifest: Manifest, fetcher: Fetcher) -> None:
        self.manifest = manifest
        self.size = manifest.size
        self._fetcher = fetcher
        self._lock = threading.Lock()  # guards _kept
        self._kept: OrderedDict[int, Slots] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range, cut short at the end of the disk.

        Raises:
            Damaged: a chunk of the range is lost.
            UsageError: the range is negative.
        """
        if offset < 0 or length < 0:
            raise UsageError(f"cannot read {length} bytes at {offset}")
        end = min(offset + length, self.size)
        parts = []
        at = offset
        while at < end:
            slot = at // CHUNK
            start, stop = at - slot * CHUNK, min(end - slot * CHUNK, CHUNK)
            name = self.chunk(slot)
            parts.append((self._fetcher.item(name) if name else ZERO)[start:stop])
            at = slot * CHUNK + stop
        return b"".join(parts)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what is not known to be zeros, ascending, neighbours joined."""
        start = end = 0
        for number, _ in self.manifest.each():
            for slot, name in enumerate(self.slots(number)):
                at = number * LEAF + slot * CHUNK
                if name is None:
                    continue
                if at != end:
                    if end > start:
                        yield start, end - start
                    start = at
                end = at + CHUNK
        if end > start:
            yield start, min(end, self.size) - start

    def chunk(self, slot: int) -> ChunkName | None:
        """Return the name of the chunk at a slot of the disk, None where it is zeros."""
        number, within = divmod(slot, FANOUT)
        return self.slots(number)[within]

    def slots(self, number: int) -> Slots:
        """Return the names under one leaf."""
        with self._lock:
            kept = self._kept.get(number)
            if kept is not None:
                self._kept.move_to_end(number)
                return kept
        name = self.manifest.leaf(number)
        slots: Slots = read_leaf(self._fetcher.item(name)) if name else [None] * FANOUT
        with self._lock:
            self._kept[number] = slots
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return slots
