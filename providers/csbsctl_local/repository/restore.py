"""Restoring a stored disk into a file: sparse, in parallel, and durable on return."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from csbsctl.errors import Damaged, StoreUnavailable

from .deposit import Check, Progress
from .fetch import Fetcher, Segment, cut
from .layout import CHUNK, LEAF, ZERO, ChunkName
from .leaves import LeafReader
from .manifest import Manifest, leaf_count
from .pack import Place
from .work import Shared
from .write_behind import WriteBehind

_Piece = tuple[int, Place, ChunkName]
"""Offset on the disk, where it is stored, its name."""


class Restorer:
    """Writes one stored disk into a file descriptor."""

    def __init__(
        self, manifest: Manifest, fetcher: Fetcher, fd: int, *, check: Check, progress: Progress
    ) -> None:
        self._manifest = manifest
        self._size = manifest.size
        self._fetcher = fetcher
        self._leaves = LeafReader(manifest, fetcher)
        self._fd = fd
        self._check = check
        self._progress = progress
        self._behind = WriteBehind(fd)
        self._lock = threading.Lock()  # guards _done and progress
        self._done = 0
        self._total = 0

    def run(self, threads: int) -> None:
        """Restore everything; on an error the file is left as it is by then.

        Raises:
            Damaged: a chunk is lost.
            StoreUnavailable: the target cannot be written.
        """
        try:
            sparse = self._prepare()
            numbers = [number for number, _ in self._manifest.each()]
            if not sparse:
                numbers = list(range(leaf_count(self._size)))
            self._total = len(numbers) * LEAF
            work = Shared(numbers)
            with self._behind, ThreadPoolExecutor(threads, thread_name_prefix="restore") as pool:
                for result in [pool.submit(self._work, work, sparse=sparse) for _ in range(threads)]:
                    result.result()
                self._behind.finish()
        except OSError as error:
            raise StoreUnavailable(f"cannot write the restored disk: {error.strerror}") from error

    def _prepare(self) -> bool:
        """Make a regular file one hole of the right size; False for a device, where zeros are written instead."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return False
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, self._size)
        return True

    def _work(self, work: Shared, *, sparse: bool) -> None:
        try:
            for number in work:
                self._check()
                self._restore_leaf(number, sparse=sparse)
        except BaseException:
            work.stop()
            raise

    def _restore_leaf(self, number: int, *, sparse: bool) -> None:
        wanted: dict[Segment, list[_Piece]] = {}
        for slot, chunk in enumerate(self._leaves.slots(number)):
            if chunk is not None:
                place = self._fetcher.place(chunk)
                if place is None:
                    raise Damaged(f"chunk {chunk.hex()[:16]} at byte {number * LEAF + slot * CHUNK} is lost")
                piece = (number * LEAF + slot * CHUNK, place, chunk)
                wanted.setdefault(place[:3], []).append(piece)
        if not sparse:
            self._write_zeros(number, {piece[0] for pieces in wanted.values() for piece in pieces})
        for segment, plain in self._fetcher.segments(list(wanted)):
            self._write_segment(plain, wanted[segment])
        self._advance()

    def _write_segment(self, plain: bytes | Damaged, pieces: list[_Piece]) -> None:
        if isinstance(plain, Damaged):
            for offset, _, name in pieces:
                self._write(offset, self._fetcher.item(name))
            return
        view = memoryview(plain)
        for offset, first, count in _stretches(pieces):
            cut(plain, pieces[0][1]._replace(slot=first + count - 1))
            self._write(offset, view[first * CHUNK : (first + count) * CHUNK])

    def _write_zeros(self, number: int, written: set[int]) -> None:
        for offset in range(number * LEAF, min((number + 1) * LEAF, self._size), CHUNK):
            if offset not in written:
                self._write(offset, ZERO)

    def _write(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)[: max(0, self._size - offset)]
        while view:
            count = os.pwrite(self._fd, view, offset)
            self._behind.wrote(count)
            view, offset = view[count:], offset + count

    def _advance(self) -> None:
        with self._lock:
            self._done += LEAF
            self._progress(min(self._done, self._total), self._total)


def _stretches(pieces: list[_Piece]) -> Iterator[tuple[int, int, int]]:
    """Yield (offset on the disk, first slot, count) of pieces that are neighbours on both sides."""
    offset, first, count = 0, 0, 0
    for at, place, _ in pieces:
        if count and at == offset + count * CHUNK and place.slot == first + count:
            count += 1
            continue
        if count:
            yield offset, first, count
        offset, first, count = at, place.slot, 1
    if count:
        yield offset, first, count
