"""Schedules against somebody who watches the clock on the wall and does the day's work when its time is reached.

The watcher shares nothing with the code: he looks every quarter of an hour, knows no offsets, and never looks ahead.
"""

from __future__ import annotations

import calendar
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from csbsctl.model.policy import Schedule, Weekday
from csbsctl.rules.schedule import Timetable

QUARTER = timedelta(minutes=15)
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "UTC",
)
YEARS = (2011, 2018, 2023, 2026, 2027)
Plan = Callable[[date, time, date], bool]
"""Whether something is to be done on a day at a time, given the day that counting starts from."""


def watched(
    plan: Plan, zone: ZoneInfo, start: datetime, end: datetime, anchor: datetime
) -> Iterator[datetime]:
    """Yield when the watcher works in (start, end]: when the wall clock first shows a planned time or a later one."""
    first = anchor.astimezone(zone).date()
    now = start - timedelta(days=3)
    reached = now.astimezone(zone).replace(tzinfo=None)
    while now < end:
        now += QUARTER
        wall = now.astimezone(zone).replace(tzinfo=None)
        called = False
        while reached + QUARTER <= wall:
            reached += QUARTER
            called = called or plan(reached.date(), reached.time(), first)
        if called and now > start:
            yield now


def times(rng: random.Random) -> tuple[str, ...]:
    hours = sorted(rng.sample(range(0, 24, 2), rng.choice((1, 1, 2, 5, 12))))
    return tuple(f"{hour + rng.randrange(2):02}:{rng.choice((0, 15, 30, 45)):02}" for hour in hours)


def of_the_day(rng: random.Random, zone: str) -> tuple[Schedule, Plan]:
    """Return a schedule with times of day, and what the watcher is told."""
    at = times(rng)
    days = rng.sample(list(Weekday), rng.randint(1, 7)) if rng.random() < 0.4 else list(Weekday)
    every = rng.randint(1, 30) if len(days) == 7 and rng.random() < 0.6 else None
    try:
        schedule = Schedule(at=at, days=None if every else tuple(days), every_days=every, timezone=zone)
    except ValueError:  # times less than an hour apart
        return of_the_day(rng, zone)
    numbers = {list(Weekday).index(day) for day in days}
    clock = {time.fromisoformat(text) for text in at}

    def plan(day: date, at: time, first: date) -> bool:
        return at in clock and day.weekday() in numbers and (day - first).days % (every or 1) == 0

    return schedule, plan


def last_of_month(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def months(day: date, first: date) -> int:
    return (day.year - first.year) * 12 + day.month - first.month


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


RULES: dict[str, Plan] = {
    "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=3": lambda day, at, _: (
        at == time(3) and day.weekday() == 6 and day.day + 7 > last_of_month(day)
    ),
    "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30": lambda day, at, _: (
        at == time(2, 30) and day.weekday() == 6 and day.day + 7 > last_of_month(day)
    ),
    "FREQ=MONTHLY;INTERVAL=2;BYDAY=2TU;BYHOUR=0": lambda day, at, first: (
        at == time(0) and day.weekday() == 1 and 8 <= day.day <= 14 and months(day, first) % 2 == 0
    ),
    "FREQ=MONTHLY;BYMONTHDAY=1,-1;BYHOUR=23;BYMINUTE=45": lambda day, at, _: (
        at == time(23, 45) and day.day in (1, last_of_month(day))
    ),
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=2": lambda day, at, _: (
        at == time(2)
        and day.weekday() < 5
        and all((day + timedelta(days=n)).weekday() > 4 for n in range(1, last_of_month(day) - day.day + 1))
    ),
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;BYHOUR=2,14": lambda day, at, first: (
        at in (time(2), time(14)) and day.weekday() in (0, 3) and (monday(day) - monday(first)).days % 14 == 0
    ),
    "FREQ=WEEKLY;INTERVAL=3;WKST=SU;BYDAY=SU;BYHOUR=1": lambda day, at, first: (
        at == time(1)
        and day.weekday() == 6
        and (day - (first - timedelta(days=(first.weekday() + 1) % 7))).days % 21 == 0
    ),
    "FREQ=DAILY;INTERVAL=3;BYHOUR=2": lambda day, at, first: at == time(2) and (day - first).days % 3 == 0,
    "FREQ=HOURLY;INTERVAL=5": lambda day, at, first: (
        at.minute == 0 and ((day - first).days * 24 + at.hour) % 5 == 0
    ),
    "FREQ=YEARLY;BYMONTH=3,10;BYMONTHDAY=28,29,30,31;BYDAY=SU;BYHOUR=2": lambda day, at, _: (
        at == time(2) and day.month in (3, 10) and day.day >= 28 and day.weekday() == 6
    ),
}


def told_apart(schedule: Schedule, plan: Plan, rng: random.Random, days: int) -> None:
    zone = ZoneInfo(schedule.timezone)
    start = datetime(rng.choice(YEARS), 1, 1, tzinfo=UTC) + rng.randrange(365 * 96) * QUARTER
    anchor = start + rng.randrange(-400, 400) * timedelta(hours=7)
    end = start + timedelta(days=days)
    expected = list(watched(plan, zone, start, end, anchor))
    timetable = Timetable(schedule, anchor)
    assert list(timetable.between(start, end)) == expected, (schedule, start, anchor)
    if expected:
        assert timetable.next(start) == expected[0]
        assert timetable.last(end) == expected[-1]


@pytest.mark.parametrize("zone", ZONES)
def test_times_of_day_are_reached_when_the_clock_says_so(zone):
    rng = random.Random(f"times {zone}")
    for _ in range(6):
        told_apart(*of_the_day(rng, zone), rng, days=40)


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_reached_when_the_clock_says_so(rule):
    rng = random.Random(rule)
    for zone in rng.sample(ZONES, 4):
        told_apart(Schedule(rrule=rule, timezone=zone), RULES[rule], rng, days=80)
