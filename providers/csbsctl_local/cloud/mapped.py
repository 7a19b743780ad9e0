"""Small files that several processes map into memory: control files, maps of granules.

What one process stores in a mapping, every other sees at once, and it outlives the process that is killed.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class MappedFile:
    """A file of at least ``size`` bytes, mapped shared; created, as zeros, where it is absent and ``create`` is given."""

    def __init__(self, path: Path, size: int, *, create: bool = True) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
        try:
            if os.fstat(self.fd).st_size < size:
                os.posix_fallocate(self.fd, 0, size)  # a full disk is an error here, a SIGBUS later
            self.bytes = mmap.mmap(self.fd, max(size, 1)) if size else mmap.mmap(-1, 1)
        except BaseException:
            os.close(self.fd)
            raise
        self.size = size

    def close(self) -> None:
        """Unmap and close."""
        if self.fd >= 0:
            self.bytes.close()
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class GranuleMap(MappedFile):
    """One byte per granule, 0 or 1; a granule that was set is never cleared."""

    def all_set(self, first: int, last: int) -> bool:
        """Say whether every granule from first to last (included) is set."""
        return self.bytes.find(b"\0", first, last + 1) < 0

    def any_set(self, first: int, last: int) -> bool:
        """Say whether any granule from first to last (included) is set."""
        return self.bytes.find(b"\1", first, last + 1) >= 0

    def unset(self, first: int, last: int) -> list[int]:
        """Return the granules from first to last (included) that are not set."""
        return [granule for granule in range(first, last + 1) if not self.bytes[granule]]

    def set(self, granule: int) -> None:
        """Set a granule; whatever was written to files before is visible to whoever sees it set."""
        self.bytes[granule] = 1

    def next_unset(self, start: int) -> int | None:
        """Return the first granule from ``start`` that is not set, or None."""
        found = self.bytes.find(b"\0", start, self.size)
        return None if found < 0 else found
