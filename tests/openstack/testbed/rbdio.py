"""Real bytes in a volume, below Cinder: ``write IMAGE OFFSET LENGTH SEED``, ``put IMAGE OFFSET <BYTES``, ``hash IMAGE[@SNAPSHOT]``.

Runs in the test bed's own environment, where librbd's bindings are; CEPH_CONF names the cluster.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys

import rados
import rbd

CHUNK = 4 << 20
ZEROS = bytes(CHUNK)


def write(image: rbd.Image, offset: int, length: int, seed: int) -> None:
    """Fill a range with bytes that the seed decides."""
    source = random.Random(seed)
    for start in range(offset, offset + length, CHUNK):
        image.write(source.randbytes(min(CHUNK, offset + length - start)), start)
    image.flush()


def digest(image: rbd.Image) -> str:
    """Return the size and a SHA-256 of the chunks that are not all zeros, with their places; holes are not read."""
    total = hashlib.sha256()
    places: set[int] = set()
    image.diff_iterate(
        0, image.size(), None, lambda start, length, exists: exists and places.update(chunks(start, length))
    )
    for place in sorted(places):
        data = image.read(place * CHUNK, min(CHUNK, image.size() - place * CHUNK))
        if not ZEROS.startswith(data):
            total.update(place.to_bytes(8, "big") + data)
    return f"{image.size()} {total.hexdigest()}"


def chunks(start: int, length: int) -> range:
    """Return which chunks a range of bytes touches."""
    return range(start // CHUNK, -(-(start + length) // CHUNK))


def main() -> None:
    """Do what the command line says."""
    operation, name, *numbers = sys.argv[1:]
    name, _, snapshot = name.partition("@")
    writing = operation in {"write", "put"}
    with (
        rados.Rados(conffile=os.environ["CEPH_CONF"]) as cluster,
        cluster.open_ioctx("volumes") as pool,
        rbd.Image(pool, name, snapshot=snapshot or None, read_only=not writing) as image,
    ):
        if operation == "write":
            write(image, *map(int, numbers))
        elif operation == "put":
            image.write(sys.stdin.buffer.read(), int(numbers[0]))
            image.flush()
        else:
            print(digest(image))  # noqa: T201


main()
