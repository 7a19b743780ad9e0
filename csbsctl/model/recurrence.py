"""RFC 5545 recurrence rules as policies may use them: which parts are allowed, and the wall times they name.

python-dateutil does the calendar arithmetic and is imported only when a rule is met. A rule is evaluated in wall
time. Its phase (which weeks ``INTERVAL=2`` means) hangs on an anchor date; the expansion starts near the asked
span, a whole number of intervals from the anchor, so that it costs as much in year ten as on the first day.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from csbsctl.model.walltime import to_instant, zone

if TYPE_CHECKING:
    from dateutil.rrule import rrule

MIN_GAP = timedelta(hours=1)
MAX_LENGTH = 10_240
"""Characters of a rule (csbs.md 1.6)."""
HORIZON = timedelta(days=366 * 12)
"""A rule that names no time in so long is taken to name none; 29 February can be eight years away."""

_FREQUENCIES = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS = (
    "FREQ",
    "INTERVAL",
    "WKST",
    "BYMONTH",
    "BYWEEKNO",
    "BYYEARDAY",
    "BYMONTHDAY",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSETPOS",
)
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY_PARTS = {
    "WEEKLY": ("BYDAY",),
    "MONTHLY": ("BYDAY", "BYMONTHDAY"),
    "YEARLY": ("BYDAY", "BYMONTHDAY", "BYYEARDAY"),
}
_REFUSED = {
    "COUNT": "a policy does not end after a number of runs: leave out COUNT",
    "UNTIL": "a policy does not end on a date: leave out UNTIL, disable the policy instead",
    "DTSTART": "leave out DTSTART: a rule starts when its policy is created",
    "BYSECOND": "schedules have the precision of a minute: leave out BYSECOND",
    "BYEASTER": "BYEASTER is not part of RFC 5545",
}


def parse_parts(text: str) -> dict[str, str]:
    """Return the parts of a rule by name, checked for everything but the distance of the times.

    Raises:
        ValueError: a part is unknown, refused, doubled or missing.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a rule has at most {MAX_LENGTH} characters, not {len(text)}")
    parts: dict[str, str] = {}
    for item in text.split(";"):
        name, separator, value = item.partition("=")
        _check_part(name, separator, value)
        if name in parts:
            raise ValueError(f"{name} is given twice")
        parts[name] = value
    _check_whole(parts)
    return parts


@functools.lru_cache(maxsize=1024)
def validate_rrule(text: str, timezone: str = "UTC") -> None:
    """Check that a rule says when, at least once in 12 years and never twice within an hour in its zone.

    The distance is measured between instants over more than a year, nights of clock changes included.

    Raises:
        ValueError: it does not, with the reason.
    """
    rule = Recurrence(text, _REFERENCE.date())
    if rule.first_after(_REFERENCE) is None:
        raise ValueError("the rule never names a time")
    where = zone(timezone)
    previous: tuple[datetime, datetime] | None = None
    for wall in rule.between(_REFERENCE, _REFERENCE + timedelta(days=800)):
        instant = to_instant(wall, where)
        if previous and timedelta(0) < instant - previous[1] < MIN_GAP:
            minutes = (instant - previous[1]) // timedelta(minutes=1)
            raise ValueError(
                f"the rule runs at {previous[0]:%Y-%m-%d %H:%M} and {wall:%Y-%m-%d %H:%M} in {timezone}, "
                f"{minutes} minutes apart: runs must be at least an hour apart, also when clocks change"
            )
        previous = wall, instant


class Recurrence:
    """The wall times of a rule, without end in either direction; ``anchor`` is the date that INTERVAL counts from."""

    def __init__(self, text: str, anchor: date) -> None:
        parts = parse_parts(text)
        # Minutes and seconds never come from the start: a rule without BYMINUTE runs on the hour.
        self._text = text
        self._frequency = parts["FREQ"]
        self._interval = int(parts.get("INTERVAL", "1"))
        self._anchor = self._period_start(anchor, parts.get("WKST", "MO"))
        self._expand(self._anchor, self._anchor)  # the library has the last word on values out of range

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Return the wall times in ``(start, end]``, ascending."""
        for wall in self._expand(self._rebased(start), end):
            if wall > start:
                yield wall

    def first_after(self, start: datetime) -> datetime | None:
        """Return the first wall time after another one, or None when there is none within the horizon."""
        return next(self.between(start, start + HORIZON), None)

    def last_until(self, end: datetime) -> datetime | None:
        """Return the newest wall time not after another one, or None when there is none within the horizon."""
        span = timedelta(days=2)
        while span < HORIZON * 2:
            last = None
            for last in self.between(end - span, end):  # noqa: B007 - the last one is what is wanted
                pass
            if last is not None:
                return last
            span *= 8
        return None

    def _expand(self, start: datetime, end: datetime) -> rrule:
        from dateutil.rrule import rrule, rrulestr  # noqa: PLC0415 - only those who write rules pay for it

        try:
            rule = rrulestr(self._text, dtstart=start)
            assert isinstance(rule, rrule)
            return rule.replace(until=end)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{self._text!r} is not a recurrence rule: {error}") from error

    def _period_start(self, anchor: date, week_start: str) -> datetime:
        if self._frequency == "WEEKLY":
            anchor -= timedelta(days=(anchor.weekday() - _WEEKDAYS.index(week_start)) % 7)
        elif self._frequency == "MONTHLY":
            anchor = anchor.replace(day=1)
        elif self._frequency == "YEARLY":
            anchor = anchor.replace(month=1, day=1)
        return datetime.combine(anchor, time())

    def _rebased(self, near: datetime) -> datetime:
        """Return the newest start of a period that lies whole intervals from the anchor and not after ``near``."""
        step = self._interval
        if self._frequency in ("YEARLY", "MONTHLY"):
            months = step * (12 if self._frequency == "YEARLY" else 1)
            apart = (near.year - self._anchor.year) * 12 + near.month - self._anchor.month
            total = self._anchor.year * 12 + self._anchor.month - 1 + apart // months * months
            return datetime(total // 12, total % 12 + 1, 1)  # noqa: DTZ001 - wall time
        unit = {"HOURLY": 1, "DAILY": 24, "WEEKLY": 24 * 7}[self._frequency]
        span = timedelta(hours=unit * step)
        return self._anchor + (near - self._anchor) // span * span


def _check_part(name: str, separator: str, value: str) -> None:
    if name in _REFUSED:
        raise ValueError(_REFUSED[name])
    if name.upper().startswith("RRULE:"):
        raise ValueError("leave out `RRULE:`: give the rule alone, FREQ=... first")
    if name not in _PARTS:
        raise ValueError(f"{name!r} is not a part of a rule; known are {', '.join(_PARTS)}, in capitals")
    if not separator or not value:
        raise ValueError(f"{name} has no value: write {name}=...")


def _check_whole(parts: dict[str, str]) -> None:
    frequency = parts.get("FREQ")
    if frequency not in _FREQUENCIES:
        raise ValueError(f"FREQ must be one of {', '.join(_FREQUENCIES)}, not {frequency!r}")
    interval = parts.get("INTERVAL", "1")
    if not interval.isdecimal() or not 1 <= int(interval) <= 1000:  # noqa: PLR2004
        raise ValueError(f"INTERVAL must be a number from 1 to 1000, not {interval!r}")
    if parts.get("WKST", "MO") not in _WEEKDAYS:
        raise ValueError(f"WKST must be one of {', '.join(_WEEKDAYS)}, not {parts['WKST']}")
    # What a rule leaves open, RFC 5545 takes from its start, which nobody sees here: it must be said.
    if frequency != "HOURLY" and "BYHOUR" not in parts:
        raise ValueError("say at which hour the rule runs: BYHOUR=3")
    days = _DAY_PARTS.get(frequency, ())
    if days and not any(part in parts for part in days):
        raise ValueError(f"say on which day a {frequency} rule runs: {' or '.join(days)}")


_REFERENCE = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
