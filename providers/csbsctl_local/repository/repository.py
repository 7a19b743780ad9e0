"""The repository: disks stored as manifests of chunks in a blob store. The face of this package.

Usable from a script: ``Repository(DirectoryStore(path), PlainSealer(), clock=SystemClock())``. It knows nothing of
servers, snapshots or backups, and keeps no state outside the store but an optional cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from csbsctl.blobs import BlobStore, Sealer
from csbsctl.clock import Clock
from csbsctl.errors import Damaged

from .checkup import Checkup, Problem
from .collect import Collected, Collector
from .deposit import Check, Progress
from .layout import MANIFESTS, manifest_key
from .manifest import Written
from .parts import Parts
from .reader import Reader
from .restore import Restorer
from .source import BlockSource
from .verify import Depth, Flaw, PackExaminer, Proven, Verifier
from .write import Write


def _nothing() -> None: ...


def _no_progress(_done: int, _total: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """A stored disk as a listing shows it. ``modified`` is the store's time, ``bytes`` the size of the manifest."""

    name: str
    modified: datetime
    bytes: int


class Repository:
    """Stored disks in a blob store. One object serves one thread at a time; several processes may share a store."""

    def __init__(
        self,
        blobs: BlobStore,
        sealer: Sealer,
        *,
        clock: Clock,
        cache: Path | None = None,
        proven: Proven | None = None,
    ) -> None:
        """Open a repository; those that share ``proven`` do not read a pack twice that one of them just verified."""
        self._parts = Parts(blobs, sealer, clock, cache)
        self._proven = proven or Proven(clock)

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(
        self,
        source: BlockSource,
        *,
        manifest: str,
        parent: str | None = None,
        changed: Iterable[tuple[int, int]] | None = None,
        job: str,
        check: Check = _nothing,
        progress: Progress = _no_progress,
        threads: int = 2,
    ) -> Written:
        """Store a disk under a name, and return what that took; a name that exists already is left as it is.

        Args:
            source: the disk; it must hold still.
            manifest: the name to store it under, the same when an interrupted call is made again.
            parent: a stored earlier state of the disk.
            changed: byte ranges (offset, length) outside of which the disk equals the parent; None reads everything.
            job: what the collector has to wait for while this runs.
            check: raises to interrupt; called from several threads, and right before the manifest is stored.
            progress: takes bytes done and bytes to do, from several threads but one at a time.
            threads: how many read and compress.

        Raises:
            NotFound: the parent is not there.
            LeaseLost: somebody declared the job dead meanwhile; nothing is stored under the name.
        """
        request = Write(source, manifest, parent, changed, job, check, progress, threads)
        return request.run(self._parts)

    # -- reading ---------------------------------------------------------------------------------------------------

    def open(self, manifest: str) -> Reader:
        """Return random access to a stored disk. Raises NotFound and Damaged."""
        found = self._parts.manifest(manifest)
        self._parts.index.refresh()
        return Reader(found, self._parts.fetcher)

    def restore(
        self,
        manifest: str,
        fd: int,
        *,
        check: Check = _nothing,
        progress: Progress = _no_progress,
        threads: int = 2,
    ) -> None:
        """Write a stored disk into a file, sparse and durable; whatever the file held before is gone.

        Raises:
            NotFound: there is no such manifest.
            Damaged: part of it is lost; the file is incomplete.
            StoreUnavailable: the store or the file does not work.
        """
        found = self._parts.manifest(manifest)
        self._parts.index.refresh()
        Restorer(found, self._parts.fetcher, fd, check=check, progress=progress).run(threads)

    def verify(
        self,
        manifest: str,
        depth: Depth = "full",
        *,
        sample: float = 0.1,
        seed: int = 0,
        threads: int = 2,
        check: Check = _nothing,
        progress: Progress = _no_progress,
    ) -> list[Flaw]:
        """Return what is wrong with a stored disk, with the byte ranges it costs. Raises NotFound.

        ``full`` checks every byte of every pack involved, ``sample`` that of a share of them, ``quick`` presence.
        """
        try:
            found = self._parts.manifest(manifest)
        except Damaged as error:
            return [Flaw(error.message)]
        parts = self._parts
        for settled in (False, True):
            parts.index.refresh()
            examiner = PackExaminer(parts.blobs, parts.codec, parts.index)
            verifier = Verifier(found, parts.fetcher, parts.index, examiner, self._proven)
            flaws = verifier.run(
                depth, sample=sample, seed=seed, threads=threads, check=check, progress=progress
            )
            if not flaws or settled or not parts.settle(found):
                break
        return flaws

    def manifests(self) -> Iterator[ManifestInfo]:
        """Yield what is stored, by name."""
        for blob in self._parts.blobs.list(MANIFESTS):
            yield ManifestInfo(blob.key.removeprefix(MANIFESTS), blob.modified, blob.size)

    def describe(self, manifest: str) -> Written:
        """Return what writing a stored disk did. Raises NotFound and Damaged."""
        return self._parts.manifest(manifest).written

    # -- care ------------------------------------------------------------------------------------------------------

    def delete(self, manifest: str) -> None:
        """Delete a stored disk; already gone is fine. Others that share chunks with it keep them."""
        self._parts.blobs.delete(manifest_key(manifest))

    def collect(
        self,
        *,
        job: str,
        open_jobs: frozenset[str],
        budget_bytes: int = 256 * 1024 * 1024,
        check: Check = _nothing,
    ) -> Collected:
        """Delete what a former collection condemned and nobody needs, and condemn what nobody needs now.

        Args:
            job: this collection's own job.
            open_jobs: every job that is open, read before the call; those not in it count as ended.
            budget_bytes: how much compaction may copy.
            check: raises to interrupt.

        Raises:
            Damaged: what a manifest needs cannot be read, so nothing is deleted.
        """
        return Collector(self._parts, job, open_jobs, budget_bytes, check).run()

    def check(
        self, *, repair: bool = False, read_data: bool = False, job: str = "check", check: Check = _nothing
    ) -> list[Problem]:
        """Return what is wrong with the repository, the manifests it hurts, and whether it was repaired.

        The tables of all packs are read, with ``read_data`` every byte of them.
        """
        return Checkup(self._parts, job, read_data=read_data, check=check).run(repair=repair)
