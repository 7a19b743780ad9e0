"""The repository: disks stored as manifests of chunks in a blob store. The face of this package.

Usable from a script: ``Repository(DirectoryStore(path), PlainSealer(), clock=SystemClock())``. It knows nothing of
servers, snapshots or backups, and keeps no state outside the store but an optional cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from csbsctl.blobs import BlobExists, BlobNotFound, BlobStore, Sealer
from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock
from csbsctl.errors import Damaged, NotFound

from .codec import Codec
from .deposit import Check, Deposit, Progress
from .doom import DoomList
from .fetch import Fetcher
from .index import Index
from .layout import MANIFESTS, document_context, manifest_key
from .manifest import Manifest, Written, manifest_bytes, read_manifest
from .reader import Reader
from .restore import Restorer
from .session import Session
from .source import BlockSource
from .verify import Depth, Flaw, PackExaminer, Verifier
from .writer import DiskWriter

MANIFEST_STORED = Boundary(
    "repository.manifest.stored", "a manifest is stored, its writer has not deregistered yet"
)


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

    def __init__(self, blobs: BlobStore, sealer: Sealer, *, clock: Clock, cache: Path | None = None) -> None:
        self._blobs = blobs
        self._clock = clock
        self._codec = Codec(sealer)
        self._index = Index(blobs, self._codec, cache)
        self._fetcher = Fetcher(blobs, self._codec, self._index)
        self._doom = DoomList(blobs, self._codec)

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
        done = self._existing(manifest)
        if done:
            return done
        session = Session(self._blobs, self._codec, job)
        try:
            return self._write(session, source, manifest, parent, changed, check, progress, threads)
        finally:
            session.close()

    def _write(
        self,
        session: Session,
        source: BlockSource,
        name: str,
        parent: str | None,
        changed: Iterable[tuple[int, int]] | None,
        check: Check,
        progress: Progress,
        threads: int,
    ) -> Written:
        doomed = self._doom.packs()
        self._index.refresh()
        deposit = Deposit(self._blobs, self._codec, self._index, session, doomed)
        base = self._manifest(parent) if parent else None
        disk = DiskWriter(
            source,
            deposit,
            self._codec,
            fetcher=self._fetcher,
            parent=base,
            changed=changed if base else None,
            check=check,
            progress=progress,
        )
        disk.run(threads)
        deposit.finish()
        written = Written(name, disk.size, parent, read=disk.read, new=deposit.new, stored=deposit.stored)
        return self._commit(session, Manifest(written, self._clock.now(), bytes(disk.leaves)), check)

    def _commit(self, session: Session, manifest: Manifest, check: Check) -> Written:
        key = manifest_key(manifest.written.manifest)
        sealed = self._codec.encode(manifest_bytes(manifest), document_context(key))
        check()
        try:
            self._blobs.create(key, sealed)
        except BlobExists:
            return self._manifest(manifest.written.manifest).written
        MANIFEST_STORED()
        session.check()
        return manifest.written

    # -- reading ---------------------------------------------------------------------------------------------------

    def open(self, manifest: str) -> Reader:
        """Return random access to a stored disk. Raises NotFound and Damaged."""
        found = self._manifest(manifest)
        self._index.refresh()
        return Reader(found, self._fetcher)

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
        found = self._manifest(manifest)
        self._index.refresh()
        Restorer(found, self._fetcher, fd, check=check, progress=progress).run(threads)

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
            found = self._manifest(manifest)
        except Damaged as error:
            return [Flaw(error.message, ((0, 0),))]
        self._index.refresh()
        examiner = PackExaminer(self._blobs, self._codec, self._index)
        verifier = Verifier(found, self._fetcher, self._index, examiner)
        return verifier.run(depth, sample=sample, seed=seed, threads=threads, check=check, progress=progress)

    def manifests(self) -> Iterator[ManifestInfo]:
        """Yield what is stored, by name."""
        for blob in self._blobs.list(MANIFESTS):
            yield ManifestInfo(blob.key.removeprefix(MANIFESTS), blob.modified, blob.size)

    def describe(self, manifest: str) -> Written:
        """Return what writing a stored disk did. Raises NotFound and Damaged."""
        return self._manifest(manifest).written

    # -- care ------------------------------------------------------------------------------------------------------

    def delete(self, manifest: str) -> None:
        """Delete a stored disk; already gone is fine. Others that share chunks with it keep them."""
        self._blobs.delete(manifest_key(manifest))

    def _existing(self, name: str) -> Written | None:
        try:
            return self._manifest(name).written
        except NotFound:
            return None

    def _manifest(self, name: str) -> Manifest:
        key = manifest_key(name)
        try:
            sealed = self._blobs.get(key)
        except BlobNotFound:
            raise NotFound(f"the repository has no manifest {name}") from None
        try:
            return read_manifest(name, self._codec.decode(sealed, document_context(key)))
        except Damaged as error:
            raise Damaged(f"manifest {name}: {error.message}") from None
