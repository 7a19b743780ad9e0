"""Sessions: who may be adding to the repository right now.

Whoever stores packs, indexes or manifests registers first, and only then reads the doom list and the index, in this
order. The collector can therefore know of everybody who might rely on a pack without knowing that it is doomed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from csbsctl.blobs import BlobNotFound, BlobStore
from csbsctl.errors import Damaged, LeaseLost
from csbsctl.ids import new_id

from .codec import Codec
from .layout import PACKS, SESSIONS, PackId, document_context, pack_of_key

_NONCE = 16


def store_document(blobs: BlobStore, codec: Codec, key: str, document: dict[str, Any]) -> None:
    """Create a small sealed JSON document. Raises BlobExists."""
    plain = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    blobs.create(key, codec.encode(plain, document_context(key)), authenticated=True)


def load_document(blobs: BlobStore, codec: Codec, key: str) -> dict[str, Any]:
    """Return a small sealed JSON document. Raises BlobNotFound and Damaged."""
    document = json.loads(codec.decode(blobs.get(key), document_context(key)))
    if not isinstance(document, dict):
        raise Damaged(f"{key} is not a document")
    return document


@dataclass(frozen=True, slots=True)
class Registration:
    """A session as others see it: whose, writing which manifest if any, since when by the store's time."""

    nonce: str
    job: str
    writes: str | None
    modified: datetime


class Session:
    """Our own registration; gives out pack ids."""

    def __init__(self, blobs: BlobStore, codec: Codec, job: str, writes: str | None = None) -> None:
        self._blobs = blobs
        self.job = job
        self.nonce = new_id().replace("-", "")[:_NONCE]
        self._packs = 0
        self._lock = threading.Lock()  # guards _packs
        store_document(blobs, codec, SESSIONS + self.nonce, {"job": job, "writes": writes})

    def new_pack(self) -> PackId:
        """Return the id of the next pack."""
        with self._lock:
            self._packs += 1
            return PackId(bytes.fromhex(self.nonce) + self._packs.to_bytes(4, "big"))

    def check(self) -> None:
        """Make sure that nobody declared us dead.

        Raises:
            LeaseLost: somebody did; what we stored may be gone.
        """
        try:
            self._blobs.get(SESSIONS + self.nonce)
        except BlobNotFound:
            raise LeaseLost(f"the session of job {self.job} was ended by somebody else") from None

    def close(self) -> None:
        """Deregister."""
        end_session(self._blobs, self.nonce)


def sessions(blobs: BlobStore, codec: Codec, *, but: str | None = None) -> Iterator[Registration]:
    """Yield everybody who is registered, those included whose process died; ``but`` is the nonce of one to leave out."""
    for blob in blobs.list(SESSIONS):
        if blob.key.rpartition("/")[2] == but:
            continue
        try:
            document = load_document(blobs, codec, blob.key)
        except BlobNotFound:
            continue
        except Damaged:
            document = {}
        job, writes = str(document.get("job", "")), document.get("writes")
        yield Registration(blob.key.rpartition("/")[2], job, writes, blob.modified)


def end_session(blobs: BlobStore, nonce: str) -> None:
    """Take somebody off the list; if they live after all, their next commit fails."""
    blobs.delete(SESSIONS + nonce)


def session_of(pack: PackId) -> str:
    """Return the session that wrote a pack."""
    return pack.hex()[:_NONCE]


def packs_of(blobs: BlobStore, nonce: str) -> Iterator[tuple[PackId, int]]:
    """Yield the packs that a session stored, with their sizes."""
    for blob in blobs.list(f"{PACKS}{nonce[:2]}/{nonce}"):
        pack = pack_of_key(blob.key)
        if pack is not None:
            yield pack, blob.size
