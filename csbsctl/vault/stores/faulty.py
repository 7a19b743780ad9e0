"""A store that fails on purpose, from a seed: for the suites that prove that the vault survives its store."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from csbsctl.blobs import Blob, Buffer
from csbsctl.vault.stores.contract import Store, Transient


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, as probabilities."""

    refused: float = 0.0
    """The request fails without an effect."""
    lost: float = 0.0
    """The request takes effect, its answer is lost."""
    lagging: float = 0.0
    """A listing misses its newest key."""


class FaultyStore:
    """Wraps a store; reproducible for one thread."""

    def __init__(self, inner: Store, faults: Faults, seed: int) -> None:
        self.parallel = inner.parallel
        self.remote = True
        self.lag = inner.lag
        self.injected = 0
        self._inner = inner
        self._faults = faults
        self._random = random.Random(seed)  # noqa: S311 - reproducible faults, no secrets
        self._lock = threading.Lock()
        """Guards the dice and the count."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        self._refuse()
        return self._inner.get(key, start, length)

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        self._refuse()
        self._inner.create(key, data, authenticated=authenticated)
        self._lose()

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        self._refuse()
        self._inner.put(key, data)
        self._lose()

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self._refuse()
        self._inner.delete(key)
        self._lose()

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        self._refuse()
        self._inner.delete_all(keys)
        self._lose()

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        self._refuse()
        blobs = [*self._inner.list(prefix, after)]
        if blobs and self._happens(self._faults.lagging):
            blobs.pop()
        return iter(blobs)

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return (blob.key for blob in self.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store."""
        self._refuse()
        return self._inner.folders(prefix)

    def now(self) -> datetime:
        """See BlobStore."""
        self._refuse()
        return self._inner.now()

    def _refuse(self) -> None:
        if self._happens(self._faults.refused):
            raise Transient("the store did not take the request (injected)")

    def _lose(self) -> None:
        if self._happens(self._faults.lost):
            raise Transient("the store's answer was lost (injected)")

    def _happens(self, probability: float) -> bool:
        with self._lock:
            happens = self._random.random() < probability
            self.injected += happens
            return happens
