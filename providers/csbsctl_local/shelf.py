"""The shelf: disks stored in the repository, each with a record of what it is and whose marker it carries.

The record is written before the disk: whatever a crash leaves has a marker. Only the manifest makes it exist.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csbsctl.blobs import BlobExists, BlobNotFound, BlobStore
from csbsctl.errors import CloudRefused, Damaged, NotFound
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl.provider import Host, Marker

if TYPE_CHECKING:
    from csbsctl_local.repository import Proven, Reader, Repository, Written

_RECORDS = "records/"
_FAR_READERS = 6
_FAR_WRITERS = 4
"""While one thread waits for its pack of 12 MiB to be stored, others compress; each costs memory for two packs."""


@dataclass(frozen=True, slots=True)
class ShelfRecord:
    """What is known of a stored disk: the fields of its StoredVolume, its marker, and enough to rebuild a backup."""

    name: str
    volume: dict[str, Any]
    marker: Marker
    details: dict[str, Any]


class Shelf:
    """Stored disks and their records. A repository per thread, because one serves one at a time."""

    def __init__(self, host: Host, cache: Path) -> None:
        self._host, self._cache = host, cache
        self._local = threading.local()
        self._proven: Proven | None = None
        self._opening = threading.Lock()  # guards _proven, which all repositories share

    @property
    def ready(self) -> bool:
        """Say whether there is a vault to store in."""
        return self._host.blobs is not None and self._host.sealer is not None

    def readers(self, threads: int) -> int:
        """Return how many threads read a stored disk: more than were asked for where the vault is far away."""
        return max(threads, _FAR_READERS) if getattr(self._host.blobs, "remote", False) else threads

    def writers(self, threads: int) -> int:
        """Return how many threads store a disk: more than were asked for where the vault is far away."""
        return max(threads, _FAR_WRITERS) if getattr(self._host.blobs, "remote", False) else threads

    @property
    def repository(self) -> Repository:
        """Return this thread's repository. Raises CloudRefused where there is no vault."""
        if self._host.sealer is None:
            raise CloudRefused(
                "there is no vault to keep data in", code="vault.absent", hint="run: csbsctl apply"
            )
        found: Repository | None = getattr(self._local, "repository", None)
        if found is None:
            # Who only looks at servers needs no repository, and there is a lot of it.
            from csbsctl_local.repository import Proven, Repository  # noqa: PLC0415

            with self._opening:
                self._proven = self._proven or Proven(self._host.clock)
            cache = self._cache if self._cache.parent.is_dir() else None
            found = Repository(
                self._blobs, self._host.sealer, clock=self._host.clock, cache=cache, proven=self._proven
            )
            self._local.repository = found
        return found

    def open(self, name: str) -> Reader:
        """Open a stored disk for reading. Raises NotFound."""
        return self.repository.open(name)

    def written(self, name: str) -> Written | None:
        """Return what storing a disk took, or None when it is not (wholly and legibly) there."""
        try:
            return self.repository.describe(name)
        except (NotFound, Damaged):
            return None

    def announce(self, record: ShelfRecord) -> None:
        """Write the record of a disk about to be stored; the first one stays."""
        plain = json.dumps(
            {"volume": record.volume, "marker": asdict(record.marker), "details": record.details}
        )
        key = _RECORDS + record.name
        assert self._host.sealer
        try:
            self._blobs.create(key, self._host.sealer.seal(plain.encode(), key.encode()), authenticated=True)
        except BlobExists:
            return

    def record(self, name: str) -> ShelfRecord | None:
        """Return the record of a disk, or None."""
        key = _RECORDS + name
        assert self._host.sealer
        try:
            sealed = self._blobs.get(key)
        except BlobNotFound:
            return None
        document = json.loads(self._host.sealer.open(sealed, key.encode()))
        return ShelfRecord(name, document["volume"], Marker(**document["marker"]), document["details"])

    def names(self) -> Iterator[str]:
        """Yield the names of all disks, stored or begun."""
        if self.ready:
            for blob in self._blobs.list(_RECORDS):
                yield blob.key.removeprefix(_RECORDS)

    def records(self) -> Iterator[ShelfRecord]:
        """Yield the records of all disks, stored or begun; one that is damaged tells nothing."""
        for name in self.names():
            try:
                record = self.record(name)
            except Damaged:
                continue
            if record:
                yield record

    def delete(self, name: str) -> None:
        """Delete a stored disk and its record; already gone is fine."""
        self.repository.delete(name)
        self._blobs.delete(_RECORDS + name)

    @property
    def _blobs(self) -> BlobStore:
        if self._host.blobs is None:
            raise CloudRefused(
                "there is no vault to keep data in", code="vault.absent", hint="run: csbsctl apply"
            )
        return self._host.blobs


def stored_volume(record: ShelfRecord, written: Written) -> StoredVolume:
    """Return a stored disk as the catalogue has it; its data stands alone, whatever it was taken from."""
    kind = Kind.INCREMENTAL if written.parent else Kind.FULL
    return StoredVolume(**record.volume, ref=record.name, kind=kind, stored=written.stored)
