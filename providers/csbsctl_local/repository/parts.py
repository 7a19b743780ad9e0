"""What every operation on a repository works with, put together once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from csbsctl.blobs import BlobNotFound, BlobStore, Sealer
from csbsctl.clock import Clock
from csbsctl.errors import Damaged, NotFound
from csbsctl.ids import new_id

from .codec import Codec
from .doom import DoomList
from .fetch import Fetcher
from .index import Index
from .layout import LOST, MANIFESTS, NAME, ChunkName, document_context, manifest_key
from .manifest import Manifest, read_manifest


class Parts:
    """Store, codec, index, fetcher and doom list of one repository, and its manifests by name."""

    def __init__(self, blobs: BlobStore, sealer: Sealer, clock: Clock, cache: Path | None) -> None:
        self.blobs = blobs
        self.lag = float(getattr(blobs, "lag", 0.0))
        """For how many seconds a listing may miss what was created, or show what was deleted."""
        self.clock = clock
        self.codec = Codec(sealer)
        self.index = Index(blobs, self.codec, cache, lag=self.lag)
        self.fetcher = Fetcher(blobs, self.codec, self.index, clock=clock, lag=self.lag)
        self.doom = DoomList(blobs, self.codec)

    def manifest(self, name: str) -> Manifest:
        """Return a manifest. Raises NotFound and Damaged."""
        key = manifest_key(name)
        try:
            sealed = self.blobs.get(key)
        except BlobNotFound:
            raise NotFound(f"the repository has no manifest {name}") from None
        try:
            return read_manifest(name, self.codec.decode(sealed, document_context(key)))
        except Damaged as error:
            raise Damaged(f"manifest {name}: {error.message}") from None

    def settle(self, manifest: Manifest) -> bool:
        """Wait until listings show all that a manifest just stored needs; False when it is old, or they never lag."""
        young = self.clock.now() - manifest.created_at < timedelta(seconds=2 * self.lag)
        while young and self.fetcher.wait():
            pass
        return young and self.lag > 0

    def has_manifest(self, name: str) -> bool:
        """Say whether a manifest exists."""
        try:
            self.blobs.get(manifest_key(name), 0, 1)
        except BlobNotFound:
            return False
        return True

    def manifest_names(self) -> list[str]:
        """Return the names of all manifests."""
        return [blob.key.removeprefix(MANIFESTS) for blob in self.blobs.list(MANIFESTS)]

    def lost(self) -> frozenset[ChunkName]:
        """Return the names that a repair found lost, less those that somebody has stored since."""
        return frozenset(
            name for names in self.lost_lists().values() for name in names if self.index.find(name) is None
        )

    def lost_lists(self) -> dict[str, list[ChunkName]]:
        """Return the names in every list of lost ones, by key; one that is damaged itself counts as empty."""
        return {key: list(self._lost_names(key)) for key in [blob.key for blob in self.blobs.list(LOST)]}

    def store_lost(self, names: set[ChunkName]) -> None:
        """Store a list of lost names, so that writers read those chunks again instead of trusting a parent."""
        key = LOST + new_id().replace("-", "")
        self.blobs.create(key, self.codec.encode(b"".join(sorted(names)), document_context(key)))

    def _lost_names(self, key: str) -> Iterator[ChunkName]:
        try:
            plain = self.codec.decode(self.blobs.get(key), document_context(key))
        except (BlobNotFound, Damaged):
            return
        for at in range(0, len(plain), NAME):
            yield ChunkName(plain[at : at + NAME])
