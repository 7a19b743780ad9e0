"""Bytes to read from: the contract of a source, a part of one, and a cache of pages before a slow one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from csbsctl.errors import Damaged

_PAGE = 64 * 1024
_KEPT = 256


class BlockSource(Protocol):
    """A disk or a part of one."""

    @property
    def size(self) -> int:
        """Bytes there are."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range."""
        ...


class Window:
    """A part of a source, such as a partition. Reading past its end raises Damaged: whoever points there is wrong."""

    def __init__(self, source: BlockSource, start: int, size: int) -> None:
        self._source, self._start, self.size = source, start, size

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly so many bytes. Raises Damaged when the range is not inside."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Damaged(f"{length} bytes at {offset} are wanted of a file system of {self.size}")
        data = self._source.read(self._start + offset, length)
        if len(data) != length:
            raise Damaged(f"the disk ends at {self._start + offset + len(data)}, within a file system")
        return data


class Cached:
    """A source with its last pages in memory: metadata is read in small pieces, many of them again and again.

    Long reads pass by, so that a large file does not push everything else out.
    """

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self.size = source.size
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range, cut short at the end."""
        if length > _PAGE:
            return self._source.read(offset, length)
        first, last = offset // _PAGE, (offset + max(length, 1) - 1) // _PAGE
        data = b"".join(self._page(number) for number in range(first, last + 1))
        start = offset - first * _PAGE
        return data[start : start + length]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            page = self._source.read(number * _PAGE, min(_PAGE, max(0, self.size - number * _PAGE)))
            self._pages[number] = page
            if len(self._pages) > _KEPT:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page
