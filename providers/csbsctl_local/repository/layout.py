"""The constants of the repository format and the names of its objects; ``FORMAT.md`` explains every one.

Changing anything here changes the format: it needs a new version, a new fixture, and code that still reads the old.
"""

from __future__ import annotations

import re
from typing import NewType

from csbsctl.errors import UsageError

ChunkName = NewType("ChunkName", bytes)
"""32 bytes: the identity of a chunk or leaf, from ``Sealer.name``."""
PackId = NewType("PackId", bytes)
"""12 bytes: 8 of the session that wrote the pack, 4 of a counter."""

FORMAT = 1

CHUNK = 64 * 1024
"""Bytes of disk in a chunk; chunks lie on the disk's grid, the last one padded with zeros."""
FANOUT = 256
"""Chunks in a leaf."""
LEAF = CHUNK * FANOUT
"""Bytes of disk under one leaf."""
SEGMENT_CHUNKS = 4
"""New chunks compressed and sealed together: 3 % smaller than each alone, and a quarter of the calls."""
PACK_TARGET = 12 * 1024 * 1024
"""A pack is closed when it has grown past this."""
NAME = 32
ZERO = bytes(CHUNK)
NO_LEAF = bytes(NAME)
"""Stands in a manifest where 16 MiB of disk hold nothing but zeros."""

PACKS = "packs/"
INDEXES = "index/"
MANIFESTS = "manifests/"
SESSIONS = "sessions/"
DOOM = "doom/"
LOST = "lost/"
COLLECTOR = "collector/"

_MANIFEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@=+-]{0,199}")


def pack_key(pack: PackId) -> str:
    """Return the key of a pack; the first byte of its session spreads packs over folders."""
    text = pack.hex()
    return f"{PACKS}{text[:2]}/{text}"


def pack_of_key(key: str) -> PackId | None:
    """Return the pack that a key names, or None for a stranger."""
    text = key.rpartition("/")[2]
    return PackId(bytes.fromhex(text)) if re.fullmatch(r"[0-9a-f]{24}", text) else None


def manifest_key(name: str) -> str:
    """Return the key of a manifest.

    Raises:
        UsageError: the name is not one: letters, digits and ``._~@=+-``, at most 200 of them.
    """
    if not _MANIFEST_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a manifest", hint="use letters, digits and ._~@=+-, at most 200"
        )
    return MANIFESTS + name


def segment_context(pack: PackId, offset: int) -> bytes:
    """Bind a segment to its place in its pack."""
    return b"csbs.segment\0" + pack + offset.to_bytes(4, "little")


def table_context(pack: PackId) -> bytes:
    """Bind a table to its pack."""
    return b"csbs.table\0" + pack


def document_context(key: str) -> bytes:
    """Bind any other object to the key it is stored under."""
    return b"csbs.document\0" + key.encode()
