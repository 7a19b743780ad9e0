"""The course of a write: register, read the doom list and the index, store the disk, rescue, commit, deregister."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from csbsctl.blobs import BlobExists
from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, Damaged, LeaseLost, NotFound

from .copier import rescue
from .deposit import Check, Deposit, Progress
from .layout import PackId, document_context, manifest_key
from .manifest import Manifest, Written, leaf_names, manifest_bytes
from .parts import Parts
from .session import Session, end_session, packs_of, sessions
from .source import BlockSource
from .verify import stored_table
from .writer import DiskWriter

REGISTERED = Boundary("repository.session.stored", "a writer has registered and stored nothing else yet")
MANIFEST_STORED = Boundary(
    "repository.manifest.stored", "a manifest is stored, its writer is still registered"
)


@dataclass(frozen=True, slots=True)
class Write:
    """A disk to be written, and under what name."""

    source: BlockSource
    manifest: str
    parent: str | None
    changed: Iterable[tuple[int, int]] | None
    job: str
    check: Check
    progress: Progress
    threads: int

    def run(self, parts: Parts) -> Written:
        """Store the disk unless its manifest exists; see ``Repository.write``."""
        try:
            return parts.manifest(self.manifest).written
        except NotFound:
            pass
        session = Session(parts.blobs, parts.codec, self.job, self.manifest)
        try:
            REGISTERED()
            return self._run(parts, session)
        finally:
            session.close()

    def _run(self, parts: Parts, session: Session) -> Written:
        doomed = parts.doom.packs()
        parts.index.refresh()
        self._adopt(parts, session, doomed)
        parent = parts.manifest(self.parent) if self.parent else None
        deposit = Deposit(parts.blobs, parts.codec, parts.index, session, doomed)
        disk = DiskWriter(
            self.source,
            deposit,
            parts.codec,
            fetcher=parts.fetcher,
            parent=parent,
            changed=self.changed if parent else None,
            lost=parts.lost() if parent else frozenset(),
            check=self.check,
            progress=self.progress,
        )
        disk.run(self.threads)
        deposit.finish()
        written = Written(
            self.manifest, disk.size, self.parent, read=disk.read, new=deposit.new, stored=deposit.stored
        )
        manifest = Manifest(written, parts.clock.now(), bytes(disk.leaves))
        written = self._commit_safely(parts, session, deposit, manifest)
        with suppress(LeaseLost):  # it is stored, and others merge as well
            parts.index.merge(avoid=parts.doom.packs, fence=session.check)
        return written

    def _adopt(self, parts: Parts, session: Session, doomed: set[PackId]) -> None:
        """Take over what an earlier, interrupted call for this manifest stored but did not come to index.

        Not what is doomed: it may go at any moment, and an index that knows it would mislead those who come later.
        """
        known = parts.index.packs().keys() | doomed
        for other in list(sessions(parts.blobs, parts.codec, but=session.nonce)):
            if (other.job, other.writes) != (self.job, self.manifest):
                continue
            tables = [
                table
                for pack, size in packs_of(parts.blobs, other.nonce)
                if pack not in known and (table := stored_table(parts.blobs, parts.codec, pack, size))
            ]
            if tables:
                parts.index.store(tables, fence=session.check)
            end_session(parts.blobs, other.nonce)

    def _commit_safely(self, parts: Parts, session: Session, deposit: Deposit, manifest: Manifest) -> Written:
        """Commit a manifest whose every chunk is stored where it may stay.

        What is inherited unread is safe while the parent exists: whoever marks before our commit sees the parent,
        whoever marks after it sees ours. A parent deleted meanwhile protects nothing, so then everything is looked
        at. Verdicts that came since we registered wait for us; rescuing from them keeps the collector's way free.
        """
        while True:
            orphan = self.parent is not None and not parts.has_manifest(self.parent)
            if orphan or not parts.doom.packs() <= deposit.avoid:
                rescue(parts, deposit, manifest.leaves)
            written = self._commit(parts, session, manifest)
            if orphan or self.parent is None or parts.has_manifest(self.parent):
                return written
            self._take_back(parts, manifest)

    def _commit(self, parts: Parts, session: Session, manifest: Manifest) -> Written:
        key = manifest_key(self.manifest)
        sealed = parts.codec.encode(manifest_bytes(manifest), document_context(key))
        session.check()
        self.check()
        try:
            parts.blobs.create(key, sealed)
        except BlobExists:
            return parts.manifest(self.manifest).written
        MANIFEST_STORED()
        try:
            # the collector ends a session before it deletes what that session may rely on, so this settles it
            session.check()
        except LeaseLost:
            self._leave(parts, manifest)
            raise
        return manifest.written

    def _take_back(self, parts: Parts, manifest: Manifest) -> None:
        """Remove the manifest that was just committed, unless others may have come to rely on it."""
        try:
            self.check()
        except LeaseLost:
            self._leave(parts, manifest)
            raise
        except CsbsError:
            parts.blobs.delete(manifest_key(self.manifest))
            raise
        parts.blobs.delete(manifest_key(self.manifest))

    def _leave(self, parts: Parts, manifest: Manifest) -> None:
        """Make sure of a manifest on the way out: we were declared dead, and who took over may rely on it.

        It goes only when something it needs is gone: then it came after the collector had looked, and nobody relies
        on it.
        """
        session = Session(parts.blobs, parts.codec, self.job, self.manifest)
        try:
            deposit = Deposit(parts.blobs, parts.codec, parts.index, session, parts.doom.packs())
            rescue(parts, deposit, manifest.leaves)
        except Damaged:
            parts.index.refresh()
            if not self._indexed(parts, manifest):
                parts.blobs.delete(manifest_key(self.manifest))
        finally:
            session.close()

    def _indexed(self, parts: Parts, manifest: Manifest) -> bool:
        """Say whether the index knows all that a manifest needs, readable or not."""
        for _, leaf in manifest.each():
            if parts.index.find(leaf) is None:
                return False
            try:
                names = leaf_names(parts.fetcher.item(leaf))
            except Damaged:
                continue
            if any(parts.index.find(name) is None for name in names):
                return False
        return True
