"""A store in this process's memory, in whatever time its clock shows: for vaults that nobody needs afterwards."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from datetime import datetime

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.clock import Clock
from csbsctl.errors import StoreUnavailable


class MemoryStore:
    """Objects in a dictionary. ``away`` makes it a store that does not answer."""

    parallel = 1
    remote = False
    lag = 0.0

    def __init__(self, clock: Clock) -> None:
        self.away = False
        self._clock = clock
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._order: list[str] = []
        self._lock = threading.Lock()
        """Guards the dictionary and the sorted keys together."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        self._answer()
        try:
            data = self._objects[key][0]
        except KeyError:
            raise BlobNotFound(key) from None
        return data[start:] if length is None else data[start : start + length]

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        self._answer()
        with self._lock:
            if key in self._objects:
                raise BlobExists(key)
            self._objects[key] = bytes(data), self._clock.now()
            insort(self._order, key)

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        self._answer()
        with self._lock:
            if key not in self._objects:
                insort(self._order, key)
            self._objects[key] = bytes(data), self._clock.now()

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self._answer()
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._order[bisect_left(self._order, key)]

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        for key in keys:
            self.delete(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        for key in self.keys(prefix):
            found = self._objects.get(key) if key > after else None
            if found:
                yield Blob(key, len(found[0]), found[1])

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store."""
        self._answer()
        with self._lock:
            first = bisect_left(self._order, prefix)
            last = bisect_right(self._order, prefix + "\x7f", first)  # keys are ASCII
            return iter(self._order[first:last])

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store."""
        below = (key[len(prefix) :].partition("/") for key in self.keys(prefix))
        return iter(sorted({name for name, slash, _ in below if slash}))

    def now(self) -> datetime:
        """See BlobStore."""
        self._answer()
        return self._clock.now()

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("the store does not answer")
