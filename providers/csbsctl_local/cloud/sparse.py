"""Sparse files: where their data is, reads that pad with zeros, copies that keep holes, and reflinks."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from csbsctl_local.cloud.layout import GRANULE

_FICLONE = 0x40049409
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL, errno.ENOSYS}
_COPY = 4 * 1024 * 1024
_ZEROS = bytes(_COPY)

Extent = tuple[int, int]
"""Offset and length in bytes."""


def open_if_there(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Return a descriptor, or None when the file does not exist."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def read_at(fd: int | None, offset: int, length: int) -> bytes:
    """Return exactly ``length`` bytes; what lies past the end of the file, or in no file, is zeros."""
    if fd is None:
        return bytes(length)
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            return data + bytes(length - len(data))
        data += more
    return data


def all_zero(data: bytes) -> bool:
    """Say whether up to 4 MiB are nothing but zeros; stops at the first byte that is not."""
    return _ZEROS.startswith(data)


def read_into(fd: int | None, offset: int, buffer: memoryview) -> None:
    """Fill the buffer; what lies past the end of the file, or in no file, is zeros."""
    done = os.preadv(fd, [buffer], offset) if fd is not None else 0
    while fd is not None and 0 < done < len(buffer):
        more = os.preadv(fd, [buffer[done:]], offset + done)
        if not more:
            break
        done += more
    if done < len(buffer):
        buffer[done:] = bytes(len(buffer) - done)


def write_at(fd: int, offset: int, data: bytes | memoryview) -> None:
    """Write all the bytes at an offset."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def data_extents(fd: int | None, size: int) -> Iterator[Extent]:
    """Yield where the file may hold anything but zeros, in order, up to ``size``."""
    position = 0
    while fd is not None and position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start >= size:
            return
        yield start, end - start
        position = end


def on_grid(extents: Iterator[Extent], size: int) -> Iterator[Extent]:
    """Yield the extents rounded outwards to granules and merged, cut at ``size``."""
    start = end = -1
    for offset, length in extents:
        low, high = offset // GRANULE * GRANULE, -(-(offset + length) // GRANULE) * GRANULE
        if low <= end:
            end = max(end, high)
            continue
        if end > start:
            yield start, min(end, size) - start
        start, end = low, high
    if end > start:
        yield start, min(end, size) - start


def copy_data(source: int, target: int, size: int) -> None:
    """Copy what is not a hole; the target must be empty there."""
    for offset, length in data_extents(source, size):
        for start in range(offset, offset + length, _COPY):
            piece = read_at(source, start, min(_COPY, offset + length - start))
            if not all_zero(piece):
                write_at(target, start, piece)


def reflink(source: int, target: int) -> bool:
    """Make the target share all blocks of the source; return False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True
