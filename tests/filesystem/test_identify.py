"""Partition tables and signatures: where a disk may hold files, and what is named but not read."""

from __future__ import annotations

import re
import struct

import pytest

from csbsctl.errors import Unsupported
from csbsctl.filesystem import find_places, match
from tests.filesystem.conftest import Bytes, image, with_mbr


def gpt(part: bytes, *, sector: int = 512) -> bytes:
    disk = bytearray(1 << 20) + part + bytes(1 << 20)
    disk[446:462] = struct.pack("<B3xB3xII", 0, 0xEE, 1, len(disk) // 512)
    disk[510:512] = b"\x55\xaa"
    header = bytearray(92)
    header[:8] = b"EFI PART"
    struct.pack_into("<QII", header, 72, 2, 128, 128)
    disk[sector : sector + 92] = header
    first = (1 << 20) // sector
    entry = bytes([1]) * 32 + struct.pack("<QQ", first, first + len(part) // sector - 1)
    disk[2 * sector + 128 * 2 : 2 * sector + 128 * 2 + 48] = entry
    return bytes(disk)


def has_hosts(place) -> bool:
    return bool(match(place.open(), "/etc/hosts"))


def test_a_file_system_on_the_bare_disk_is_the_disk(kind):
    (place,) = find_places(Bytes(image(kind)))
    assert (place.partition, place.readable) == (None, True)


def test_primary_partitions_are_found_by_number():
    places = find_places(Bytes(with_mbr(b"XFSB" + bytes(1 << 20), image("ext2"))))
    assert [(place.partition, place.kind) for place in places] == [(1, "XFS"), (2, "ext2, ext3 or ext4")]
    assert has_hosts(places[1])


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt_partitions_are_found_by_number(sector):
    (place,) = find_places(Bytes(gpt(image("ext4"), sector=sector)))
    assert place.partition == 3
    assert has_hosts(place)


def test_logical_partitions_count_from_five_and_a_ring_of_them_ends():
    part = image("inline")
    disk = bytearray(2 << 20) + part
    disk[446:462] = struct.pack("<B3xB3xII", 0, 0x05, 2048, 4096)
    table = 1 << 20
    disk[table + 446 : table + 462] = struct.pack("<B3xB3xII", 0, 0x83, 2048, len(part) // 512)
    disk[table + 462 : table + 478] = struct.pack("<B3xB3xII", 0, 0x05, 0, 1)
    disk[510:512] = disk[table + 510 : table + 512] = b"\x55\xaa"
    (place,) = find_places(Bytes(bytes(disk)))
    assert place.partition == 5
    assert has_hosts(place)
    disk[table + 462 : table + 478] = struct.pack("<B3xB3xII", 0, 0x05, 4096, 1)
    assert find_places(Bytes(bytes(disk)))[0].partition == 5


@pytest.mark.parametrize(
    ("offset", "mark", "kind"),
    [
        (0, b"XFSB", "XFS"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (0, b"LUKS\xba\xbe", "LUKS (encrypted)"),
        (512 + 24, b"LVM2 001", "LVM"),
        (3, b"NTFS    ", "NTFS"),
        (82, b"FAT32   ", "FAT"),
        (4086, b"SWAPSPACE2", "swap"),
        (0, b"nothing known", None),
    ],
)
def test_what_cannot_be_read_is_named(offset, mark, kind):
    disk = bytearray(1 << 20)
    disk[offset : offset + len(mark)] = mark
    (place,) = find_places(Bytes(bytes(disk)))
    assert place.kind == kind
    words = f"{kind} cannot be read" if kind else "no file system or partition is known there"
    with pytest.raises(Unsupported, match=re.escape(words)):
        place.open()


def test_a_disk_of_nothing_has_one_place_of_which_nothing_is_known():
    for disk in (b"", bytes(512), b"\x55\xaa" * 300):
        assert [(place.partition, place.kind) for place in find_places(Bytes(disk))] == [(None, None)]
