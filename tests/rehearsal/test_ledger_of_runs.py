"""Whole lives of a policy against a bookkeeper who knows nothing of the code: what is taken, missed, kept.

The runner comes at odd times, is away for days, and its clock is wrong at times; policies are edited, disabled and
enabled. The bookkeeper walks the wall clock in quarters of an hour and counts on his fingers.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from csbsctl.protection.events import PruneHeld, SlotMissed
from csbsctl.rehearsal import Inputs, load
from csbsctl.rehearsal.world import World

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Bookkeeper:
    """What ought to have happened to one server under one policy."""

    zone: ZoneInfo
    at: set[str]
    anchor: datetime
    looked: datetime
    """When he last looked at the clock."""
    every: int = 1
    weekdays: frozenset[int] | set[int] = frozenset(range(7))
    sunday: bool = False
    """Only the last Sunday of a month."""
    within: timedelta = timedelta(hours=4)
    keep: dict[str, int] = field(default_factory=dict)
    enabled: bool = True
    waiting: list[datetime] = field(default_factory=list)
    taken: list[datetime] = field(default_factory=list)
    missed: list[datetime] = field(default_factory=list)
    points: list[tuple[datetime, datetime]] = field(default_factory=list)
    """Instant and slot of the backups that are there."""

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield when the wall clock first shows a planned time or a later one, in (after, until]."""
        now = after.replace(minute=0, second=0, microsecond=0) - 3 * timedelta(hours=8)
        reached = now.astimezone(self.zone).replace(tzinfo=None)
        while now + QUARTER <= until:
            now += QUARTER
            wall = now.astimezone(self.zone).replace(tzinfo=None)
            called = False
            while reached + QUARTER <= wall:
                reached += QUARTER
                called = called or self._planned(reached)
            if called and now > after:
                yield now

    def _planned(self, wall: datetime) -> bool:
        first = self.anchor.astimezone(self.zone).date()
        last_week = (wall + 7 * DAY).month != wall.month
        return (
            f"{wall:%H:%M}" in self.at
            and (wall.date() - first).days % self.every == 0
            and wall.weekday() in self.weekdays
            and (not self.sunday or (wall.weekday() == 6 and last_week))
        )

    def start_anew(self, now: datetime) -> None:
        """What was to be done until now is not owed any more."""
        self.looked, self.waiting = now, []

    def run(self, now: datetime) -> None:
        """Somebody runs."""
        self.waiting += self.slots(self.looked, now)
        self.looked = now
        if self.enabled and self.waiting:
            if now - self.waiting[-1] <= self.within:
                self.taken.append(self.waiting[-1])
                self.points.append((now, self.waiting.pop()))
            self.missed += self.waiting
            self.waiting = []

    def remaining(self, now: datetime) -> list[datetime]:
        """Return the instants of the backups that retention keeps of those there are."""
        instants = [instant for instant, _ in self.points]
        return [instant for instant in instants if self._kept(instant, instants, now)]

    def _kept(self, instant: datetime, there: list[datetime], now: datetime) -> bool:
        newer = [other for other in there if other > instant]
        if len(newer) < max(self.keep.get("count", 0), 1):
            return True
        if now - instant < self.keep.get("days", 0) * DAY:
            return True
        for rule, name in (
            ("daily", "%Y-%m-%d"),
            ("weekly", "%G-%V"),
            ("monthly", "%Y-%m"),
            ("yearly", "%Y"),
        ):
            named = [other.astimezone(self.zone).strftime(name) for other in newer]
            if instant.astimezone(self.zone).strftime(name) not in named and len(set(named)) < self.keep.get(
                rule, 0
            ):
                return True
        return False


class Life:
    """A server and its policy in the real world of a test, with a bookkeeper beside it."""

    def __init__(self, world: World, book: Bookkeeper, rng: random.Random) -> None:
        self.world, self.book, self.rng = world, book, rng
        self.held = 0

    def edit(self, change: Mapping[str, Any]) -> None:
        policy = {"policies": {"it": change}}
        self.world.apply(self.world.configured(policy), allow=["max_backups_deleted", "weakens"])
        self.world.overlays.append(policy)

    def come(self, now: datetime) -> None:
        """Run at a time, and compare with the books."""
        self.world.clock.move_to(now)
        before = len(self.world.story.entries)
        self.world.run()
        self.book.run(now)
        there = self.world.points(self.world.members[0])
        held = any(isinstance(entry.event, PruneHeld) for entry in self.world.story.entries[before:])
        self.held += held
        if held:  # more than half at once: somebody must look; by hand then, here
            kept = self.book.remaining(now)
            assert len(kept) * 2 < len(self.book.points), f"{now}: held though {len(kept)} stay"
        elif self.book.enabled:
            kept = self.book.remaining(now)
            self.book.points = [point for point in self.book.points if point[0] in kept]
        assert [(b.started_at, b.slot) for b in there] == self.book.points, (
            f"{now}: other backups than by the book"
        )
        missed = [e.event.slot for e in self.world.story.entries if isinstance(e.event, SlotMissed)]
        assert missed == self.book.missed, f"{now}: other slots missed than by the book"


def opened(bench, policy: str, start: str, zone: str):
    bench.configuration.write_text(
        "version: 1\nproviders: {default: {type: local}}\npolicies:\n  it:\n"
        + textwrap.indent(textwrap.dedent(policy), "    ")
        + "\nbindings: {all: {policy: it, servers: [web]}}\n"
    )
    file = load(
        bench.file(
            f"tests: {{it: {{start: '{start}', span: 900d, timezone: {zone}, servers: {{web: {{disks: [1G]}}}}, "
            "expect: [{rpo: 1d}]}}"
        )
    )
    folder = bench.folder / "clouds"
    folder.mkdir()
    case = file.suite.tests["it"]
    return World.opened(file, case, {}, Inputs(), folder), case


@pytest.fixture
def live(bench):
    """Return a function that opens a world with a policy in force and a bookkeeper who was told the same."""
    with ExitStack() as stack:

        def begin(policy: str, start: str, zone: str, seed: str, **told: Any) -> Life:
            entered, case = opened(bench, policy, start, zone)
            world = stack.enter_context(entered)
            world.create("web", case.servers["web"])
            world.apply(world.configuration)
            book = Bookkeeper(ZoneInfo(zone), anchor=world.now, looked=world.now, **told)
            return Life(world, book, random.Random(seed))

        yield begin


def visits(
    life: Life, days: int, *, longest: timedelta, pauses: tuple[int, ...] = (1, 5, 9)
) -> Iterator[datetime]:
    """Yield odd times over some days, some hours (``pauses``) apart and now and then up to ``longest``."""
    now, rng = life.world.now, life.rng
    end = now + days * DAY
    while now < end:
        pause = rng.choice(pauses) * timedelta(hours=1) + rng.randrange(60) * MINUTE
        now += longest * rng.random() // MINUTE * MINUTE if rng.random() < 0.12 else pause
        yield now


def test_every_so_many_days_across_edits_and_outages(live):
    life = live(
        """
        schedule: {at: ["02:30"], every_days: 3, timezone: Europe/Berlin, start_within: 6h}
        retention: {count: 4, monthly: 2}
        """,
        "2027-03-10 10:00", "Europe/Berlin", "a",
        at={"02:30"}, every=3, within=timedelta(hours=6), keep={"count": 4, "monthly": 2},
    )  # fmt: skip
    for every in (5, 2, 7):
        for now in visits(life, 17, longest=4 * DAY):
            life.come(now)
        life.edit({"schedule": {"every_days": every}})
        life.book.every = every
        life.book.start_anew(life.world.now)
    assert min(len(life.book.taken), len(life.book.missed)) > 3


def test_the_last_sunday_of_each_month_in_the_night_of_both_clock_changes(live):
    life = live(
        """
        schedule: {rrule: "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30", timezone: Europe/Berlin, start_within: 1d}
        retention: {monthly: 3, yearly: 2}
        """,
        "2026-08-01 00:00", "Europe/Berlin", "a",
        at={"02:30"}, sunday=True, within=DAY, keep={"monthly": 3, "yearly": 2},
    )  # fmt: skip
    for now in visits(life, 300, longest=40 * DAY, pauses=(11, 23, 37)):
        life.come(now)
    assert min(len(life.book.taken), len(life.book.missed)) > 3


def test_generations_from_few_dailies_with_a_policy_that_is_off_at_times(live):
    life = live(
        """
        schedule: {at: ["00:15", "12:15"], timezone: America/Sao_Paulo, start_within: 2h}
        retention: {daily: 2, weekly: 3, monthly: 2}
        """,
        "2018-10-20 09:00", "America/Sao_Paulo", "a",
        at={"00:15", "12:15"}, within=timedelta(hours=2), keep={"daily": 2, "weekly": 3, "monthly": 2},
    )  # fmt: skip
    for enabled in (False, True, False, True):
        for now in visits(life, 15 if life.book.enabled else 6, longest=3 * DAY, pauses=(2, 3, 9)):
            life.come(now)
        life.edit({"enabled": enabled})
        life.book.enabled = enabled
        if enabled:
            life.book.start_anew(life.world.now)
    assert min(len(life.book.taken), len(life.book.missed)) > 10


def test_age_alone_lets_go_behind_its_brake(live):
    life = live(
        """
        schedule: {at: ["03:00", "15:00"], days: [mon, tue, thu, sat], timezone: Asia/Kathmandu, start_within: 5h}
        retention: {days: 4}
        """,
        "2027-01-04 00:00", "Asia/Kathmandu", "a",
        at={"03:00", "15:00"}, weekdays={0, 1, 3, 5}, within=timedelta(hours=5), keep={"days": 4},
    )  # fmt: skip
    for now in visits(life, 40, longest=6 * DAY, pauses=(3, 7, 11)):
        life.come(now)
    assert min(len(life.book.taken), len(life.book.missed)) > 10
    assert life.held
