"""Writing behind: a file becomes durable while it is still being written, so that little is left to wait for at the end.

Knows nothing of what is written, nor where in the file.
"""

from __future__ import annotations

import os
import threading
from typing import Self

_AT_ONCE = 32 * 1024 * 1024
"""Bytes that come together before they are written out: enough for the disk to write them in long runs."""


class WriteBehind:
    """Syncs a file in a thread of its own whenever some more of it was written.

    The kernel reports a failed write to one sync only, so what the thread was told is kept and raised here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._changed = threading.Condition()  # guards everything below
        self._waiting = 0
        self._over = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="write-behind")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def alive(self) -> bool:
        """Whether it still works: not after its end, nor after a failure."""
        return self._thread.is_alive()

    def wrote(self, count: int) -> None:
        """Take note of bytes that were written; from any thread. Raises OSError when earlier ones were lost."""
        with self._changed:
            self._refuse_to_go_on()
            self._waiting += count
            if self._waiting >= _AT_ONCE:
                self._changed.notify()

    def finish(self) -> None:
        """Return when all that was written is durable. Raises OSError when it is not."""
        self._stop()
        self._refuse_to_go_on()
        os.fsync(self._fd)

    def _stop(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _refuse_to_go_on(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        while self._enough():
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                with self._changed:
                    self._error = error
                return

    def _enough(self) -> bool:
        """Wait until there is something to do; False when there will not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._waiting >= _AT_ONCE)
            self._waiting = 0
            return not self._over
