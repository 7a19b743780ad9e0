"""A frozen disk: one volume as it was at the instant of a snapshot, readable while the volume lives on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from sqlite3 import Row

from csbsctl_local.cloud.fills import Overlay, Sources
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.preserve import OldGranules
from csbsctl_local.cloud.sparse import Extent, data_extents, on_grid, open_if_there, read_into


class FrozenDisk:
    """Bytes that hold still. Methods may be called from several threads."""

    def __init__(self, layout: Layout, row: Row, sources: Sources, *, reflinked: bool) -> None:
        self._size: int = row["size"]
        snapshot, position = row["snapshot"], row["position"]
        self._path = layout.frozen(snapshot, position, "raw") if reflinked else layout.backing(row["backing"])
        self._fd = open_if_there(self._path)
        self._opening = threading.Lock()
        self._old = None if reflinked else OldGranules(layout, snapshot, position, self._size)
        fill = row["fill"]
        self._overlay = (
            Overlay(layout.frozen(snapshot, position, "fill"), self._size, fill, sources) if fill else None
        )

    @property
    def size(self) -> int:
        """Return the size in bytes at the instant."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes at the offset."""
        read_into(self._descriptor(), offset, buffer)
        if self._old:  # after the disk, never before: see preserve
            self._old.apply(offset, buffer)
        if self._overlay:
            self._overlay.apply(offset, buffer)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes; a range past the end is cut short."""
        data = bytearray(max(0, min(length, self._size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def extents(self) -> Iterator[Extent]:
        """Yield where there may be anything but zeros, ascending, on the granule grid.

        The living disk may hold more than the frozen one did, never less: data is overwritten there, not punched.
        """
        found = list(data_extents(self._descriptor(), self._size))
        if self._overlay:
            found = sorted([*found, *self._overlay.extents()])
        return on_grid(iter(found), self._size)

    def close(self) -> None:
        """Let go of the files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._old:
            self._old.close()
        if self._overlay:
            self._overlay.close()

    def _descriptor(self) -> int | None:
        if (
            self._fd is None and self._old
        ):  # the disk had no bytes at the instant; by now it may, saved granules too
            with self._opening:
                if self._fd is None:
                    self._fd = open_if_there(self._path)
        return self._fd
