"""Writing a disk: read what may have changed, hash it, store what is new, and name it all in a manifest.

Threads take leaves (16 MiB of disk) in order under a lock; each reads 4 MiB at a time into a buffer of its own, and
hashes, compresses, seals and packs there, so that nothing but names passes between threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from csbsctl.errors import Damaged

from .codec import Codec
from .deposit import Check, Deposit, Lane, Progress
from .fetch import Fetcher
from .layout import CHUNK, FANOUT, LEAF, NAME, NO_LEAF, ZERO, ChunkName
from .leaves import LeafReader
from .manifest import Manifest, Slots, is_zero, leaf_bytes, leaf_count, read_leaf, slot_count
from .source import BlockSource
from .work import Shared

_READ_SLOTS = 64
_ALL = b"\1" * FANOUT
Wanted = dict[int, bytearray]


class DiskWriter:
    """Writes one disk into a deposit; ``leaves`` is the body of its manifest when ``run`` has returned."""

    def __init__(
        self,
        source: BlockSource,
        deposit: Deposit,
        codec: Codec,
        *,
        fetcher: Fetcher,
        parent: Manifest | None,
        changed: Iterable[tuple[int, int]] | None,
        lost: frozenset[ChunkName] = frozenset(),
        check: Check,
        progress: Progress,
    ) -> None:
        self._source = source
        self._deposit = deposit
        self._codec = codec
        self._fetcher = fetcher
        self._check = check
        self._progress = progress
        self.size = source.size
        self._parent = parent if changed is not None else None
        self._wanted = self._choose(changed)
        self._inherits = (
            LeafReader(self._parent, fetcher, wanted=self._inherits_from) if self._parent else None
        )
        if self._parent and lost:
            self._want_lost(lost)
        self.leaves = bytearray(leaf_count(self.size) * NAME)
        if self._parent:
            kept = self._parent.leaves[: len(self.leaves)]
            self.leaves[: len(kept)] = kept
        self._lock = threading.Lock()  # guards the counters below, and progress
        self._total = sum(wanted.count(1) for wanted in self._wanted.values()) * CHUNK
        self._done = 0

    @property
    def read(self) -> int:
        """Bytes read from the source."""
        return min(self._done, self.size)

    def run(self, threads: int) -> None:
        """Write everything; the first error of any thread ends it."""
        work = Shared(sorted(self._wanted))
        if threads == 1:
            self._work(work)
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="write") as pool:
            for result in [pool.submit(self._work, work) for _ in range(threads)]:
                result.result()

    def _work(self, work: Shared) -> None:
        lane = Lane(self._deposit)
        buffer = memoryview(bytearray(_READ_SLOTS * CHUNK))
        try:
            for number in work:
                self._check()
                self._write_leaf(number, lane, buffer)
            lane.close()
        except BaseException:
            work.stop()
            raise

    def _write_leaf(self, number: int, lane: Lane, buffer: memoryview) -> None:
        wanted = self._wanted[number]
        slots = self._inherited(number, wanted)
        for first, count in _stretches(wanted):
            start = number * LEAF + first * CHUNK
            view = buffer[: count * CHUNK]
            length = min(len(view), self.size - start)
            self._source.read_into(start, view[:length])
            if length < len(view):
                view[length:] = ZERO[: len(view) - length]
            for slot in range(count):
                slots[first + slot] = self._write_chunk(view[slot * CHUNK : (slot + 1) * CHUNK], lane)
            lane.settle()
            self._advance(count * CHUNK)
        self._set_leaf(number, slots)

    def _write_chunk(self, chunk: memoryview, lane: Lane) -> ChunkName | None:
        if is_zero(chunk):
            return None
        name = ChunkName(self._codec.name(chunk))
        if self._deposit.claim(name):
            lane.add(name, chunk)
        return name

    def _set_leaf(self, number: int, slots: Slots) -> None:
        plain = leaf_bytes(slots)
        name = ChunkName(self._codec.name(plain) if plain else NO_LEAF)
        if plain and self._deposit.claim(name):
            self._deposit.add_leaf(name, plain)
        self.leaves[number * NAME : (number + 1) * NAME] = name

    def _inherited(self, number: int, wanted: bytearray) -> Slots:
        if self._inherits is None or wanted == _ALL:
            return [None] * FANOUT
        slots = self._inherits.slots(number)
        end = slot_count(self.size, number)
        return slots[:end] + [None] * (FANOUT - end)

    def _inherits_from(self, number: int) -> bool:
        return self._wanted.get(number, _ALL) != _ALL

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)

    # -- what to read ----------------------------------------------------------------------------------------------

    def _choose(self, changed: Iterable[tuple[int, int]] | None) -> Wanted:
        wanted: Wanted = {}
        if self._parent is None or changed is None:
            for start, length in self._source.extents():
                self._want(wanted, start, start + length)
            return wanted
        for start, length in changed:
            self._want(wanted, start, start + length)
        if self._parent.size != self.size:
            self._want_the_rest(wanted, self._parent.size)
        return wanted

    def _want_the_rest(self, wanted: Wanted, old: int) -> None:
        """Read the chunk at the old end and the one at the new, whose padding differs, and what data lies between."""
        for end in (old, self.size):
            self._want(wanted, end - 1, end)
        for start, length in self._source.extents():
            if start + length > old:
                self._want(wanted, max(start, old), start + length)

    def _want(self, wanted: Wanted, start: int, end: int) -> None:
        first, last = max(start, 0) // CHUNK, -(-min(end, self.size) // CHUNK)
        while first < last:
            number, slot = divmod(first, FANOUT)
            count = min(FANOUT - slot, last - first)
            marks = wanted.setdefault(number, bytearray(FANOUT))
            marks[slot : slot + count] = _ALL[:count]
            first += count

    def _want_lost(self, lost: frozenset[ChunkName]) -> None:
        """Read what the parent has lost: the disk may still have it, and the repository heals."""
        assert self._parent
        for number, name in self._parent.each():
            start, end = number * LEAF, min((number + 1) * LEAF, self.size)
            try:
                slots = read_leaf(self._fetcher.item(name)) if name not in lost else None
            except Damaged:
                slots = None
            if slots is None:
                self._want(self._wanted, start, end)
                continue
            for slot, chunk in enumerate(slots):
                if chunk in lost:
                    self._want(self._wanted, start + slot * CHUNK, start + (slot + 1) * CHUNK)


def _stretches(wanted: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of the runs of wanted slots, none longer than one read."""
    slot = wanted.find(1)
    while slot >= 0:
        end = wanted.find(0, slot)
        end = min(FANOUT if end < 0 else end, slot + _READ_SLOTS)
        yield slot, end - slot
        slot = wanted.find(1, end)
