"""The index: all runs of the repository as one lookup, kept up to date with the store and bounded in number.

The index is derived: every fact in it is also in the table of a pack, and ``check`` builds it anew from those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from csbsctl.blobs import BlobNotFound, BlobStore
from csbsctl.errors import CsbsError, Damaged
from csbsctl.ids import new_id

from .codec import Codec
from .layout import INDEXES, ChunkName, PackId, document_context
from .pack import Place, Table
from .run import Run, merged, run_of_tables

_NEVER_MERGED = 32 * 1024 * 1024
_MERGE_AT = 6
_LISTINGS = 10
Fence = Callable[[], None]
"""Raises when the caller was declared dead: the packs that it knows may be gone, and nobody may hear of them from it."""


class Index:
    """Every run of a repository, searchable. Lookups are safe from any thread; refreshing and storing are not."""

    def __init__(
        self, blobs: BlobStore, codec: Codec, cache: Path | None = None, *, lag: float = 0.0
    ) -> None:
        self._blobs = blobs
        self._codec = codec
        self._cache = cache / "index" if cache else None
        self._lag = timedelta(seconds=lag)
        self._stored: dict[str, datetime] = {}
        """When each run was stored, by the store's time."""
        self.runs: dict[str, Run] = {}
        """Replaced as a whole, never changed in place, so that a lookup in another thread sees one state."""
        self.damaged: dict[str, str] = {}
        """Keys of index objects that cannot be read, and why: the rest is used, and ``check`` repairs."""

    def refresh(self) -> None:
        """Take in what others stored and forget what they merged away."""
        for _ in range(_LISTINGS):
            if self._refreshed():
                return
        raise Damaged("the index changed under every attempt to read it")

    def find(self, name: ChunkName, avoid: Collection[PackId] = ()) -> Place | None:
        """Return a place of a chunk outside the packs to avoid, or None."""
        for run in self.runs.values():
            row = run.row(name)
            while row >= 0:
                place = run.place(row)
                if place.pack not in avoid:
                    return place
                row = run.row(name, row + 1)
        return None

    def places(self, name: ChunkName) -> Iterator[Place]:
        """Yield every place of a chunk."""
        for run in self.runs.values():
            yield from run.find(name)

    def packs(self) -> dict[PackId, int]:
        """Return every pack known, and its size."""
        return {pack: size for run in self.runs.values() for pack, size in run.packs}

    def store(self, tables: Iterable[Table], fence: Fence) -> int:
        """Store the tables of some packs as one more run; return the bytes that took."""
        return self._store(run_of_tables(tables), fence)

    def merge(self, avoid: Callable[[], Collection[PackId]], fence: Fence) -> None:
        """Merge small runs when there are many; those that know a pack to avoid (asked for then) are left alone.

        Merged away objects may be read by others at this moment; they find them gone and list again.
        """
        over = self._superseded()
        if len(self._small(over)) < _MERGE_AT and not over:
            return
        # What went while we wrote must not come back: it knows packs that are gone. Asked first: a verdict is lifted
        # only when no listing shows any more what knew its packs.
        avoided = avoid()
        self.refresh()
        over = self._superseded(avoided)
        small = self._small(over, avoided)
        chosen: list[str] = []
        total = 0
        for size, key in small:
            if len(chosen) >= _MERGE_AT // 2 and size > total:
                break
            chosen.append(key)
            total += size
        if len(chosen) >= _MERGE_AT:
            self._replace(chosen, fence)
        self._remove_superseded(over)

    def supersede(
        self, packs: Collection[PackId], dead: Collection[PackId], avoid: Collection[PackId], fence: Fence
    ) -> None:
        """Store what is to replace the runs that know one of the packs; ``drop`` removes those when all can see it.

        What is stored knows nothing that is dead: others may be about to drop that. For ``avoid`` see ``drop``.
        """
        for run in list(self.runs.values()):
            if any(pack in packs for pack, _ in run.packs):
                plain = merged([run], dead)
                if Run(plain).packs and not self._known_elsewhere(run, dead, avoid):
                    self._store(plain, fence)

    def drop(self, packs: Collection[PackId], fence: Fence, avoid: Collection[PackId] = ()) -> None:
        """Rewrite every run that knows one of the packs, without them.

        Where listings lag, a run that knows a pack to avoid may be gone although it is listed: it does not count.
        """
        for key, run in list(self.runs.items()):
            if any(pack in packs for pack, _ in run.packs):
                if not self._known_elsewhere(run, packs, avoid):
                    self._store(merged([run], packs), fence)
                self.remove(key)

    def remove(self, key: str) -> None:
        """Remove an index object, a damaged one say."""
        self._blobs.delete(key)
        self.runs = {other: run for other, run in self.runs.items() if other != key}
        self.damaged.pop(key, None)

    def _replace(self, keys: list[str], fence: Fence) -> None:
        plain = merged([self.runs[key] for key in keys])
        if Run(plain).packs:
            self._store(plain, fence)
        if not self._lag:  # else a listing that shows neither the old nor the new would lose what they know
            for key in keys:
                self.remove(key)

    def _known_elsewhere(self, run: Run, dropped: Collection[PackId], avoid: Collection[PackId] = ()) -> bool:
        """Say whether other runs that know none of the packs dropped or to avoid know every other pack of this one."""
        left = {pack for pack, _ in run.packs if pack not in dropped}
        gone = {*dropped, *avoid}
        clean = [other for other in self.runs.values() if not any(pack in gone for pack, _ in other.packs)]
        return left <= {pack for other in clean for pack, _ in other.packs}

    def _small(self, over: Collection[str], avoid: Collection[PackId] = ()) -> list[tuple[int, str]]:
        """Return size and key of the runs that may be merged, smallest first."""
        return sorted(
            (run.size, key)
            for key, run in self.runs.items()
            if run.size < _NEVER_MERGED
            and key not in over
            and not any(pack in avoid for pack, _ in run.packs)
        )

    def _superseded(self, avoid: Collection[PackId] = ()) -> dict[str, datetime]:
        """Return the runs all of whose packs a later one knows, and since when; only where listings lag there are any.

        One that knows a pack to avoid may be gone although a listing shows it: nothing is superseded by it.
        """
        if not self._lag:
            return {}
        over: dict[str, datetime] = {}
        packs = {key: {pack for pack, _ in run.packs} for key, run in self.runs.items()}
        for key, own in packs.items():
            later = [
                self._stored[other]
                for other, known in packs.items()
                if own <= known
                and (self._stored[other], other) > (self._stored[key], key)
                and not any(pack in avoid for pack in known)
            ]
            if later:
                over[key] = min(later)
        return over

    def _remove_superseded(self, over: Mapping[str, datetime]) -> None:
        if over:
            now = self._blobs.now()
            for key, since in over.items():
                if since + self._lag < now:
                    self.remove(key)

    def _store(self, plain: bytes, fence: Fence) -> int:
        key = INDEXES + new_id().replace("-", "")
        sealed = self._codec.encode(plain, document_context(key))
        self._blobs.create(key, sealed, authenticated=True)
        if self._lag:
            self._stored[key] = self._blobs.now()
        self.runs = {key: Run(plain), **self.runs}
        try:
            fence()
        except CsbsError:
            self.remove(key)
            raise
        self._keep(key, sealed)
        return len(sealed)

    def _refreshed(self) -> bool:
        stored = {blob.key: blob.modified for blob in self._blobs.list(INDEXES)}
        if self._lag:  # a run of our own that no listing shows yet is there all the same
            recent = self._blobs.now() - 2 * self._lag
            stored = {
                **{key: at for key, at in self._stored.items() if key in self.runs and at > recent},
                **stored,
            }
        runs, damaged = {}, {}
        for key in stored:
            try:
                runs[key] = self.runs.get(key) or self._load(key)
            except BlobNotFound:
                if not self._lag:
                    return False
                # it was superseded long ago by what every listing shows, and this listing lags
            except Damaged as error:
                damaged[key] = error.message
        self.runs, self.damaged, self._stored = runs, damaged, stored
        return True

    def _load(self, key: str) -> Run:
        kept = self._kept(key)
        if kept and kept.exists():
            try:
                return self._opened(key, kept.read_bytes())
            except Damaged:
                kept.unlink()  # the cache is a convenience; the store has the truth
        sealed = self._blobs.get(key)
        run = self._opened(key, sealed)
        self._keep(key, sealed)
        return run

    def _kept(self, key: str) -> Path | None:
        return self._cache / key.rpartition("/")[2] if self._cache else None

    def _keep(self, key: str, sealed: bytes) -> None:
        """Put an index object into the cache, one that we have just stored ourselves too."""
        kept = self._kept(key)
        if kept is None:
            return
        with suppress(OSError):  # a convenience, see above
            kept.parent.mkdir(parents=True, exist_ok=True)
            fresh = kept.with_name(f"{kept.name}.{new_id()}")
            fresh.write_bytes(sealed)
            fresh.replace(kept)

    def _opened(self, key: str, sealed: bytes) -> Run:
        return Run(self._codec.decode(sealed, document_context(key)))
