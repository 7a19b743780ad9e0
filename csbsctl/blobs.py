"""What the core asks of an object store, and what a provider is handed to keep bytes in the vault.

Two small contracts: a BlobStore moves named immutable bytes, a Sealer encrypts and names them. Neither knows what the
bytes mean. Implementations of stores live in ``csbsctl.vault.stores``; all pass ``tests/conformance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

Buffer = bytes | bytearray | memoryview


class Blob(NamedTuple):
    """One stored object: its key, its size in bytes, and when the store says it was written (UTC)."""

    key: str
    size: int
    modified: datetime


class BlobNotFound(Exception):
    """No object under this key."""


class BlobExists(Exception):
    """Create-if-absent lost: the key is taken."""


class BlobStore(Protocol):
    """Named bytes. Keys are ``/``-separated ASCII without ``.`` or empty segments.

    Every method raises ``csbsctl.errors.StoreUnavailable`` when the store does not answer, is full or refuses.
    """

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or the range of them; a range past the end is cut short. Raises BlobNotFound."""
        ...

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """Store bytes under a key that nobody has; durable on return. Raises BlobExists.

        ``authenticated`` says that the bytes prove themselves (packs), so a store may skip a checksum of its own.
        """
        ...

    def put(self, key: str, data: Buffer) -> None:
        """Store bytes, replacing what was there atomically; durable on return. For heartbeats and caches only."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; absent is fine."""
        ...

    def delete_all(self, keys: Collection[str]) -> None:
        """Remove objects in no order that means anything, in few requests where the store can; absent is fine."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """Yield the objects whose keys start with the prefix, in key order, those greater than ``after``."""
        ...

    def now(self) -> datetime:
        """Return the store's own time (UTC), which dates objects; not the caller's clock."""
        ...


@dataclass(frozen=True, slots=True)
class ScopedStore:
    """A part of a store: every key lives below a prefix (which ends in ``/``)."""

    inner: BlobStore
    prefix: str

    @property
    def remote(self) -> bool:
        """Whether every request is a round trip, so that many should be under way at once."""
        return bool(getattr(self.inner, "remote", False))

    @property
    def lag(self) -> float:
        """For how many seconds a listing may miss what was created, or show what was deleted."""
        return float(getattr(self.inner, "lag", 0.0))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        return self.inner.get(self.prefix + key, start, length)

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        self.inner.create(self.prefix + key, data, authenticated=authenticated)

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        self.inner.put(self.prefix + key, data)

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self.inner.delete(self.prefix + key)

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        self.inner.delete_all([self.prefix + key for key in keys])

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        cut = len(self.prefix)
        for blob in self.inner.list(self.prefix + prefix, self.prefix + after if after else ""):
            yield blob._replace(key=blob.key[cut:])

    def now(self) -> datetime:
        """See BlobStore."""
        return self.inner.now()


class Sealer(Protocol):
    """Encrypts and authenticates bytes, and names content. Thread-safe; releases the GIL on large inputs."""

    algorithm: str
    overhead: int

    def seal(self, plain: Buffer, context: bytes) -> bytes:
        """Return the sealed form, bound to a context (where it is stored, as what)."""
        ...

    def open(self, sealed: Buffer, context: bytes) -> bytes:
        """Return the plain bytes. Raises ``csbsctl.errors.Damaged`` when they or the context are not authentic."""
        ...

    def name(self, content: Buffer) -> bytes:
        """Return the 32-byte identity of content: BLAKE3, keyed in an encrypted vault so that it reveals nothing."""
        ...


class PlainSealer:
    """For a vault without encryption: seals with a 16-byte digest only, so that damage is still found."""

    algorithm = "none"
    overhead = 16

    def seal(self, plain: Buffer, context: bytes) -> bytes:
        """Return the bytes followed by a digest of context and bytes."""
        return b"".join((plain, _digest(plain, context)))

    def open(self, sealed: Buffer, context: bytes) -> bytes:
        """Return the bytes before the digest. Raises Damaged when it does not fit."""
        from csbsctl.errors import Damaged  # noqa: PLC0415 - keeps the two ground-floor modules independent

        view = memoryview(sealed)
        plain, digest = view[: -self.overhead], view[-self.overhead :]
        if _digest(plain, context) != digest:
            raise Damaged("stored bytes do not match their digest")
        return bytes(plain)

    def name(self, content: Buffer) -> bytes:
        """Return the BLAKE3 digest of the content."""
        from blake3 import blake3  # noqa: PLC0415 - only paths that touch data pay for it

        return blake3(content).digest()


def _digest(plain: Buffer, context: bytes) -> bytes:
    from blake3 import blake3  # noqa: PLC0415 - only paths that touch data pay for it

    return blake3(context + len(context).to_bytes(4, "big")).update(plain).digest(length=PlainSealer.overhead)
