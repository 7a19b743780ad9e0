"""Tries again what a store did not answer, with growing, random waits; and knows a lost answer from a lost race."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import TypeVar

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.clock import Clock, SystemClock
from csbsctl.vault.stores.contract import Store, Transient
from csbsctl.vault.stores.outage import Outage, Tell, to_nobody

Answer = TypeVar("Answer")

FIRST_PATIENCE = 8.0
"""Seconds to go on trying a store that has never answered: most likely its address is wrong."""

PATIENCE = 120.0
"""Seconds to go on trying a store that has answered before: it restarts, or the network is away for a minute."""

_SMALL = 1 << 18
"""Bytes that a store moves within seconds on any line; how long more of them take says nothing."""

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0


class RetryingStore:
    """Wraps a store whose requests may fail in passing."""

    def __init__(
        self,
        inner: Store,
        *,
        clock: Clock | None = None,
        first_patience: float = FIRST_PATIENCE,
        patience: float = PATIENCE,
        name: str = "the store",
        tell: Tell = to_nobody,
    ) -> None:
        """Wrap a store; ``name`` is what people know it by, ``tell`` takes a word when it is away, and when back."""
        self.inner = inner
        self.parallel = inner.parallel
        self.remote = inner.remote
        self.lag = inner.lag
        self.clock = clock or SystemClock()
        self.outage = Outage(name, self.clock, tell)
        self._first_patience = first_patience
        self._patience = patience

    @property
    def patience(self) -> float:
        """Seconds for which to go on trying."""
        return self._patience if self.outage.answered_ever else self._first_patience

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        return self._persist(lambda _: self.inner.get(key, start, length), moved=length or 0)

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore. When an earlier try got no answer and the key has these very bytes, it was ours."""

        def attempt(again: bool) -> None:  # noqa: FBT001 - called by position below
            try:
                self.inner.create(key, data, authenticated=authenticated)
            except BlobExists:
                if not (again and self._holds(key, data)):
                    raise

        self._persist(attempt, moved=len(data))

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        self._persist(lambda _: self.inner.put(key, data), moved=len(data))

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self._persist(lambda _: self.inner.delete(key))

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        self._persist(lambda _: self.inner.delete_all(keys))

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore. Goes on behind the last key when a page is not answered."""
        tries = _Tries(self)
        while True:
            try:
                found = iter(self.inner.list(prefix, after))
                while True:
                    with self.outage.waiting():
                        blob = next(found, None)
                    if blob is None:
                        break
                    after = blob.key
                    if tries.made:
                        self.outage.over()
                        tries = _Tries(self)
                    yield blob
            except Transient as error:
                tries.wait(error)
                continue
            self.outage.over()
            return

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store. Goes on behind the last key when a page is not answered."""
        if self.remote:
            return (blob.key for blob in self.list(prefix))
        return iter(self._persist(lambda _: [*self.inner.keys(prefix)]))  # cheaper than list, and near

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return iter(self._persist(lambda _: [*self.inner.folders(prefix)]))

    def now(self) -> datetime:
        """See BlobStore."""
        return self._persist(lambda _: self.inner.now())

    def _persist(self, attempt: Callable[[bool], Answer], *, moved: int = 0) -> Answer:
        """Call ``attempt`` until it is answered; its argument says whether an earlier one may have had an effect.

        ``moved`` is how many bytes an answer takes, as far as that is known.
        """
        tries = _Tries(self)
        while True:
            try:
                with self.outage.waiting() if moved <= _SMALL else nullcontext():
                    answer = attempt(tries.made > 0)
            except Transient as error:
                tries.wait(error)
            except (BlobExists, BlobNotFound):
                self.outage.over()
                raise
            else:
                self.outage.over()
                return answer

    def _holds(self, key: str, data: Buffer) -> bool:
        try:
            return self.inner.get(key) == bytes(data)
        except BlobNotFound:
            return False


class _Tries:
    """Counts the tries of one request and waits between them."""

    def __init__(self, store: RetryingStore) -> None:
        self.made = 0
        self._store = store
        self._began: float | None = None

    def wait(self, error: Transient) -> None:
        """Wait before the next try; raises the error when patience with this request, or with the store, is at its end."""
        store = self._store
        now = store.clock.monotonic()
        self._began = now if self._began is None else self._began
        lasts = max(store.outage.goes_on(error.message, store.patience), now - self._began)
        longest = min(_FIRST_WAIT * 2**self.made, _LONGEST_WAIT)
        pause = longest / 2 + secrets.randbelow(1000) / 1000 * longest / 2
        if lasts + pause > store.patience:
            if self.made and error.hint is None:
                error.hint = (
                    f"tried again for {lasts:.0f} s; run the command again when the store is back, it goes on"
                )
            raise error
        self.made += 1
        store.clock.sleep(pause)
