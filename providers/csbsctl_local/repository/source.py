"""Where the bytes of a disk come from: the contract of a block source, and the plain file that fulfils it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from csbsctl.errors import StoreUnavailable


class BlockSource(Protocol):
    """A disk that holds still while it is read. Methods may be called from several threads."""

    @property
    def size(self) -> int:
        """Bytes of the disk, holes included; need not be a multiple of anything."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer with the bytes at the offset; never asked for bytes past the end."""
        ...

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what may hold data, ascending; the rest reads as zeros and is skipped."""
        ...


class FileSource:
    """A raw image in a file (or a block device), read without moving its position."""

    def __init__(self, file: int | Path | str) -> None:
        self._owned = not isinstance(file, int)
        self._fd = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def size(self) -> int:
        """See BlockSource."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See BlockSource."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise StoreUnavailable(
                    f"cannot read the disk at byte {offset + done}: {error.strerror}"
                ) from error
            if not count:
                raise StoreUnavailable(
                    f"the disk ends at byte {offset + done}, before its size of {self._size}"
                )
            done += count

    def extents(self) -> Iterator[tuple[int, int]]:
        """See BlockSource; asks the file system for its holes."""
        at = 0
        while at < self._size:
            try:
                start = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole up to the end
                return
            at = os.lseek(self._fd, start, os.SEEK_HOLE)
            yield start, at - start

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._owned:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
