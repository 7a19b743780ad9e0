"""Fetching: from the names of chunks and leaves to their bytes, wherever they are stored.

Where one copy is damaged or gone and there is another, that is used. A pack that has vanished may have been compacted
by somebody, so the index is read again before anything is called lost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from csbsctl.blobs import BlobNotFound, BlobStore
from csbsctl.clock import Clock, SystemClock
from csbsctl.errors import Damaged

from .codec import Codec
from .index import Index
from .layout import CHUNK, SEGMENT_CHUNKS, ChunkName, PackId, pack_key, segment_context
from .pack import WHOLE, Place

_GAP = 256 * 1024
"""Bytes that are cheaper read than skipped."""
_AT_ONCE = 8
"""Requests under way at once for leaves that are far away and apart."""
_KEPT = 16
_STEPS = 32
"""Into so many waits the lag of a store is divided."""
Segment = tuple[PackId, int, int]
"""Pack, offset, length."""


class Fetcher:
    """Reads segments by place and chunks by name; safe from any thread."""

    def __init__(
        self, blobs: BlobStore, codec: Codec, index: Index, *, clock: Clock | None = None, lag: float = 0.0
    ) -> None:
        self._clock = clock or SystemClock()
        self._lag = lag
        self._waited = 0.0
        self._blobs = blobs
        self._codec = codec
        self._index = index
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()  # guards _kept
        self._kept: OrderedDict[Segment, bytes] = OrderedDict()

    def item(self, name: ChunkName) -> bytes:
        """Return the plain bytes of a chunk or leaf, from any copy that is sound.

        Raises:
            Damaged: there is none.
        """
        reason = ""
        while True:
            again = bool(reason)
            reason = "it is nowhere in the index"
            for place in self._index.places(name):
                try:
                    return cut(self._segment(place), place)
                except Damaged as error:
                    reason = error.message
            if again and not self.wait():
                break
            self.refresh()
        raise Damaged(f"chunk {name.hex()[:16]} is lost: {reason}")

    def place(self, name: ChunkName) -> Place | None:
        """Return where a chunk is by the index, which is read again when it does not know."""
        place = self._index.find(name)
        again = False
        while place is None and (not again or self.wait()):
            again = True
            self.refresh()
            place = self._index.find(name)
        return place

    def wait(self) -> bool:
        """Where listings lag, wait a little for an index to be listed; False when that was done for long enough."""
        with self._refreshing:
            if self._waited >= self._lag:
                return False
            step = self._lag / _STEPS
            self._waited += step
            self._clock.sleep(step)
            return True

    def refresh(self) -> None:
        """Read the index again."""
        with self._refreshing:
            self._index.refresh()

    def segments(self, wanted: Sequence[Segment]) -> Iterator[tuple[Segment, bytes | Damaged]]:
        """Yield every wanted segment decoded, or what is wrong with it; neighbours are read in one go."""
        for group in _neighbours(sorted(set(wanted))):
            yield from self._group(group)

    def leaves(self, names: Sequence[ChunkName]) -> dict[ChunkName, bytes]:
        """Return the plain bytes of some leaves, of those that are sound where the index finds them first.

        Far away, whatever does not lie side by side is asked for at once.
        """
        places = {name: place for name in set(names) if (place := self._index.find(name)) is not None}
        groups = list(_neighbours(sorted({place[:3] for place in places.values()})))
        found: dict[Segment, bytes | Damaged] = {}
        if len(groups) > 1 and getattr(self._blobs, "remote", False):
            with ThreadPoolExecutor(min(len(groups), _AT_ONCE), thread_name_prefix="leaves") as pool:
                for some in pool.map(lambda group: list(self._group(group)), groups):
                    found.update(some)
        else:
            for group in groups:
                found.update(self._group(group))
        plains = ((name, found[place[:3]]) for name, place in places.items() if place.slot == WHOLE)
        return {name: plain for name, plain in plains if not isinstance(plain, Damaged)}

    def _group(self, group: Sequence[Segment]) -> Iterator[tuple[Segment, bytes | Damaged]]:
        pack, start, _ = group[0]
        end = group[-1][1] + group[-1][2]
        try:
            stored = memoryview(self._blobs.get(pack_key(pack), start, end - start))
        except BlobNotFound:
            lost = Damaged(f"pack {pack.hex()} is missing")
            yield from ((segment, lost) for segment in group)
            return
        for segment in group:
            _, offset, length = segment
            try:
                yield segment, self._decode(stored[offset - start : offset - start + length], segment)
            except Damaged as error:
                yield segment, Damaged(f"pack {pack.hex()} at byte {offset}: {error.message}")

    def _segment(self, place: Place) -> bytes:
        key = (place.pack, place.offset, place.length)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        (_, plain), *_ = self.segments([key])
        if isinstance(plain, Damaged):
            raise plain
        if place.slot != WHOLE:
            with self._lock:
                self._kept[key] = plain
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return plain

    def _decode(self, stored: memoryview, segment: Segment) -> bytes:
        return self._codec.decode(stored, segment_context(segment[0], segment[1]))


def cut(plain: bytes, place: Place) -> bytes:
    """Return the chunk at a place out of its decoded segment. Raises Damaged when it is not that long."""
    if place.slot == WHOLE:
        return plain
    if len(plain) > SEGMENT_CHUNKS * CHUNK or len(plain) < (place.slot + 1) * CHUNK:
        raise Damaged("a segment does not hold the chunks it should")
    return plain[place.slot * CHUNK : (place.slot + 1) * CHUNK]


def _neighbours(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    group: list[Segment] = []
    for segment in segments:
        if group and (segment[0] != group[0][0] or segment[1] > group[-1][1] + group[-1][2] + _GAP):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
