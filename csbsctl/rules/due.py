"""Which slot of its policy one server should be backed up for now, and which ones it missed (design section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from csbsctl.rules.schedule import Timetable


@dataclass(frozen=True, slots=True)
class DueResult:
    """What one server owes its schedule. Record both, and pass the newest of them as ``last_slot`` next time."""

    due: datetime | None
    """The one slot to start now; None when nothing is due."""
    missed: tuple[datetime, ...] = ()
    """Slots that will not be run any more, oldest first; never reported twice."""

    @property
    def settled(self) -> datetime | None:
        """Return the newest slot this result speaks of: the next ``last_slot``, None when it speaks of none."""
        return self.due or (self.missed[-1] if self.missed else None)


def due_slots(
    timetable: Timetable,
    *,
    since: datetime,
    last_slot: datetime | None,
    now: datetime,
    start_within: timedelta,
    delay: timedelta = timedelta(0),
) -> DueResult:
    """Return what is due at ``now`` and what was missed.

    Args:
        timetable: the slots of the server's policy.
        since: when the server came under the policy (bound, policy enabled, server created: the latest of them);
            a slot at or before it does not concern the server.
        last_slot: the newest slot that was served, skipped or recorded as missed.
        now: the present.
        start_within: how late a slot may still be started.
        delay: how long after each slot this server starts (``spread``).
    """
    start = since if last_slot is None else max(since, last_slot)
    reached = list(timetable.between(start, now - delay)) if now - delay > start else []
    if reached and now - (reached[-1] + delay) <= start_within:
        return DueResult(due=reached[-1], missed=tuple(reached[:-1]))
    return DueResult(due=None, missed=tuple(reached))


def next_start(timetable: Timetable, after: datetime, delay: timedelta = timedelta(0)) -> datetime | None:
    """Return when a server next starts: its first slot whose delayed start lies after an instant, plus the delay."""
    slot = timetable.next(after - delay)
    return None if slot is None else slot + delay
