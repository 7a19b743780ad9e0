"""File systems to read: three small images that are kept, and disks made around them."""

from __future__ import annotations

import functools
import lzma
import struct
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[1] / "fixtures" / "filesystem"
KINDS = ("ext4", "ext2", "inline")


class Bytes:
    """A disk in memory that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.seen = 0

    def read(self, offset: int, length: int) -> bytes:
        self.seen += length
        return self.data[offset : offset + length]


@functools.cache
def image(kind: str) -> bytes:
    return lzma.decompress((IMAGES / f"{kind}.img.xz").read_bytes())


def with_mbr(*parts: bytes) -> bytes:
    """Return a disk with the given bytes as primary partitions, each at a whole MiB."""
    disk = bytearray(1 << 20)
    for number, part in enumerate(parts):
        entry = struct.pack("<B3xB3xII", 0, 0x83, len(disk) // 512, len(part) // 512)
        disk[446 + 16 * number : 462 + 16 * number] = entry
        disk += part + bytes(-len(part) % (1 << 20))
    disk[510:512] = b"\x55\xaa"
    return bytes(disk)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
