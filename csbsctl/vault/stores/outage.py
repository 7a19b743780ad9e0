"""While a store does not answer: since when, who is told, and when enough is enough; one for all requests to it.

A request that failed in passing is tried again, and hundreds may be under way at once: they share one outage, so that
people read one line when it begins and one when it ends, and so that the patience of all ends together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from csbsctl.clock import Clock

Tell = Callable[[str], None]
"""Takes a line for people; called from any thread."""

TELL_AFTER = 5.0
"""Seconds without an answer after which people are told."""


def to_nobody(_line: str) -> None:
    """Tell nobody."""


class Outage:
    """Whether a store answers at present; safe to use from many threads."""

    def __init__(self, name: str, clock: Clock, tell: Tell) -> None:
        self.answered_ever = False
        self._name = name
        self._clock = clock
        self._tell = tell
        self._since: float | None = None
        self._told = False
        self._lock = threading.Lock()
        """Guards the fields above."""

    def over(self) -> None:
        """Note that the store answered."""
        self.answered_ever = True
        if self._since is None:  # looked at without the lock: this is every request's way out
            return
        with self._lock:
            since, told = self._since, self._told
            self._since, self._told = None, False
        if since is not None and told:
            self._tell(f"{self._name} answers again, after {self._clock.monotonic() - since:.0f} s")

    def goes_on(self, cause: str, patience: float) -> float:
        """Note that a request was not answered; return for how many seconds none was."""
        now = self._clock.monotonic()
        with self._lock:
            since = self._since = now if self._since is None else self._since
            lasts = now - since
            tell = not self._told and lasts >= TELL_AFTER
            self._told = self._told or tell
        if tell:
            began = self._clock.now() - timedelta(seconds=lasts)
            self._tell(
                f"{self._name} does not answer since {began:%H:%M:%S} UTC ({cause}); trying again until "
                f"{began + timedelta(seconds=patience):%H:%M:%S}, then giving up: the journal keeps what is under way"
            )
        return lasts
