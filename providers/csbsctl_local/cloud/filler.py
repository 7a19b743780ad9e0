"""The background filling of lazy disks, by whichever process is there to do it."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError
from csbsctl_local.cloud.control import Control, surgery
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.fills import Fill, Sources, fetch_run
from csbsctl_local.cloud.layout import GRANULE, Layout

_RUN = 16
"""Granules fetched at a time: 1 MiB, so that a guest never waits long for the lock."""

_FILLED = Boundary("cloud.fill.arrived", "a lazy disk has all its bytes, it is still entered as lazy")


class Filler:
    """Brings in the missing bytes of lazy disks; several may run, in one process or in many."""

    def __init__(self, layout: Layout, database: Database, sources: Sources) -> None:
        self._layout, self._database, self._sources = layout, database, sources
        self._stop = threading.Event()
        self._starting = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None

    def pending(self) -> dict[str, int]:
        """Return the disks that are being filled, by volume id, and the bytes that each still misses."""
        missing = {}
        for volume_id, backing, size, _source in self._open():
            with suppress(FileNotFoundError):  # filled meanwhile
                there = self._layout.fill_map(backing).read_bytes()
                missing[volume_id] = min(there.count(0) * GRANULE, size)
        return missing

    def needed(self) -> list[dict[str, object]]:
        """Return the descriptions of all sources that a disk or a snapshot still needs."""
        rows = self._database.rows(
            "SELECT source FROM fills UNION SELECT fill FROM frozen WHERE fill IS NOT NULL"
        )
        return [json.loads(row[0]) for row in rows]

    def start(self) -> None:
        """Go on filling in a thread of this process, until done or ``stop``; nothing to fill costs one query."""
        if self._database.row("SELECT 1 FROM fills") is None:
            return
        with self._starting:
            if self._thread and self._thread.is_alive():
                return
            self._stop.clear()
            self._thread = threading.Thread(target=self._in_background, name="fill", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop filling; whoever comes next goes on."""
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def run(self, report: Callable[[str, int], None] = lambda _volume, _missing: None) -> None:
        """Fill everything there is to fill; ``report(volume_id, bytes_missing)`` as it goes."""
        while not self._stop.is_set() and (
            pending := self._open()
        ):  # again: a swap may have moved a disk meanwhile
            for volume_id, backing, size, source in pending:
                self._fill(volume_id, backing, size, source, report)

    def _in_background(self) -> None:
        fd = os.open(self._layout.folder / "fill.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one filler is enough for a cloud
            self.run()
        except (CsbsError, OSError):
            # the next process tries again; who needs the bytes now meets the same error and hears of it
            return
        finally:
            os.close(fd)

    def _open(self) -> list[tuple[str, str, int, str]]:
        rows = self._database.rows(
            "SELECT v.id, v.backing, v.size, f.source FROM fills f JOIN volumes v ON v.backing = f.backing ORDER BY v.id"
        )
        return [(row["id"], row["backing"], row["size"], row["source"]) for row in rows]

    def _fill(
        self, volume_id: str, backing: str, size: int, source: str, report: Callable[[str, int], None]
    ) -> None:
        control = Control(self._layout, volume_id)
        try:
            held = _Held(control)
            with held:
                if (volume_id, backing, size, source) not in self._open():
                    return
                fill = Fill(self._layout.fill_map(backing), size, source, self._sources)
                fd = os.open(self._layout.backing(backing), os.O_RDWR | os.O_CLOEXEC)
            try:
                complete = self._fetch_all(volume_id, fill, fd, held, report)
            finally:
                os.close(fd)
                fill.close()
        finally:
            control.close()
        if complete:
            _FILLED()
            self._finish(backing, volume_id)

    def _fetch_all(
        self, volume_id: str, fill: Fill, fd: int, held: _Held, report: Callable[[str, int], None]
    ) -> bool:
        start = fill.present.next_unset(0)
        try:
            while start is not None and not self._stop.is_set():
                fetch_run(fill, fd, start, min(_RUN, fill.present.size - start), held)
                start = fill.present.next_unset(start)
                report(volume_id, 0 if start is None else fill.size - start * GRANULE)
        except _Moved:
            return False
        return start is None

    def _finish(self, backing: str, volume_id: str) -> None:
        with surgery(self._database, self._layout) as (change, pause):
            pause.hold([volume_id])
            change.execute("DELETE FROM fills WHERE backing = ?", (backing,))
        self._layout.fill_map(backing).unlink(missing_ok=True)


class _Moved(Exception):
    """The disk has got another volume, and so another lock, since it was first held."""


class _Held:
    """A volume's lock as a context manager that insists on the volume being what it was."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._epoch = -1

    def __enter__(self) -> None:
        self._control.acquire()
        if self._epoch not in (-1, self._control.epoch):
            self._control.release()
            raise _Moved
        self._epoch = self._control.epoch

    def __exit__(self, *_: object) -> None:
        self._control.release()
