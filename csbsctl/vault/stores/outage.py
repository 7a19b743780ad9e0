"""While a store does not answer: since when, who is told, and when enough is enough; one for all requests to it.

A request that failed in passing is tried again, and hundreds may be under way at once: they share one outage, so that
people read one line when it begins and one when it ends, and so that the patience of all ends together. A request that
is not even refused waits for a minute before it counts as failed: a thread of its own looks for those and says so.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from csbsctl.clock import Clock, SystemClock

Tell = Callable[[str], None]
"""Takes a line for people; called from any thread."""

TELL_AFTER = 5.0
"""Seconds without an answer after which people are told."""

SILENT_AFTER = 10.0
"""Seconds that the oldest request may wait for its answer before people are told."""

_LOOK_EVERY = 2.0


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
        self._silent_since: float | None = None
        """When the request began of whose silence people were told."""
        self._lock = threading.Lock()
        """Guards the fields above."""
        self._waiting: dict[int, float] = {}
        """When each request that waits for its answer began."""
        self._numbers = itertools.count()
        self._watched = tell is to_nobody

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Hold this while a small request waits for its answer; a large one takes its time, and that is no silence."""
        number = next(self._numbers)
        self._waiting[number] = self._clock.monotonic()
        if not self._watched:
            self._watched = True
            threading.Thread(target=_watch, args=(weakref.ref(self),), name="outage", daemon=True).start()
        try:
            yield
        finally:
            del self._waiting[number]

    def over(self) -> None:
        """Note that the store answered."""
        self.answered_ever = True
        if self._since is None and self._silent_since is None:  # every request's way out: without the lock
            return
        with self._lock:
            since = self._since if self._silent_since is None else self._silent_since
            told = self._told or self._silent_since is not None
            self._since, self._told, self._silent_since = None, False, None
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

    def look(self) -> None:
        """Tell people when a request has waited too long for its answer, once until the store answers one."""
        oldest = min(list(self._waiting.values()), default=None)
        if oldest is None or self._clock.monotonic() - oldest < SILENT_AFTER:
            return
        with self._lock:
            tell = not self._told and self._silent_since is None
            if tell:
                self._silent_since = oldest
        if tell:
            began = self._clock.now() - timedelta(seconds=self._clock.monotonic() - oldest)
            self._tell(
                f"{self._name} has been silent since {began:%H:%M:%S} UTC: still waiting for its answer"
            )


def _watch(watched: weakref.ref[Outage]) -> None:
    """Look every now and then, for as long as somebody uses the store. In real time, whatever the store's clock is."""
    clock = SystemClock()
    while True:
        clock.sleep(_LOOK_EVERY)
        outage = watched()
        if outage is None:
            return
        outage.look()
        del outage
