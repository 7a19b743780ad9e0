"""Policies: when servers are backed up, how, and how long the backups stay (csbs.md 1.5 to 1.7, design section 3)."""

from __future__ import annotations

import enum
import zoneinfo
from datetime import time, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from csbsctl.model.base import MAX_TAGS, Description, Model, TagKey, TagValue
from csbsctl.model.recurrence import validate_rrule
from csbsctl.units import format_duration, parse_duration

MAX_TIMES_A_DAY = 24
MIN_GAP = timedelta(hours=1)


class Weekday(enum.StrEnum):
    """Days of the week, Monday first; ``list(Weekday).index(d)`` equals ``date.weekday()``."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class Consistency(enum.StrEnum):
    """How far the disks of a backup belong to one instant (csbs.md 1.3); ordered from least to most."""

    NONE = "none"
    CRASH = "crash"
    APPLICATION = "application"

    @property
    def rank(self) -> int:
        """Return 0, 1 or 2: a level satisfies every level of lower or equal rank."""
        return list(Consistency).index(self)


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]+[smhdw])+$", "examples": ["30m", "4h", "1d12h"]}),
]

TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""``HH:MM``, 24 hours, quoted in YAML."""


class Schedule(Model):
    """When a policy runs: times of day on some days, or an iCalendar rule, in one time zone."""

    at: tuple[TimeOfDay, ...] = ()
    """1 to 24 times of day, at least an hour apart, across midnight too."""
    days: tuple[Weekday, ...] | None = None
    """Weekdays on which it runs; every day when neither ``days`` nor ``every_days`` is given."""
    every_days: Annotated[int, Field(ge=1, le=30)] | None = None
    """Every N days instead of weekdays; the cadence keeps its anchor when edited."""
    rrule: str | None = None
    """An RFC 5545 rule instead of ``at``, ``days`` and ``every_days``: FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=3"""
    timezone: str = "UTC"
    """IANA name in which times and days are meant."""
    start_within: Duration = timedelta(hours=4)
    """A missed slot is still started this late, once; then it is recorded as missed."""
    spread: Duration = timedelta(0)
    """Servers start staggered over this span, each at its own fixed delay."""

    @field_validator("at")
    @classmethod
    def _distinct_sorted(cls, at: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(at)) != len(at):
            raise ValueError("the same time is listed twice")
        if len(at) > MAX_TIMES_A_DAY:
            msg = f"at most {MAX_TIMES_A_DAY} times a day, not {len(at)}"
            raise ValueError(msg)
        return tuple(sorted(at))

    @field_validator("days")
    @classmethod
    def _week_order(cls, days: tuple[Weekday, ...] | None) -> tuple[Weekday, ...] | None:
        if days is None:
            return None
        if not days:
            raise ValueError("name at least one day, or leave `days` out for every day")
        return tuple(day for day in Weekday if day in days)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in _zone_names():
            raise ValueError(_unknown_zone(name))
        return name

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.rrule is not None:
            if self.at or self.days is not None or self.every_days is not None:
                raise ValueError("`rrule` stands alone: leave out `at`, `days` and `every_days`")
            validate_rrule(self.rrule, self.timezone)
            return self
        if not self.at:
            raise ValueError("give `at` (one to 24 times of day) or `rrule`")
        if self.days is not None and self.every_days is not None:
            raise ValueError("give `days` or `every_days`, not both")
        self._check_gaps()
        return self

    def _check_gaps(self) -> None:
        minutes = [int(t[:2]) * 60 + int(t[3:]) for t in self.at]
        pairs = list(zip(self.at, self.at[1:], minutes, minutes[1:], strict=False))
        if self._runs_on_consecutive_days():
            pairs.append((self.at[-1], self.at[0], minutes[-1], minutes[0] + 24 * 60))
        for earlier, later, start, end in pairs:
            if len(self.at) > 1 and end - start < MIN_GAP.total_seconds() / 60:
                msg = f"{earlier} and {later} are less than an hour apart"
                raise ValueError(msg)

    def _runs_on_consecutive_days(self) -> bool:
        if self.every_days is not None:
            return self.every_days == 1
        if self.days is None:
            return True
        numbers = {list(Weekday).index(day) for day in self.days}
        return any((number + 1) % 7 in numbers for number in numbers)

    @property
    def times(self) -> tuple[time, ...]:
        """Return the times of day, earliest first."""
        return tuple(time.fromisoformat(text) for text in self.at)


class Retention(Model):
    """How long automatic backups stay, per server; a backup stays if any rule keeps it (csbs.md 1.7)."""

    count: Annotated[int, Field(ge=1, le=99999)] | None = None
    """Keep the newest N."""
    days: Annotated[int, Field(ge=1, le=99999)] | None = None
    """Keep those not older than N days."""
    permanent: bool = False
    """Keep all; stands alone."""
    daily: Annotated[int, Field(ge=1, le=100)] | None = None
    """Keep the newest of each of the newest N local days that have one."""
    weekly: Annotated[int, Field(ge=1, le=100)] | None = None
    """The same for ISO weeks."""
    monthly: Annotated[int, Field(ge=1, le=100)] | None = None
    """The same for months."""
    yearly: Annotated[int, Field(ge=1, le=100)] | None = None
    """The same for years."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        rules = (self.count, self.days, self.daily, self.weekly, self.monthly, self.yearly)
        given = any(rule is not None for rule in rules)
        if self.permanent and given:
            raise ValueError("`permanent: true` keeps everything: leave the other rules out")
        if not self.permanent and not given:
            raise ValueError(
                "retention has no default: give `count`, `days`, long-term rules or `permanent: true`"
            )
        return self


Tags = Annotated[dict[TagKey, TagValue], Field(max_length=MAX_TAGS)]


class Policy(Model):
    """Preset rules by which servers are backed up automatically."""

    description: Description = ""
    """For people; at most 255 characters."""
    enabled: bool = True
    """Off: nothing is backed up on schedule and nothing expires; running by hand still works."""
    schedule: Schedule
    """When servers are backed up."""
    retention: Retention
    """How long automatic backups stay."""
    full_every: Annotated[int, Field(ge=1, le=1000)] | None = None
    """At least every Nth backup is full; bounds chains where the provider has them."""
    consistency: Consistency = Consistency.CRASH
    """The least that is accepted: a backup that reaches less fails."""
    instant_restore: bool = False
    """Keep what the provider needs for an instant restore."""
    tags: Tags = Field(default_factory=dict)
    """Given to every backup of this policy."""


def _zone_names() -> frozenset[str]:
    global _zones  # noqa: PLW0603 - reading the zone index takes milliseconds; once is enough
    if _zones is None:
        _zones = frozenset(zoneinfo.available_timezones())
    return _zones


def _unknown_zone(name: str) -> str:
    import difflib  # noqa: PLC0415 - only on the way to an error

    close = difflib.get_close_matches(name, _zone_names(), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is not an IANA time zone such as Asia/Shanghai or UTC{hint}"


_zones: frozenset[str] | None = None
