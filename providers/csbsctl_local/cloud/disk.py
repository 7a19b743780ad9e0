"""A guest's disk: the one path by which guests read and write.

A write holds the volume's lock and, in this order: fetches what it writes only a part of (lazy disks), saves the old
bytes for every copy-before-write snapshot, marks the era, writes. A process killed anywhere in between leaves at
worst a granule saved or marked that did not change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from csbsctl.errors import CloudRefused, ResourceConflict, ResourceNotFound
from csbsctl.units import format_size
from csbsctl_local.cloud.control import Control
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.eras import Eras
from csbsctl_local.cloud.fills import Fill, Sources
from csbsctl_local.cloud.layout import GRANULE, Layout
from csbsctl_local.cloud.preserve import OldGranules
from csbsctl_local.cloud.sparse import Extent, data_extents, on_grid, open_if_there, read_at, write_at


class _Behind:
    """What lies behind a volume at one epoch: files, open, and the numbers of that time."""

    def __init__(
        self, layout: Layout, database: Database, sources: Sources, volume_id: str, epoch: int
    ) -> None:
        row = database.row("SELECT backing, size, era, name FROM volumes WHERE id = ?", (volume_id,))
        if row is None:
            raise ResourceNotFound(f"volume {volume_id} does not exist")
        self.epoch = epoch
        self.size: int = row["size"]
        self.era: int = row["era"]
        self.name: str = row["name"]
        self.path = layout.backing(row["backing"])
        self.fd = open_if_there(self.path, os.O_RDWR)
        self.eras = Eras(layout.eras(volume_id), self.size)
        fill = database.row("SELECT source FROM fills WHERE backing = ?", (row["backing"],))
        self.fill = (
            Fill(layout.fill_map(row["backing"]), self.size, fill["source"], sources) if fill else None
        )
        self.snapshots = [
            OldGranules(layout, frozen["snapshot"], frozen["position"], frozen["size"])
            for frozen in database.rows(
                "SELECT f.snapshot, f.position, f.size FROM frozen f JOIN snapshots s ON s.id = f.snapshot"
                " WHERE f.backing = ? AND s.method = 'copy-before-write'",
                (row["backing"],),
            )
        ]
        self.running = bool(
            database.row(
                "SELECT 1 FROM attachments a JOIN servers s ON s.id = a.server"
                " WHERE a.volume = ? AND s.state = 'active'",
                (volume_id,),
            )
        )

    def close(self) -> None:
        self.eras.close()
        if self.fill:
            self.fill.close()
        for snapshot in self.snapshots:
            snapshot.close()
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Disk:
    """One volume as a guest sees it. Not for several threads at once; open one per thread."""

    def __init__(self, layout: Layout, database: Database, sources: Sources, volume_id: str) -> None:
        self._layout, self._database, self._sources = layout, database, sources
        self.volume_id = volume_id
        if database.row("SELECT 1 FROM volumes WHERE id = ?", (volume_id,)) is None:
            raise ResourceNotFound(f"volume {volume_id} does not exist")
        self._control = Control(layout, volume_id)
        self._known: _Behind | None = None

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self._fresh().size

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the I/O path: nobody writes meanwhile."""
        self._control.acquire()
        try:
            yield
        finally:
            self._control.release()

    @contextmanager
    def still(self) -> Iterator[StillDisk]:
        """Hold the I/O path and read the disk as it stands."""
        with self.held():
            behind = self._current()
            yield StillDisk(behind, self._opened(behind) if behind.fill else behind.fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk; a range past the end is cut short."""
        while True:
            behind = self._fresh()
            wanted = max(0, min(length, behind.size - offset))
            self._fetch(behind, offset, wanted)
            data = read_at(behind.fd, offset, wanted)
            if self._control.epoch == behind.epoch:  # else the disk was exchanged under our hands
                return data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes as the guest does.

        Raises:
            ResourceConflict: no server that has the disk is running.
            CloudRefused: the range does not lie within the disk.
        """
        if not data:
            return
        with self.held():
            behind = self._current()
            if not behind.running:
                raise ResourceConflict(
                    f"disk {behind.name} cannot be written: its server is stopped", hint="start the server"
                )
            if offset < 0 or offset + len(data) > behind.size:
                raise CloudRefused(
                    f"disk {behind.name} has {format_size(behind.size)}: bytes {offset} to {offset + len(data)} do not fit"
                )
            self._write(behind, offset, data)

    def extents(self) -> list[Extent]:
        """Return where the disk may hold anything but zeros."""
        behind = self._fresh()
        if behind.fill and behind.fill.present.next_unset(0) is not None:
            return [(0, behind.size)]
        return list(on_grid(data_extents(behind.fd, behind.size), behind.size))

    def close(self) -> None:
        """Let go of all files."""
        if self._known:
            self._known.close()
            self._known = None
        self._control.close()

    def _fresh(self) -> _Behind:
        if self._known is not None and self._known.epoch == self._control.epoch:
            return self._known
        with self.held():  # without the lock we might see what a change that is under way has not committed
            return self._current()

    def _current(self) -> _Behind:
        """Return what lies behind the volume now; the lock must be held."""
        epoch = self._control.epoch
        if self._known is None or self._known.epoch != epoch:
            if self._known:
                self._known.close()
                self._known = None
            self._known = _Behind(self._layout, self._database, self._sources, self.volume_id, epoch)
        return self._known

    def _fetch(self, behind: _Behind, offset: int, length: int) -> None:
        """Bring in what a lazy disk still misses of a range."""
        if not behind.fill or not length:
            return
        first, last = offset // GRANULE, (offset + length - 1) // GRANULE
        if behind.fill.present.all_set(first, last):
            return
        with self.held():
            now = self._current()
            if now is behind and behind.fill:
                behind.fill.ensure(self._opened(behind), first, last)

    def _write(self, behind: _Behind, offset: int, data: bytes | memoryview) -> None:
        end = offset + len(data)
        first, last = offset // GRANULE, (end - 1) // GRANULE
        fd = self._opened(behind)
        if behind.fill:
            behind.fill.ensure(fd, first, last)
        for snapshot in behind.snapshots:
            snapshot.preserve(fd, first, last)
        behind.eras.mark(first, last, behind.era)
        write_at(fd, offset, data)

    def _opened(self, behind: _Behind) -> int:
        """Return the descriptor of the disk's bytes, which come into being with the first write."""
        if behind.fd is None:
            behind.fd = os.open(behind.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if os.fstat(behind.fd).st_size < behind.size:
                os.ftruncate(behind.fd, behind.size)
            self._control.raise_epoch()
            behind.epoch = self._control.epoch
        return behind.fd


class StillDisk:
    """A disk whose I/O path is held."""

    def __init__(self, behind: _Behind, fd: int | None) -> None:
        self._behind, self._fd = behind, fd
        self.size = behind.size

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk; a range past the end is cut short."""
        length = max(0, min(length, self.size - offset))
        if self._behind.fill and self._fd is not None and length:
            self._behind.fill.ensure(self._fd, offset // GRANULE, (offset + length - 1) // GRANULE)
        return read_at(self._fd, offset, length)
