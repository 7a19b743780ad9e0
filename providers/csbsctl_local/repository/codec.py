"""Compression and sealing in one place: plain bytes in, stored bytes out, and back.

Knows nothing of what the bytes mean. Thread-safe: every thread has its own compressor.
"""

from __future__ import annotations

import threading

import zstandard

from csbsctl.blobs import Buffer, Sealer
from csbsctl.errors import Damaged

LEVEL = 1


class Codec:
    """Compresses with zstandard, seals with the vault's sealer, and names content."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer
        self.name = sealer.name
        self._tools = threading.local()

    def encode(self, plain: Buffer, context: bytes) -> bytes:
        """Return the stored form of plain bytes, bound to a context."""
        return self.sealer.seal(self._compressor().compress(plain), context)

    def decode(self, stored: Buffer, context: bytes, size: int | None = None) -> bytes:
        """Return the plain bytes, of an expected size where it is known.

        Raises:
            Damaged: the bytes are not what was stored under this context.
        """
        packed = self.sealer.open(stored, context)
        try:
            plain: bytes = self._decompressor().decompress(packed)
        except zstandard.ZstdError as error:
            raise Damaged(f"stored bytes do not decompress: {error}") from error
        if size is not None and len(plain) != size:
            raise Damaged(f"stored bytes hold {len(plain)} bytes where {size} belong")
        return plain

    def _compressor(self) -> zstandard.ZstdCompressor:
        tool: zstandard.ZstdCompressor | None = getattr(self._tools, "compressor", None)
        if tool is None:
            tool = self._tools.compressor = zstandard.ZstdCompressor(level=LEVEL)
        return tool

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        tool: zstandard.ZstdDecompressor | None = getattr(self._tools, "decompressor", None)
        if tool is None:
            tool = self._tools.decompressor = zstandard.ZstdDecompressor()
        return tool
