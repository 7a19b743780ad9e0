"""Marking: what all manifests together need, as one byte for each row of the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from csbsctl.errors import NotFound

from .deposit import Check
from .layout import ChunkName, PackId
from .manifest import Manifest, leaf_names
from .parts import Parts
from .run import Run

Item = TypeVar("Item")
_AT_ONCE = 8
"""Manifests that are read side by side: in a bucket every one is a round trip."""
_BATCH = 64


class Marks:
    """The result of marking. ``live`` counts what is needed in each pack, ``absent`` are names needed and not there.

    A name with several copies is marked in one of them, outside the packs to avoid where there is a choice, so that
    the other copies count as dead.
    """

    def __init__(self, parts: Parts, *, avoid: Collection[PackId], check: Check) -> None:
        self._parts = parts
        self._avoid = avoid
        names = parts.manifest_names()
        parts.index.refresh()  # after the listing, so that it knows whatever those manifests refer to
        self._runs: list[tuple[Run, bytearray]] = [
            (run, bytearray(run.rows)) for run in parts.index.runs.values()
        ]
        self.live: Counter[PackId] = Counter()
        self.absent: set[ChunkName] = set()
        self._lost = parts.lost()
        remote = bool(getattr(parts.blobs, "remote", False))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mark") as pool:
            for some in _batches(names):
                check()
                # a small file is read in less time than it takes to hand it to a thread
                manifests = pool.map(self._read, some) if remote else map(self._read, some)
                self._mark_manifests((each for each in manifests if each is not None), check)

    def totals(self) -> Counter[PackId]:
        """Return how many chunks and leaves each pack holds, needed or not."""
        totals: Counter[PackId] = Counter()
        for run, _ in self._runs:
            for pack, count in run.counts().items():
                totals[pack] = max(totals[pack], count)
        return totals

    def living_in(self, packs: Collection[PackId]) -> Iterator[tuple[PackId, ChunkName]]:
        """Yield what is marked in some packs, pack by pack in the order it is stored."""
        found = []
        for run, marks in self._runs:
            row = marks.find(1)
            while row >= 0:
                place = run.place(row)
                if place.pack in packs:
                    found.append((place, run.name(row)))
                row = marks.find(1, row + 1)
        for place, name in sorted(found):
            yield place.pack, name

    def _read(self, name: str) -> Manifest | None:
        try:
            return self._parts.manifest(name)
        except NotFound:
            return None  # deleted since it was listed

    def _mark_manifests(self, manifests: Iterable[Manifest], check: Check) -> None:
        leaves = (leaf for manifest in manifests for _, leaf in manifest.each())
        fresh = (leaf for leaf in leaves if self._mark(leaf) and leaf not in self._lost)
        fetcher = self._parts.fetcher
        for some in _batches(fresh):
            check()
            found = fetcher.leaves(some)
            for leaf in some:
                for chunk in leaf_names(found.get(leaf) or fetcher.item(leaf)):
                    self._mark(chunk)

    def _mark(self, name: ChunkName) -> bool:
        """Mark a name; say whether this was the first time."""
        chosen: tuple[bytearray, int, PackId] | None = None
        for run, marks in self._runs:
            row = run.row(name)
            while 0 <= row < run.rows and run.name(row) == name:
                if marks[row]:
                    return False
                pack = run.pack(row)
                if chosen is None or (chosen[2] in self._avoid and pack not in self._avoid):
                    chosen = marks, row, pack
                row += 1
        if chosen is None:
            first = name not in self.absent
            self.absent.add(name)
            return first
        chosen[0][chosen[1]] = 1
        self.live[chosen[2]] += 1
        return True


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items a few at a time, so that what is read ahead does not grow with the disks."""
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
