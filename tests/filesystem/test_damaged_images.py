"""Images from a crash, or from somebody who wants harm: every one ends in bytes or in a clear error, and soon."""

from __future__ import annotations

import functools
import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csbsctl.errors import Damaged, Unsupported
from csbsctl.filesystem import Kind, find_places, match, walk
from tests.filesystem.conftest import KINDS, Bytes, image, with_mbr


def read_everything(disk: bytes) -> int:
    """Read all there is and return how many files and folders could be; only the errors that are meant pass."""
    read = 0
    for place in find_places(Bytes(disk)):
        try:
            tree = place.open()
            for pattern in ("/bin/*", "/loop/x"):
                match(tree, pattern)
            everything = list(walk(tree, match(tree, "/")[0], lambda _folder, _error: None))
        except (Damaged, Unsupported):
            continue
        for found in everything:
            assert not any(part in (b"", b".", b"..") or b"/" in part for part in found.path)
            read += _read_one(tree, found.node)
    return read


def _read_one(tree, node) -> int:
    try:
        if node.kind is Kind.LINK:
            tree.target(node)
        elif node.kind is Kind.FILE:
            end = 0
            for offset, data in tree.content(node):
                assert offset >= end
                end = offset + len(data)
            assert end <= node.size
    except (Damaged, Unsupported):
        return 0
    return 1


@functools.cache
def metadata(kind: str) -> list[int]:
    """Return the offsets of 32-byte pieces that are worth hurting: those with something in them, but for file data."""
    data = image(kind)
    full = [at for at in range(0, len(data), 32) if any(data[at : at + 32])]
    return [at for at in full if data[at : at + 32].strip(b"0123456789\n")]


def hurt(kind: str, chance: random.Random) -> bytes:
    disk = bytearray(image(kind))
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.choice(metadata(kind)) + chance.randrange(32)
        how = chance.randrange(4)
        if how == 0:
            disk[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            disk[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\1\0\0\0"))
        elif how == 2:
            disk[at : at + 4] = chance.randbytes(4)
        else:
            other = chance.choice(metadata(kind))
            disk[at : at + 32] = disk[other : other + 32]
    return bytes(disk)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_hurt_ends_in_bytes_or_in_a_clear_error(kind):
    assert read_everything(image(kind)) > 200
    for seed in range(12):
        read_everything(hurt(kind, random.Random(f"{kind} {seed}")))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(where=st.integers(0, 1023), data=st.binary(min_size=1, max_size=8))
def test_a_superblock_may_say_anything(where, data):
    disk = bytearray(image("ext2"))
    disk[1024 + where : 1024 + where + len(data)] = data
    read_everything(bytes(disk))


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=66))
def test_a_partition_table_may_say_anything(table):
    disk = bytearray(with_mbr(bytes(4096)))
    disk[446 : 446 + len(table)] = table
    disk[510:512] = b"\x55\xaa"
    find_places(Bytes(bytes(disk)))


def test_a_folder_that_is_below_itself_ends():
    disk = bytearray(image("ext2"))
    entry = disk.index(b"\x03\x02ssh")
    at = entry - 6
    root_of_etc = disk.index(b"\x01\x02.\0", at - 64) - 6
    disk[at : at + 4] = disk[root_of_etc : root_of_etc + 4]
    tree = find_places(Bytes(bytes(disk)))[0].open()
    hurt_folders = []
    found = list(
        walk(tree, match(tree, "/")[0], lambda folder, error: hurt_folders.append((folder.path, error)))
    )
    assert (b"etc", b"ssh") in [each.path for each in found]
    assert [path for path, _ in hurt_folders] == [(b"etc", b"ssh")]
    assert "in two places" in hurt_folders[0][1].message
    with pytest.raises(Damaged):
        list(walk(tree, match(tree, "/")[0]))


def test_a_file_that_maps_its_blocks_twice_is_damaged():
    disk = bytearray(image("inline"))
    tree = find_places(Bytes(bytes(disk)))[0].open()
    (numbers,) = match(tree, "/numbers")
    size = struct.pack("<I", numbers.node.size)
    at = next(
        at
        for at in range(0, len(disk), 256)
        if disk[at + 40 : at + 42] == b"\x0a\xf3" and disk[at + 4 : at + 8] == size
    )
    (count,) = struct.unpack_from("<H", disk, at + 42)
    disk[at + 42 : at + 44] = struct.pack("<H", count + 1)
    again = at + 52 + 12 * count
    disk[again : again + 12] = disk[at + 52 : at + 64]
    tree = find_places(Bytes(bytes(disk)))[0].open()
    with pytest.raises(Damaged, match="overlaps itself"):
        list(tree.content(numbers.node))
