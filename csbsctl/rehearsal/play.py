"""Lets a test's time pass: from one instant at which something happens or is due to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from csbsctl.diagnostics import Diagnostic
from csbsctl.errors import ConfigError, CsbsError
from csbsctl.model.declared import Declared
from csbsctl.rehearsal.happenings import Trouble, as_problem, happen, settle, troubles_of
from csbsctl.rehearsal.judge import Judge
from csbsctl.rehearsal.loading import TestFile, names_of
from csbsctl.rehearsal.outcome import Outcome
from csbsctl.rehearsal.suite import Case, Fleet
from csbsctl.rehearsal.world import Inputs, World

_PAUSE = timedelta(minutes=5)
"""How soon somebody runs `csbsctl run` after a change: as often as the timers do that `export` writes."""
_DAY = timedelta(days=1)
"""Somebody runs at least this often, so that what expires by age goes."""


def play(file: TestFile, name: str, inputs: Inputs, folder: Path) -> Outcome:
    """Run one test in an empty folder and return how it ended."""
    case = file.suite.tests[name]
    begun = time.monotonic()
    place = file.place("tests", name)
    outcome = Outcome(file.shown, name, place, case.span)
    try:
        variables = {**file.suite.variables, **case.variables}
        with World.opened(file, case, variables, inputs, folder) as world:
            judge = Judge(world, file, name)
            problems: Sequence[Diagnostic] = ()
            try:
                _Play(world, judge, file, name).run()
            except ConfigError as error:
                problems = error.diagnostics
            failures = tuple(judge.failures)
            servers = len(world.members)
            backups = sum(entry.backed_up for entry in world.story.entries)
    except ConfigError as error:
        problems, failures, servers, backups = error.diagnostics, (), 0, 0
    except CsbsError as error:
        problems, failures, servers, backups = [Diagnostic(as_problem(error), place)], (), 0, 0
    seconds = time.monotonic() - begun
    return Outcome(outcome.file, name, place, case.span, failures, tuple(problems), seconds, servers, backups)


class _Play:
    """One test while it is played."""

    def __init__(self, world: World, judge: Judge, file: TestFile, name: str) -> None:
        self._world, self._judge, self._file, self._name = world, judge, file, name
        self._case: Case = world.case
        self._troubles: list[Trouble] = troubles_of(self._case, world.calendar)
        self._events = [(world.calendar.instant(event.at), n) for n, event in enumerate(self._case.events)]
        self._wake = world.calendar.start

    def run(self) -> None:
        """Let all of the test's time pass.

        Raises:
            ConfigError: the configuration does not fit the servers, or an event cannot happen; with its place.
        """
        world = self._world
        self._begin()
        fixed = sorted({*self._fixed(), world.calendar.end})
        for instant in self._instants(fixed):
            world.clock.move_to(instant)
            self._judge.before()
            self._happen()
            settle(world, self._troubles)
            if instant >= self._wake and not self._runner_down():
                world.write()
                world.run()
                self._wake = self._on_timer(min(world.next_due(), instant + _DAY))
            self._judge.after()

    def _begin(self) -> None:
        for name, fleet in (
            self._case.servers | self._named_elsewhere(self._world.configuration.declared)
        ).items():
            self._world.create(name, fleet)
        self._world.apply(self._world.configuration)

    def _named_elsewhere(self, declared: Declared) -> dict[str, Fleet]:
        """Return plain servers for the names that bindings have and the test does not make."""
        made = {each for name, fleet in self._case.servers.items() for each in names_of(name, fleet)}
        return {
            name: Fleet(provider=binding.provider)
            for binding in declared.bindings.values()
            for name in binding.servers
            if name not in made
        }

    def _instants(self, fixed: Sequence[datetime]) -> Iterator[datetime]:
        """Yield start, every instant that is fixed, and those between at which somebody runs."""
        now = self._world.calendar.start
        waiting = [instant for instant in fixed if instant > now]
        yield now
        while waiting:
            between = now < self._wake < waiting[0] and not self._runner_down()
            now = self._wake if between else waiting.pop(0)
            yield now

    def _fixed(self) -> Iterator[datetime]:
        end = self._world.calendar.end
        yield from (instant for instant, _ in self._events)
        yield from (trouble.end for trouble in self._troubles if trouble.end <= end)
        yield from self._judge.moments()

    def _happen(self) -> None:
        now = self._world.now
        for instant, number in self._events:
            if instant == now:
                event = self._case.events[number]
                try:
                    happen(self._world, event)
                except ConfigError:
                    raise
                except CsbsError as error:
                    place = self._file.place("tests", self._name, "events", number, event.kind)
                    raise ConfigError(
                        [Diagnostic(f"{event.kind}: {error.message}", place, error.hint)]
                    ) from error
                self._wake = min(self._wake, self._on_timer(now + _PAUSE))
        if any(trouble.end == now for trouble in self._troubles):
            self._wake = min(self._wake, self._on_timer(now))

    def _runner_down(self) -> bool:
        return any(t.event.runner_down and t.active(self._world.now) for t in self._troubles)

    def _on_timer(self, instant: datetime) -> datetime:
        """Return when somebody runs who would run at an instant: then, or when the timer next fires."""
        every = self._case.runner.every
        if every is None or instant > self._world.calendar.end:
            return instant
        start = self._world.calendar.start
        return start + -(-(instant - start) // every) * every
