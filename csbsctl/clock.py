"""Time as a dependency: who needs the time of day is handed a Clock.

Wall time decides what is due and what is dated how; it can be virtual (``--at``). Leases, timeouts and waits use
``monotonic`` and ``sleep``, which are always real.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time (aware, UTC) and real elapsed seconds."""

    def now(self) -> datetime:
        """Return the current wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return real seconds from an arbitrary start that never run backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        ...


class SystemClock:
    """The machine's clock, shifted by a fixed offset when a command was given ``--at``."""

    def __init__(self, start: datetime | None = None) -> None:
        self._offset = start - _system_now() if start else timedelta(0)

    @property
    def virtual(self) -> bool:
        """Whether wall time was set by hand."""
        return self._offset != timedelta(0)

    def now(self) -> datetime:
        """Return the current wall time, aware, in UTC."""
        return _system_now() + self._offset

    def monotonic(self) -> float:
        """Return real seconds from an arbitrary start."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        time.sleep(seconds)  # noqa: TID251 - the one place that really sleeps


class VirtualClock:
    """Wall time that stands still until it is moved: policy tests, the demo and the test suite."""

    virtual = True

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return the virtual wall time."""
        return self._now

    def move_to(self, instant: datetime) -> None:
        """Set the virtual wall time."""
        self._now = instant.astimezone(UTC)

    def advance(self, delta: timedelta) -> None:
        """Move the virtual wall time on."""
        self._now += delta

    def monotonic(self) -> float:
        """Return real seconds from an arbitrary start."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        time.sleep(seconds)  # noqa: TID251 - real on purpose: leases and retries do not live in virtual time


def parse_instant(text: str) -> datetime:
    """Return the aware UTC instant that an RFC 3339 text names; a missing offset means UTC.

    Raises:
        ValueError: the text is no date and time.
    """
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """Return RFC 3339 in UTC, whole seconds where they are whole: ``2026-11-22T18:00:00Z``."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _system_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the one place that reads the machine's clock
