"""When a policy runs: the instants of a schedule, in the policy's zone, for any span of time.

Nothing is scanned from the anchor on: a question costs as much as its answer is long. Knows nothing of servers'
histories (that is ``due``), and reads no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from csbsctl.model.policy import Schedule, Weekday
from csbsctl.model.recurrence import Recurrence
from csbsctl.model.walltime import to_instant, to_wall, zone

_DAY = timedelta(days=1)
# A date line crossing or a clock change moves a wall time by at most a day (Samoa skipped 2011-12-30).
_MARGIN = 2


class Timetable:
    """The slots of a schedule. ``anchor`` is the instant that ``every_days`` and ``INTERVAL`` count from.

    The cadence has no beginning: which slots concern a server is for the caller to say. Editing the schedule keeps
    the anchor, so a policy of every 7 days that becomes every 5 on its third day runs two days later.
    """

    def __init__(self, schedule: Schedule, anchor: datetime) -> None:
        zone_ = zone(schedule.timezone)
        first = to_wall(anchor, zone_).date()
        self._days: _TimesOfDay | _Recurring
        if schedule.rrule is not None:
            self._days = _Recurring(Recurrence(schedule.rrule, first), zone_)
        else:
            self._days = _TimesOfDay(schedule, first.toordinal(), zone_)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Return the slots in ``(start, end]``: UTC, ascending, each instant once."""
        return self._days.between(start.astimezone(UTC), end.astimezone(UTC))

    def next(self, after: datetime) -> datetime | None:
        """Return the first slot after an instant; None only where a rule names no more times."""
        return self._days.next(after.astimezone(UTC))

    def last(self, until: datetime) -> datetime | None:
        """Return the newest slot that is not after an instant; None only where a rule named no times before."""
        return self._days.last(until.astimezone(UTC))


def delay(schedule: Schedule, server_id: str) -> timedelta:
    """Return how long after its slots a server starts: whole seconds below ``spread``, always the same for it."""
    span = int(schedule.spread.total_seconds())
    if span <= 0:
        return timedelta(0)
    digest = hashlib.blake2b(server_id.encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest, "big") % span)


class _TimesOfDay:
    """Times of day on every day, on some weekdays, or every so many days. Days are ordinals: cheap to step over."""

    def __init__(self, schedule: Schedule, anchor: int, zone: ZoneInfo) -> None:
        self._zone = zone
        self._offsets = [timedelta(hours=t.hour, minutes=t.minute) for t in schedule.times]
        self._step = schedule.every_days or 1
        self._anchor = anchor
        names = list(Weekday)
        self._weekdays = None if schedule.days is None else frozenset(names.index(d) for d in schedule.days)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        previous = start
        last = _ordinal(end, self._zone) + _MARGIN
        for day in self._days_from(_ordinal(start, self._zone) - _MARGIN):
            if day > last:
                return
            for slot in self._slots(day):
                if previous < slot <= end:
                    yield slot
                    previous = slot

    def next(self, after: datetime) -> datetime:
        for day in self._days_from(_ordinal(after, self._zone) - _MARGIN):
            for slot in self._slots(day):
                if slot > after:
                    return slot
        raise AssertionError("days never end")

    def last(self, until: datetime) -> datetime:
        day = _ordinal(until, self._zone) + _MARGIN
        while True:
            if self._runs_on(day):
                for slot in reversed(self._slots(day)):
                    if slot <= until:
                        return slot
            day -= 1

    def _days_from(self, day: int) -> Iterator[int]:
        day += (self._anchor - day) % self._step
        while True:
            if self._weekdays is None or (day - 1) % 7 in self._weekdays:
                yield day
            day += self._step

    def _runs_on(self, day: int) -> bool:
        if self._weekdays is not None:
            return (day - 1) % 7 in self._weekdays
        return (day - self._anchor) % self._step == 0

    def _slots(self, day: int) -> list[datetime]:
        midnight = datetime.fromordinal(day)
        offset = self._zone.utcoffset(midnight)
        assert offset is not None
        if offset == self._zone.utcoffset(midnight + _DAY):
            # No change of clocks on this day: plain addition, ten times faster than asking the zone each time.
            base = midnight.replace(tzinfo=UTC) - offset
            return [base + time_of_day for time_of_day in self._offsets]
        return [to_instant(midnight + time_of_day, self._zone) for time_of_day in self._offsets]


class _Recurring:
    """The wall times of an RFC 5545 rule, mapped to instants."""

    def __init__(self, rule: Recurrence, zone: ZoneInfo) -> None:
        self._rule = rule
        self._zone = zone

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        previous = start
        walls = self._rule.between(
            to_wall(start, self._zone) - _MARGIN * _DAY, to_wall(end, self._zone) + _MARGIN * _DAY
        )
        for wall in walls:
            slot = to_instant(wall, self._zone)
            if slot > end:
                return
            if slot > previous:
                yield slot
                previous = slot

    def next(self, after: datetime) -> datetime | None:
        wall = self._rule.first_after(to_wall(after, self._zone) - _MARGIN * _DAY)
        while wall is not None:
            slot = to_instant(wall, self._zone)
            if slot > after:
                return slot
            wall = self._rule.first_after(wall)
        return None

    def last(self, until: datetime) -> datetime | None:
        wall = self._rule.last_until(to_wall(until, self._zone) + _MARGIN * _DAY)
        while wall is not None:
            slot = to_instant(wall, self._zone)
            if slot <= until:
                return slot
            wall = self._rule.last_until(wall - timedelta(minutes=1))
        return None


def _ordinal(instant: datetime, zone: ZoneInfo) -> int:
    return instant.astimezone(zone).toordinal()
