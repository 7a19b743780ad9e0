"""The ext reader on images that are kept (tests/fixtures/filesystem/make.sh says what is in them)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest

from csbsctl.filesystem import Kind, find_places, match, printable, walk
from tests.filesystem.conftest import Bytes, image

NUMBERS = "".join(f"{n}\n" for n in range(1, 60001)).encode()


def opened(kind: str):
    (place,) = find_places(Bytes(image(kind)))
    return place.open()


def content(tree, path: str) -> bytes:
    (found,) = match(tree, path)
    data = bytearray(found.node.size)
    for offset, piece in tree.content(found.node):
        data[offset : offset + len(piece)] = piece
    return bytes(data)


def test_files_come_out_as_they_went_in(kind):
    tree = opened(kind)
    assert tree.name == ("ext2" if kind == "ext2" else "ext4")
    assert content(tree, "/numbers") == NUMBERS
    assert content(tree, "/etc/ssh/sshd_config") == b"Port 22\n"
    assert content(tree, "/sparse") == bytes(3 << 20) + b"end"
    assert [content(tree, f"/many/file-with-a-rather-long-name-{n}") for n in (1, 99, 200)] == [
        b"1",
        b"99",
        b"200",
    ]


def test_a_hole_is_not_read_and_not_given(kind):
    tree = opened(kind)
    (sparse,) = match(tree, "/sparse")
    pieces = list(tree.content(sparse.node))
    assert b"".join(data.strip(b"\0") for _, data in pieces) == b"end"
    assert sum(len(data) for _, data in pieces) <= 8192
    assert sparse.node.stored < 64 * 1024


def test_what_the_journal_committed_lies_over_the_disk():
    assert content(opened("ext4"), "/etc/hosts") == b"hosts in a journal"
    assert content(opened("ext2"), "/etc/hosts") == b"hosts of the disk\n"


def test_modes_times_and_kinds_are_those_of_the_disk(kind):
    tree = opened(kind)
    nodes = {printable(found.path): found.node for found in walk(tree, match(tree, "/")[0])}
    secret = nodes["/etc/ssh/sshd_config"]
    assert (secret.mode, secret.uid, secret.size) == (0o600, 0, 8)
    assert secret.modified == 1790000000 * 10**9
    assert nodes["/device"].kind is Kind.OTHER
    assert {p for p, node in nodes.items() if node.kind is Kind.LINK} == {
        "/bin",
        "/absolute",
        "/outside",
        "/loop",
        "/long",
    }
    assert tree.target(nodes["/outside"]) == b"../../../../../../etc/passwd"
    assert tree.target(nodes["/long"]) == b"long/" * 18
    assert len([p for p in nodes if p.startswith("/many/")]) == 200


def test_only_what_is_needed_is_read():
    disk = Bytes(image("ext4") + bytes(64 << 20))
    (place,) = find_places(disk)
    content(place.open(), "/etc/ssh/sshd_config")
    assert disk.seen < 2 << 20


@pytest.mark.skipif(not shutil.which("mke2fs"), reason="e2fsprogs is not installed")
@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ext3", "-b", "1024"),
        ("-t", "ext4", "-b", "2048", "-O", "^64bit,meta_bg,^resize_inode"),
        ("-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"),
        ("-t", "ext4", "-b", "1024", "-O", "64bit,meta_bg,^resize_inode,sparse_super2"),
    ],
    ids=" ".join,
)
def test_other_forms_are_read_too(tmp_path, options):
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    data = hashlib.shake_128(b"x").digest(400_000)
    (tree / "below" / "data").write_bytes(data)
    for n in range(300):
        (tree / f"file-{n}").write_text(str(n))
    made = tmp_path / "made.img"
    subprocess.run(["mke2fs", "-q", "-F", *options, "-d", tree, made, "24M"], check=True, capture_output=True)
    (place,) = find_places(Bytes(made.read_bytes()))
    filesystem = place.open()
    assert content(filesystem, "/below/data") == data
    assert [content(filesystem, f"/file-{n}") for n in range(300)] == [str(n).encode() for n in range(300)]
