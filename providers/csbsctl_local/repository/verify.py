"""Verifying a stored disk: that all of it is there, and at full depth that every byte of every pack proves itself."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from csbsctl.blobs import BlobNotFound, BlobStore
from csbsctl.clock import Clock
from csbsctl.errors import Damaged

from .codec import Codec
from .deposit import Check, Progress
from .fetch import Fetcher
from .index import Index
from .layout import CHUNK, LEAF, ChunkName, PackId, pack_key, segment_context
from .leaves import LeafReader
from .manifest import Manifest, Slots
from .pack import TRAILER, Segment, Table, open_pack, read_table, table_length
from .work import Shared

_PASSES = 3
_STAYS_PROVEN = 600.0
"""Seconds for which a pack that was read whole and found sound is not read again for the next stored disk."""
Depth = Literal["quick", "sample", "full"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with stored data, and the byte ranges (offset, length) of the disk that it costs."""

    message: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Examined:
    """What is wrong with one pack: messages, and the names that cannot be read from it."""

    messages: tuple[str, ...] = ()
    lost: frozenset[ChunkName] = frozenset()
    missing: bool = False


class Proven:
    """Packs that were read whole and found sound a moment ago: increments share most of them. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _since
        self._since: dict[PackId, float] = {}

    def __contains__(self, pack: PackId) -> bool:
        with self._lock:
            since = self._since.get(pack)
        return since is not None and self._clock.monotonic() - since < _STAYS_PROVEN

    def add(self, pack: PackId) -> None:
        """Note that a pack was found sound."""
        with self._lock:
            self._since[pack] = self._clock.monotonic()


class PackExaminer:
    """Reads whole packs and checks every byte of them."""

    def __init__(self, blobs: BlobStore, codec: Codec, index: Index) -> None:
        self._blobs = blobs
        self._codec = codec
        self._index = index
        self._sizes: dict[PackId, int] = {}

    def examine(self, pack: PackId) -> Examined:
        """Check one pack to the last byte; where the table is lost, by what the index knows of it."""
        try:
            stored = memoryview(self._blobs.get(pack_key(pack)))
        except BlobNotFound:
            return self._gone(pack)
        try:
            segments = open_pack(pack, stored, self._codec).segments
        except Damaged as error:
            lost = frozenset(self._unreadable(pack, stored))
            return Examined((f"pack {pack.hex()}: {error.message}",), lost)
        messages: list[str] = []
        lost_names: set[ChunkName] = set()
        for segment in segments:
            bad = self._flawed(pack, stored, segment)
            if bad:
                messages.append(f"pack {pack.hex()}: {bad[0]}")
                lost_names |= bad[1]
        return Examined(tuple(messages), frozenset(lost_names))

    def glance(self, pack: PackId) -> Examined:
        """Look whether a pack is there and has its end; reads a few bytes."""
        try:
            table_length(self._blobs.get(pack_key(pack), self._size(pack) - TRAILER))
        except BlobNotFound:
            return self._gone(pack)
        except Damaged as error:
            return Examined((f"pack {pack.hex()}: {error.message}",), frozenset(self.known(pack)))
        return Examined()

    def _size(self, pack: PackId) -> int:
        if pack not in self._sizes:
            self._sizes = self._index.packs()
        return self._sizes[pack]

    def _gone(self, pack: PackId) -> Examined:
        return Examined((f"pack {pack.hex()} is missing",), frozenset(self.known(pack)), missing=True)

    def _flawed(
        self, pack: PackId, stored: memoryview, segment: Segment
    ) -> tuple[str, set[ChunkName]] | None:
        part = stored[segment.offset : segment.offset + segment.length]
        try:
            plain = self._codec.decode(part, segment_context(pack, segment.offset), segment.plain)
        except Damaged as error:
            return f"at byte {segment.offset}: {error.message}", set(segment.names)
        view = memoryview(plain)
        pieces = [view] if not segment.chunks else [view[i : i + CHUNK] for i in range(0, len(view), CHUNK)]
        wrong = {
            name for name, piece in zip(segment.names, pieces, strict=True) if self._codec.name(piece) != name
        }
        return (f"at byte {segment.offset}: content and name differ", wrong) if wrong else None

    def _unreadable(self, pack: PackId, stored: memoryview) -> Iterator[ChunkName]:
        for name, offset, length in self._places(pack):
            try:
                self._codec.decode(stored[offset : offset + length], segment_context(pack, offset))
            except Damaged:
                yield name

    def known(self, pack: PackId) -> Iterator[ChunkName]:
        """Yield the names that the index expects in a pack."""
        return (name for name, _, _ in self._places(pack))

    def _places(self, pack: PackId) -> Iterator[tuple[ChunkName, int, int]]:
        for run in self._index.runs.values():
            if any(known == pack for known, _ in run.packs):
                for name, place in run.entries():
                    if place.pack == pack:
                        yield name, place.offset, place.length


class Verifier:
    """Verifies one manifest."""

    def __init__(
        self,
        manifest: Manifest,
        fetcher: Fetcher,
        index: Index,
        examiner: PackExaminer,
        proven: Proven,
    ) -> None:
        self._proven = proven
        self._manifest = manifest
        self._fetcher = fetcher
        self._leaves = LeafReader(manifest, fetcher)
        self._index = index
        self._examiner = examiner
        self._flaws: list[Flaw] = []
        self._examined: dict[PackId, Examined] = {}

    def run(
        self, depth: Depth, *, sample: float, seed: int, threads: int, check: Check, progress: Progress
    ) -> list[Flaw]:
        """Return what is wrong: nothing is well, or nothing that this depth can see."""
        for _ in range(_PASSES):
            self._flaws = []
            packs, absent = self._resolve()
            chosen = sorted(packs)
            if depth == "sample" and chosen:
                count = max(1, round(len(chosen) * sample))
                chosen = random.Random(seed).sample(chosen, count)  # noqa: S311 - which packs, not a secret
            examine = self._examiner.glance if depth == "quick" else self._prove
            self._examine(
                [pack for pack in chosen if pack not in self._examined and pack not in self._proven],
                examine,
                threads,
                check,
                progress,
            )
            if not self._moved():
                break
        if absent:
            self._flaws.append(Flaw(f"{len(absent)} chunks are nowhere in the index", self._ranges(absent)))
        for examined in self._examined.values():
            if examined.messages:
                self._flaws.append(
                    Flaw("; ".join(examined.messages), self._ranges(self._really(examined.lost)))
                )
        return self._flaws

    def _prove(self, pack: PackId) -> Examined:
        examined = self._examiner.examine(pack)
        if not examined.messages:
            self._proven.add(pack)
        return examined

    def _resolve(self) -> tuple[set[PackId], set[ChunkName]]:
        """Return the packs that hold the disk, and the names that no index knows."""
        packs: set[PackId] = set()
        absent: set[ChunkName] = set()
        for name in self._names():
            place = self._index.find(name)
            if place is None:
                absent.add(name)
            else:
                packs.add(place.pack)
        return packs, absent

    def _moved(self) -> bool:
        """Say whether packs went missing because somebody compacted them; those are forgotten."""
        if not any(examined.missing for examined in self._examined.values()):
            return False
        self._fetcher.refresh()
        known = self._index.packs()
        moved = [pack for pack, examined in self._examined.items() if examined.missing and pack not in known]
        for pack in moved:
            del self._examined[pack]
        return bool(moved)

    def _really(self, names: frozenset[ChunkName]) -> set[ChunkName]:
        """Return those of the names that no other copy stands in for."""
        sound = Examined()
        return {
            name
            for name in names
            if all(name in self._examined.get(place.pack, sound).lost for place in self._index.places(name))
        }

    def _names(self) -> Iterator[ChunkName]:
        for number, name in self._manifest.each():
            yield name
            slots = self._slots(number)
            if slots:
                yield from (chunk for chunk in slots if chunk is not None)

    def _slots(self, number: int) -> Slots | None:
        try:
            return self._leaves.slots(number)
        except Damaged as error:
            start = number * LEAF
            flaw = Flaw(f"leaf {number}: {error.message}", ((start, min(LEAF, self._manifest.size - start)),))
            if flaw not in self._flaws:
                self._flaws.append(flaw)
            return None

    def _examine(
        self,
        packs: list[PackId],
        examine: Callable[[PackId], Examined],
        threads: int,
        check: Check,
        progress: Progress,
    ) -> None:
        lock = threading.Lock()  # guards _examined and progress
        work = Shared(range(len(packs)))

        def run() -> None:
            try:
                for number in work:
                    check()
                    result = examine(packs[number])
                    with lock:
                        self._examined[packs[number]] = result
                        progress(len(self._examined), max(len(packs), len(self._examined)))
            except BaseException:
                work.stop()
                raise

        with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
            for future in [pool.submit(run) for _ in range(threads)]:
                future.result()

    def _ranges(self, names: frozenset[ChunkName] | set[ChunkName]) -> tuple[tuple[int, int], ...]:
        """Return the ranges of the disk that hold any of the names, neighbours joined."""
        ranges: list[tuple[int, int]] = []

        def add(start: int, end: int) -> None:
            end = min(end, self._manifest.size)
            if ranges and sum(ranges[-1]) == start:
                ranges[-1] = (ranges[-1][0], end - ranges[-1][0])
            elif end > start:
                ranges.append((start, end - start))

        for number, leaf in self._manifest.each() if names else ():
            start = number * LEAF
            if leaf in names:
                add(start, start + LEAF)
                continue
            for slot, chunk in enumerate(self._slots(number) or ()):
                if chunk in names:
                    add(start + slot * CHUNK, start + (slot + 1) * CHUNK)
        return tuple(ranges)


def stored_table(blobs: BlobStore, codec: Codec, pack: PackId, size: int) -> Table | None:
    """Return the table of a stored pack by reading its end; None when that cannot be read."""
    try:
        length = table_length(blobs.get(pack_key(pack), size - TRAILER))
        sealed = blobs.get(pack_key(pack), size - TRAILER - length, length)
        return read_table(pack, size, sealed, codec)
    except (BlobNotFound, Damaged):
        return None
