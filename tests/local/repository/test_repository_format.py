"""Repositories of every format version there ever was are read, and ``FORMAT.md`` is enough to read one."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.vault.sealing import DataKeys, SealedSealer
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import Repository

CHUNK = 65536
FIXTURES = Path(__file__).parents[2] / "fixtures" / "formats" / "repository-v1"
SEALERS = {"plain": PlainSealer(), "sealed": SealedSealer(lambda: DataKeys({1: b"k" * 32}, b"n" * 32))}


def expected():
    """Return both disks of the fixture."""
    disk = bytearray(300 * CHUNK + 100)
    for at, size in ((0, 100), (CHUNK * 3, CHUNK), (256 * CHUNK, 5000), (300 * CHUNK, 100)):
        data = bytes(i * at % 251 for i in range(1, 1 + size // 2)) + b"csbsctl" * (size // 14)
        disk[at : at + len(data)] = data
    first = bytes(disk)
    disk[CHUNK * 3 + 17 : CHUNK * 3 + 24] = b"changed"
    return {"first": first, "second": bytes(disk)}


@pytest.mark.parametrize("kind", sorted(SEALERS))
def test_a_repository_of_version_1_is_read_verified_checked_and_extended(kind, tmp_path):
    shutil.copytree(FIXTURES / kind, tmp_path / "store")
    repository = Repository(DirectoryStore(tmp_path / "store"), SEALERS[kind], clock=SystemClock())
    for name, content in expected().items():
        assert repository.open(name).read(0, len(content) + 1) == content
        assert repository.verify(name) == []
    assert repository.describe("second").parent == "first"
    assert repository.check(read_data=True) == []
    repository.delete("first")
    for _ in range(3):
        repository.collect(job="c", open_jobs=frozenset())
    assert repository.verify("second") == []


class ByTheBook:
    """Reads an unencrypted repository by nothing but ``FORMAT.md``."""

    def __init__(self, root):
        self.root = root
        self.items = {}
        for path in sorted((root / "packs").glob("*/*")):
            self.read_pack(path)

    def opened(self, sealed, context):
        plain, digest = sealed[:-16], sealed[-16:]
        assert blake3(context + struct.pack(">I", len(context)) + plain).digest()[:16] == digest
        return zstandard.decompress(plain)

    def read_pack(self, path):
        data, pack = path.read_bytes(), bytes.fromhex(path.name)
        assert (data[:8], data[-8:]) == (b"CSBPACK\x01", b"CSBPEND\x01")
        (length,) = struct.unpack("<I", data[-12:-8])
        table = self.opened(data[-12 - length : -12], b"csbs.table\0" + pack)
        count, _ = struct.unpack("<II", table[:8])
        names, at = table[8 + count * 5 :], 8
        for size, chunks in struct.iter_unpack("<IB", table[8 : 8 + count * 5]):
            context = b"csbs.segment\0" + pack + struct.pack("<I", at)
            plain = self.opened(data[at : at + size], context)
            for slot in range(chunks or 1):
                self.items[names[:32]] = plain[slot * CHUNK : (slot + 1) * CHUNK] if chunks else plain
                names = names[32:]
            at += size

    def disk(self, name):
        plain = self.opened(
            (self.root / "manifests" / name).read_bytes(), f"csbs.document\0manifests/{name}".encode()
        )
        size, parent = struct.unpack("<Q", plain[8:16])[0], struct.unpack("<H", plain[48:50])[0]
        leaves, parts = plain[50 + parent :], []
        for number in range(len(leaves) // 32):
            leaf = self.items.get(leaves[number * 32 : number * 32 + 32], bytes(32))
            names = leaf[32:]
            for slot in range(256):
                if leaf[slot // 8] >> slot % 8 & 1:
                    parts.append(self.items[names[:32]])
                    names = names[32:]
                else:
                    parts.append(bytes(CHUNK))
        return b"".join(parts)[:size]

    def index(self):
        rows = {}
        for path in (self.root / "index").iterdir():
            plain = self.opened(path.read_bytes(), f"csbs.document\0index/{path.name}".encode())
            assert (plain[:4], struct.unpack("<HH", plain[4:8])) == (b"CSBI", (1, 0))
            packs, count = struct.unpack("<II", plain[8:16])
            ids = [plain[16 + 16 * i : 28 + 16 * i] for i in range(packs)]
            start = 16 + 16 * packs
            for row in range(count):
                name = plain[start + 32 * row : start + 32 * row + 32]
                place = struct.unpack_from("<III", plain, start + 32 * count + 12 * row)
                rows[name] = (ids[place[0]], place[1], place[2] >> 8, place[2] & 255)
        return rows


def test_the_format_page_is_enough_to_read_a_repository():
    book = ByTheBook(FIXTURES / "plain")
    for name, content in expected().items():
        assert book.disk(name) == content
    assert set(book.index()) == set(book.items)
    for name, item in book.items.items():
        assert blake3(item).digest() == name
