"""The runner's clock: the test's virtual time, or, while a test says so, a wrong one."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from csbsctl.clock import VirtualClock


class RunnerClock:
    """Shows another clock's time shifted by ``skew``. Not ``virtual``: whoever distrusts clocks is to distrust it."""

    virtual = False

    def __init__(self, true: VirtualClock) -> None:
        self.skew = timedelta(0)
        self._true = true

    def now(self) -> datetime:
        """Return what the runner takes for the time, in UTC."""
        return self._true.now() + self.skew

    def monotonic(self) -> float:
        """Return real seconds from an arbitrary start."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return at once: nobody waits in virtual time."""
