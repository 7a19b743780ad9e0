"""Do two volumes hold a prefix of what a guest wrote? ``records.py IMAGE-A[@SNAPSHOT] IMAGE-B[@SNAPSHOT]``.

Reads the records of ``guest/writer.c`` from outside and prints, for each writer, how many there are and how many are
missing, as JSON. Runs in the test bed's own environment; CEPH_CONF names the cluster.
"""

from __future__ import annotations

import json
import os
import struct
import sys

import rados
import rbd

SIZE, SLOTS, CHUNK = 4096, 8192, 4 << 20
Records = dict[str, dict[int, int]]


def scan(pool: rados.Ioctx, name: str) -> Records:
    """Return the numbers of all whole records on an image, by writer, each with where its history began."""
    name, _, snapshot = name.partition("@")
    found: Records = {}
    with rbd.Image(pool, name, snapshot=snapshot or None, read_only=True) as image:
        extents: list[tuple[int, int]] = []
        image.diff_iterate(
            0, image.size(), None, lambda start, size, there: there and extents.append((start, size))
        )
        for start, size in extents:
            for offset in range(start, start + size, CHUNK):
                collect(image.read(offset, min(CHUNK, start + size - offset)), found)
    return found


def collect(data: bytes, found: Records) -> None:
    """Add the records of some aligned bytes."""
    at = data.find(b"TESTBED1")
    while at >= 0:
        block = data[at : at + SIZE]
        if at % SIZE == 0 and len(block) == SIZE:
            number, first = struct.unpack_from("<QQ", block, 16)
            if block[32:] == struct.pack("<Q", number) * ((SIZE - 32) // 8):
                found.setdefault(block[8:16].rstrip(b"\0").decode(), {})[number] = first
        at = data.find(b"TESTBED1", at + 8)


def judge(odd: dict[int, int], even: dict[int, int]) -> dict[str, int]:
    """Return the highest record and how many below it are missing."""
    everything = {**odd, **even}
    last = max(everything)
    lowest = max(everything[last], last - 2 * SLOTS + 1)
    missing = [n for n in range(lowest, last + 1) if n not in (odd if n % 2 else even)]
    return {"last": last, "missing": len(missing)}


def main() -> None:
    """Print the verdict."""
    with rados.Rados(conffile=os.environ["CEPH_CONF"]) as cluster, cluster.open_ioctx("volumes") as pool:
        first, second = (scan(pool, name) for name in sys.argv[1:3])
    verdict = {name: judge(first.get(name, {}), second.get(name, {})) for name in sorted({*first, *second})}
    print(json.dumps(verdict))  # noqa: T201


main()
