"""A store that refuses to be changed: for commands that promise only to look."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from csbsctl.blobs import Blob, Buffer
from csbsctl.errors import Refused
from csbsctl.vault.stores.contract import Store


@dataclass(frozen=True, slots=True)
class ReadOnlyStore:
    """Passes reads on and refuses the rest."""

    inner: Store

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

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> NoReturn:
        """Refuse."""
        raise _refusal(key)

    def put(self, key: str, data: Buffer) -> NoReturn:
        """Refuse."""
        raise _refusal(key)

    def delete(self, key: str) -> NoReturn:
        """Refuse."""
        raise _refusal(key)

    def delete_all(self, keys: Collection[str]) -> NoReturn:
        """Refuse."""
        raise _refusal(", ".join(keys))

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


def _refusal(key: str) -> Refused:
    return Refused(f"the vault is open for reading only; {key} was not written", code="vault.read-only")
