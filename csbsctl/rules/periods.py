"""The calendar periods of the long-term rules: local days, ISO weeks, months, years. Knows nothing of backups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class CalendarRule:
    """One long-term rule; ``name`` is its key in a retention. Periods are numbers that ascend with time."""

    name: str
    noun: str
    period: Callable[[date], int]
    label: Callable[[date], str]


def _iso_week(day: date) -> int:
    # Ordinal 1 is a Monday, so whole weeks since then are ISO weeks, across the end of a year too.
    return (day.toordinal() - 1) // 7


def _iso_week_label(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


CALENDAR_RULES = (
    CalendarRule("daily", "day", date.toordinal, date.isoformat),
    CalendarRule("weekly", "ISO week", _iso_week, _iso_week_label),
    CalendarRule("monthly", "month", lambda day: day.year * 12 + day.month, lambda day: f"{day:%Y-%m}"),
    CalendarRule("yearly", "year", lambda day: day.year, lambda day: f"{day:%Y}"),
)
