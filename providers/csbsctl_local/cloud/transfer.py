"""Raw images into and out of disks, and the digest of a disk's bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from csbsctl.errors import CloudRefused
from csbsctl.model.server import Server, Volume
from csbsctl.units import format_size
from csbsctl_local.cloud.disk import Disk
from csbsctl_local.cloud.sparse import all_zero, copy_data, write_at
from csbsctl_local.cloud.volumes import Volumes

_PIECE = 1024 * 1024
_ZEROS = bytes(_PIECE)


def import_image(volumes: Volumes, server: Server, volume: Volume, file: Path) -> int:
    """Replace a disk's bytes by those of a raw image; return its size. What lies behind its end becomes zeros.

    Raises:
        CloudRefused: the image is larger than the disk, or is no regular file.
    """
    if not file.is_file():
        raise CloudRefused(f"{file} is not a file")
    size = file.stat().st_size
    if size > volume.size:
        raise CloudRefused(
            f"{file} has {format_size(size)}, disk {volume.name} only {format_size(volume.size)}",
            hint=f"csbsctl sim disk resize {server.name}:{volume.position} {size}",
        )
    with file.open("rb") as image:
        volumes.replace(server.id, volume.id, volume.size, lambda fd: copy_data(image.fileno(), fd, size))
    return size


def export_image(disk: Disk, file: Path) -> int:
    """Write a disk's bytes to a sparse raw file that must not exist; return the size."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise CloudRefused(f"{file} exists and is not overwritten") from None
    try:
        os.ftruncate(fd, disk.size)
        for offset, length in disk.extents():
            for start in range(offset, offset + length, _PIECE):
                piece = disk.read(start, min(_PIECE, offset + length - start))
                if not all_zero(piece):
                    write_at(fd, start, piece)
    finally:
        os.close(fd)
    return disk.size


def sha256(disk: Disk) -> str:
    """Return the hex digest of all bytes of a disk, holes as zeros."""
    digest, position = hashlib.sha256(), 0
    for offset, length in [*disk.extents(), (disk.size, 0)]:
        for start in range(position, offset, _PIECE):
            digest.update(_ZEROS[: min(_PIECE, offset - start)])
        for start in range(offset, offset + length, _PIECE):
            digest.update(disk.read(start, min(_PIECE, offset + length - start)))
        position = offset + length
    return digest.hexdigest()
