"""The wish to stop, from a signal to every running step: once means cleanly, twice means now.

Knows nothing of jobs. Steps ask through ``check``; the first wish lets undoing go on, the second does not.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from csbsctl.errors import Interrupted

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopSignal:
    """Counts the wishes to stop; may be asked and set from any thread or signal handler."""

    def __init__(self) -> None:
        self._wishes = 0
        self._exit_code = 130
        self._event = threading.Event()

    def request(self, exit_code: int = 130) -> None:
        """Ask everything to stop; asked again, ask it to stop at once."""
        self._wishes += 1
        self._exit_code = exit_code
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether anybody asked to stop."""
        return self._wishes > 0

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self._wishes:
            raise Interrupted(exit_code=self._exit_code)

    def check_now(self) -> None:
        """Raise Interrupted only when a stop was asked for twice: what undoing and finishing steps use."""
        if self._wishes > 1:
            raise Interrupted("stopped at once", exit_code=self._exit_code)

    def wait(self, seconds: float) -> bool:
        """Wait for real seconds or until somebody asks to stop; return whether somebody did."""
        return self._event.wait(seconds)

    @contextmanager
    def listening(self) -> Iterator[StopSignal]:
        """Turn SIGINT and SIGTERM into wishes to stop while the block runs; main thread only."""
        before = {number: signal.signal(number, self._handle) for number in _EXIT_CODES}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.request(_EXIT_CODES[signal.Signals(number)])
