"""How a vault document becomes bytes and back: JSON, compressed, sealed under its own key.

The seal covers the key under which the bytes are stored, so a document that was moved, swapped with another or rolled
back to an earlier generation does not open. Knows nothing of what documents mean.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

import zstandard
from pydantic_core import from_json, to_json

from csbsctl.blobs import Sealer
from csbsctl.errors import Damaged, UnsupportedFormat

FORMAT = 1
"""The newest format of documents this code writes and reads."""

_LARGEST = 1 << 30
_LEVEL = 3
_local = threading.local()
"""Holds each thread's compressor and decompressor: making one costs several times as much as using it."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Encodes and decodes documents; ``sealer`` decides whether they can be read without a key."""

    sealer: Sealer

    def encode(self, key: str, document: dict[str, Any]) -> bytes:
        """Return the bytes to store under a key."""
        text = to_json({"format": FORMAT, **document})
        packed = _compressor().compress(text)
        return self.sealer.seal(packed, key.encode())

    def decode(self, key: str, stored: bytes) -> dict[str, Any]:
        """Return the document that is stored under a key.

        Raises:
            Damaged: the bytes are not what was written there.
            UnsupportedFormat: a newer csbsctl wrote them.
        """
        try:
            packed = self.sealer.open(stored, key.encode())
            document = from_json(_decompressor().decompress(packed, max_output_size=_LARGEST))
        except (Damaged, zstandard.ZstdError, ValueError) as error:
            raise damaged(key, str(error)) from error
        if not isinstance(document, dict):
            raise damaged(key, "not an object")
        if document.get("format") != FORMAT:
            raise newer(key, document.get("format"))
        return document


def _compressor() -> zstandard.ZstdCompressor:
    try:
        found: zstandard.ZstdCompressor = _local.compressor
    except AttributeError:
        found = _local.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    try:
        found: zstandard.ZstdDecompressor = _local.decompressor
    except AttributeError:
        found = _local.decompressor = zstandard.ZstdDecompressor()
    return found


def digest(stored: bytes) -> str:
    """Return the name of stored bytes in a chain: SHA-256, hex."""
    return hashlib.sha256(stored).hexdigest()


def damaged(key: str, why: str) -> Damaged:
    """Return the error for a document that cannot be believed."""
    return Damaged(
        f"{key} in the vault is damaged: {why}", hint="run `csbsctl vault check` to see what else is hurt"
    )


def newer(key: str, found: object) -> UnsupportedFormat:
    """Return the error for a document of a later format."""
    return UnsupportedFormat(
        f"{key} has format {found}, and this csbsctl knows up to {FORMAT}", hint="install a newer csbsctl"
    )
