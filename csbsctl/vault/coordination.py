"""Makes create-if-absent hold on a store where it does not: under a lock of a lock service (tooz).

With a lock per key, the check and the put cannot be torn apart. ``single-writer`` locks within this process only and
takes the user's word for the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.errors import StoreUnavailable, UsageError
from csbsctl.ids import new_id
from csbsctl.vault.stores.contract import Store

SINGLE_WRITER = "single-writer"

_STRIPES = 64


class Locks(Protocol):
    """Mutual exclusion by name."""

    def hold(self, name: str) -> AbstractContextManager[Any]:
        """Return a context in which nobody else holds the name."""
        ...


def coordinated(store: Store, coordination: str | None) -> Store:
    """Return the store as it is, or one whose creates are made under locks."""
    if not coordination:
        return store
    locks = ProcessLocks() if coordination == SINGLE_WRITER else ServiceLocks(coordination)
    return CoordinatedStore(store, locks)


class ProcessLocks:
    """Locks between the threads of this process."""

    def __init__(self) -> None:
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def hold(self, name: str) -> AbstractContextManager[Any]:
        """See Locks."""
        return self._stripes[hash(name) % _STRIPES]


class ServiceLocks:
    """Locks of a tooz backend, connected on first use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._coordinator: Any = None
        self._within = ProcessLocks()
        self._lock = threading.Lock()
        """Guards the connection."""

    def hold(self, name: str) -> AbstractContextManager[Any]:
        """See Locks. Raises StoreUnavailable when the service does not answer."""
        return _ServiceLock(self._within.hold(name), self._connect(), name, self._url)

    def _connect(self) -> Any:
        with self._lock:
            if self._coordinator is None:
                self._coordinator = _connected(self._url)
            return self._coordinator


class _ServiceLock(AbstractContextManager["_ServiceLock"]):
    """A lock within the process, and inside it the service's: several backends share locks among threads."""

    def __init__(self, within: AbstractContextManager[Any], coordinator: Any, name: str, url: str) -> None:
        self._within = within
        self._lock = coordinator.get_lock(name.encode())
        self._url = url

    def __enter__(self) -> Self:
        from tooz import ToozError  # noqa: PLC0415 - optional

        self._within.__enter__()
        try:
            taken = self._lock.acquire(blocking=True)
        except ToozError as error:
            self._within.__exit__(None, None, None)
            raise _unreachable(self._url, error) from error
        if not taken:
            self._within.__exit__(None, None, None)
            raise _unreachable(self._url, "the lock was not given")
        return self

    def __exit__(self, *_: object) -> None:
        from tooz import ToozError  # noqa: PLC0415 - optional

        try:
            self._lock.release()
        except ToozError as error:
            raise _unreachable(self._url, error) from error
        finally:
            self._within.__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class CoordinatedStore:
    """A store whose create looks, then writes, under a lock for the key.

    What proves itself (packs, under names that nobody else draws) goes without a lock.
    """

    inner: Store
    locks: Locks

    @property
    def parallel(self) -> int:
        """See Store."""
        return self.inner.parallel

    @property
    def remote(self) -> bool:
        """See Store."""
        return self.inner.remote

    @property
    def lag(self) -> float:
        """See Store."""
        return self.inner.lag

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        return self.inner.get(key, start, length)

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        if authenticated:
            self.inner.create(key, data, authenticated=True)
            return
        with self.locks.hold(key):
            try:
                self.inner.get(key, 0, 1)
            except BlobNotFound:
                self.inner.create(key, data)
                return
        raise BlobExists(key)

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        self.inner.put(key, data)

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self.inner.delete(key)

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        self.inner.delete_all(keys)

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        return self.inner.list(prefix, after)

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return self.inner.keys(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return self.inner.folders(prefix)

    def now(self) -> datetime:
        """See BlobStore."""
        return self.inner.now()


def _connected(url: str) -> Any:
    try:
        from tooz import ToozError, coordination  # noqa: PLC0415 - optional
    except ImportError:
        raise UsageError(
            "vault.coordination needs the tooz library, which is not installed",
            hint="pip install 'csbsctl[coordination]'",
            code="vault.coordination",
        ) from None
    try:
        coordinator = coordination.get_coordinator(url, f"csbsctl-{new_id()}".encode())
        coordinator.start(start_heart=True)
    except (ToozError, ImportError, ValueError, RuntimeError) as error:  # an unknown driver is a RuntimeError
        raise _unreachable(url, error) from error
    return coordinator


def _unreachable(url: str, cause: object) -> StoreUnavailable:
    return StoreUnavailable(
        f"the lock service {url.partition('?')[0]} cannot be used: {cause}",
        hint="check vault.coordination, and that the service runs",
        code="vault.coordination",
    )
