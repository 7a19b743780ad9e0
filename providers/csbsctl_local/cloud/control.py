"""The lock of a volume's I/O path, and how to hold those of several volumes at one instant.

Every guest write holds its volume's lock. Whoever changes what lies behind a volume (a snapshot, a swap, a resize)
holds the locks of all volumes concerned, changes the database, raises their epochs and lets go; a writer that finds
another epoch than it knew looks the volume up again. Order: the database's write transaction, the gate, then
volumes by id; writers hold one volume lock and only ever read the database.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from sqlite3 import Connection

from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.mapped import MappedFile

_EPOCH = struct.Struct("=Q")
_WAITING = 8
_SIZE = 16


class Control:
    """One volume's lock, epoch, and the flag by which a busy writer learns that somebody waits."""

    def __init__(self, layout: Layout, volume_id: str) -> None:
        self._layout = layout
        self._file = MappedFile(layout.control(volume_id), _SIZE)
        self._threads = threading.Lock()  # flock does not tell threads of one descriptor apart

    @property
    def epoch(self) -> int:
        """Return how often what lies behind the volume has changed."""
        epoch: int = _EPOCH.unpack_from(self._file.bytes)[0]
        return epoch

    def raise_epoch(self) -> None:
        """Tell every writer to look the volume up again; the lock must be held."""
        _EPOCH.pack_into(self._file.bytes, 0, self.epoch + 1)

    def acquire(self) -> None:
        """Take the lock as a writer: step back first when somebody waits for it."""
        self._threads.acquire()
        if self._file.bytes[_WAITING]:
            self._step_back()
        fcntl.flock(self._file.fd, fcntl.LOCK_EX)

    def acquire_first(self) -> None:
        """Take the lock ahead of the writers; the gate must be held."""
        self._threads.acquire()
        self._file.bytes[_WAITING] = 1
        fcntl.flock(self._file.fd, fcntl.LOCK_EX)

    def release(self, *, first: bool = False) -> None:
        """Let go of the lock; ``first`` says that it was taken ahead of the writers."""
        if first:
            self._file.bytes[_WAITING] = 0
        fcntl.flock(self._file.fd, fcntl.LOCK_UN)
        self._threads.release()

    def close(self) -> None:
        """Close the file; a lock that is held is lost."""
        self._file.close()

    def _step_back(self) -> None:
        # flock is not fair: without the gate a writer in a loop would starve a snapshot for seconds. The flag may
        # be left over from a process that was killed; then the gate is free and this costs a microsecond.
        fd = os.open(self._layout.gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)


class Pause:
    """The I/O paths that are being held, and since when."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: list[Control] = []
        self._gate = -1
        self.began = time.monotonic()

    def hold(self, volume_ids: Iterable[str]) -> None:
        """Wait until no write is in flight on any of the volumes, and keep it so. Call it once."""
        self._gate = os.open(self._layout.gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        self.began = time.monotonic()
        for volume_id in sorted(set(volume_ids)):
            control = Control(self._layout, volume_id)
            control.acquire_first()
            self._held.append(control)
            control.raise_epoch()

    def release(self) -> None:
        """Let the writers go on."""
        for control in self._held:
            control.release(first=True)
            control.close()
        self._held.clear()
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1


@contextmanager
def surgery(database: Database, layout: Layout) -> Iterator[tuple[Connection, Pause]]:
    """Open a database change in which volumes can be paused; they go on only after it is committed."""
    with ExitStack() as afterwards, database.change() as change:
        pause = Pause(layout)
        afterwards.callback(pause.release)
        yield change, pause
