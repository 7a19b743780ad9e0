"""What the vault asks of its own store, beyond the BlobStore a provider sees: cheap listings of names.

Two more verbs, because a catalogue of ten thousand servers is found by names alone. A store that cannot do better
derives both from ``list``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from csbsctl.blobs import BlobStore
from csbsctl.errors import StoreUnavailable


class Store(BlobStore, Protocol):
    """A BlobStore that also lists keys without sizes and times, and folders without their contents."""

    @property
    def parallel(self) -> int:
        """How many requests are best in flight at once."""
        ...

    @property
    def remote(self) -> bool:
        """Whether requests cross a network: each takes milliseconds, and a listing may miss what was just created."""
        ...

    @property
    def lag(self) -> float:
        """For how many seconds a listing may miss what was created, or show what was deleted; 0: never. Reads do not."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, in key order."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the distinct segments that follow a prefix ending in ``/``, where more of the key follows, sorted."""
        ...


class Transient(StoreUnavailable):
    """The store did not answer, or was too busy: the same request may succeed in a moment."""
