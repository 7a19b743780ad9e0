"""Holds a test's expectations against the world while time passes, each for the servers and the time it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from csbsctl.rehearsal.checks import Broken, Look, check
from csbsctl.rehearsal.loading import TestFile
from csbsctl.rehearsal.moments import shown
from csbsctl.rehearsal.outcome import Failure
from csbsctl.rehearsal.suite import Expectation
from csbsctl.rehearsal.world import Member, World

_LINES = 8
"""How much of the story a failure shows."""


@dataclass(slots=True)
class _Held:
    """An expectation of this test: its number in the file, when it is looked at, and of whom it was found broken."""

    number: int
    expected: Expectation
    since: datetime
    until: datetime
    broken: set[str | None] = field(default_factory=set)

    @property
    def throughout(self) -> bool:
        return self.expected.throughout


class Judge:
    """Looks when told to, and remembers the first time that each expectation did not hold for each server."""

    def __init__(self, world: World, file: TestFile, name: str) -> None:
        self.failures: list[Failure] = []
        self._world, self._file, self._name = world, file, name
        instant, calendar = world.calendar.instant, world.calendar
        self._held = [
            _Held(
                number,
                expected,
                instant(expected.since or "start") if expected.throughout else instant(expected.at or "end"),
                instant(expected.until or "end") if expected.throughout else instant(expected.at or "end"),
            )
            for number, expected in enumerate(world.case.expect)
        ]
        self._start = calendar.start

    def moments(self) -> Iterator[datetime]:
        """Yield every instant at which something must be looked at."""
        for held in self._held:
            yield from (held.since, held.until)

    def before(self) -> None:
        """Look at what must hold all the time, before anything happens now: ages are at their greatest."""
        for held in self._held:
            if held.throughout and held.since < self._world.now <= held.until:
                self._look(held, final=False)

    def after(self) -> None:
        """Look after all that happens now."""
        for held in self._held:
            if held.throughout and held.since <= self._world.now <= held.until:
                self._look(held, final=self._world.now == held.until)
            elif not held.throughout and held.since == self._world.now:
                self._look(held, final=True)

    def _look(self, held: _Held, *, final: bool) -> None:
        members = list(self._about(held.expected))
        if not members and held.expected.kind not in {"plan", "findings"}:
            if final:
                pattern = ", ".join(held.expected.servers or ("any",))
                self._note(held, Broken(None, f"there is no server {pattern} to look at", "at least one"))
            return
        since = held.since if held.throughout else self._start
        look = Look(self._world, held.expected, members, since, final)
        with self._world.within_reach():
            broken = check(look)
        for each in broken:
            self._note(held, each)

    def _about(self, expected: Expectation) -> Iterator[Member]:
        """Yield the servers an expectation is about: those there are, or, where only deleted ones fit, those."""
        patterns = expected.servers or ("*",)
        fitting = [m for m in self._world.members if any(fnmatchcase(m.name, p) for p in patterns)]
        there = [member for member in fitting if member.deleted is None]
        yield from there or (fitting if expected.servers else ())

    def _note(self, held: _Held, broken: Broken) -> None:
        whose = broken.member.id if broken.member else None
        if whose in held.broken:
            return
        held.broken.add(whose)
        zone = self._world.zone_of(broken.member)
        told = self._world.story.before(self._world.now, whose, _LINES)
        kind = held.expected.kind
        self.failures.append(
            Failure(
                place=self._file.place("tests", self._name, "expect", held.number, kind),
                kind=kind,
                server=broken.member.name if broken.member else None,
                actual=broken.actual,
                wanted=broken.wanted,
                at=self._world.now,
                shown=shown(self._world.now, zone),
                story=tuple(f"{shown(entry.at, zone)}  {entry.text()}" for entry in told),
            )
        )
