"""Test files: which there are, and reading one; every problem at once, each with its place in the file."""

from __future__ import annotations

import json
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from csbsctl.config.gathering import FILE_NAME, POLICY_TESTS, Gathered
from csbsctl.config.messages import diagnose
from csbsctl.config.source import read_source
from csbsctl.config.tree import parse
from csbsctl.diagnostics import Diagnostic, Place, did_you_mean
from csbsctl.errors import ConfigError, NotFound
from csbsctl.model.plan import FindingClass
from csbsctl.rehearsal.moments import Calendar
from csbsctl.rehearsal.suite import Case, Fleet, Suite

SUFFIX = POLICY_TESTS
FOLDER = "tests"

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class TestFile:
    """A file of tests that makes sense, and where everything in it stands. ``root`` has the csbs.yaml under test."""

    shown: str
    suite: Suite
    root: Path
    _gathered: Gathered

    def place(self, *path: str | int) -> Place | None:
        """Return where a key path stands in the file."""
        return self._gathered.locate(path)


def find(directory: Path, named: Sequence[Path] = ()) -> list[Path]:
    """Return the test files that are named (files, or folders to look in), or those of a configuration's folder.

    Raises:
        NotFound: something named is not there.
    """
    if not named:
        return [*_in(directory), *_in(directory / FOLDER)]
    found: list[Path] = []
    for path in named:
        whole = directory / path
        if whole.is_dir():
            found += sorted(whole.rglob(f"*{SUFFIX}"))
        elif whole.exists():
            found.append(whole)
        else:
            raise NotFound(
                f"there is no test file {path}",
                hint=did_you_mean(str(path), [str(p.relative_to(directory)) for p in find(directory)])
                or f"policy tests are files *{SUFFIX}",
            )
    return list(dict.fromkeys(found))


def _in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def load(path: Path) -> TestFile:
    """Read a file of tests.

    Raises:
        ConfigError: with all that is wrong with it.
    """
    source = read_source(path)
    tree = parse(source)
    gathered = Gathered()
    if not isinstance(tree.value, dict):
        problem = Diagnostic("a file of policy tests is a mapping with `tests:`", source.place(0, 0))
        raise ConfigError(tree.problems or [problem])
    gathered.take(source, tree)
    problems = list(gathered.problems)
    suite = _validated(gathered, problems)
    if suite is not None:
        problems += _checked(suite, gathered)
    if problems or suite is None:
        raise ConfigError(problems)
    return TestFile(source.shown, suite, _root(path, suite, gathered), gathered)


def _validated(gathered: Gathered, problems: list[Diagnostic]) -> Suite | None:
    try:
        return Suite.model_validate_json(json.dumps(gathered.document), strict=True)
    except ValidationError as error:
        problems += _once(diagnose(error.errors(include_url=False), gathered, Suite.model_json_schema()))
        return None


def _once(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Drop what a union of types says a second time of the same place."""
    seen: dict[Place | None, Diagnostic] = {}
    for problem in problems:
        seen.setdefault(problem.place, problem)
    return list(seen.values())


def _root(path: Path, suite: Suite, gathered: Gathered) -> Path:
    own = path.absolute().parent
    places = [own / suite.configuration] if suite.configuration else [own, own.parent]
    for place in places:
        if (place / FILE_NAME).exists():
            return place.resolve()
    where = " or ".join(str(place) for place in places)
    raise ConfigError(
        [
            Diagnostic(
                f"there is no {FILE_NAME} in {where}",
                gathered.locate(("configuration",)),
                hint="`configuration:` names the folder of the csbs.yaml under test, from this file's folder",
            )
        ]
    )


def _checked(suite: Suite, gathered: Gathered) -> Iterator[Diagnostic]:
    """Yield what models cannot know: moments outside of the test, servers that are not there."""
    for name, case in suite.tests.items():
        path: KeyPath = ("tests", name)
        if case.timezone not in zoneinfo.available_timezones():
            hint = did_you_mean(case.timezone, zoneinfo.available_timezones())
            place = gathered.locate((*path, "timezone"))
            yield Diagnostic(f"{case.timezone!r} is not an IANA time zone", place, hint=hint)
            continue
        try:
            calendar = Calendar(case)
        except (ValueError, OverflowError) as error:
            yield Diagnostic(f"start: {error}", gathered.locate((*path, "start")))
            continue
        yield from _moments(case, calendar, path, gathered)
        yield from _fleets(case, path, gathered)
        yield from _classes(case, path, gathered)


def _moments(case: Case, calendar: Calendar, path: KeyPath, gathered: Gathered) -> Iterator[Diagnostic]:
    moments: list[tuple[KeyPath, str | None]] = [
        ((*path, "events", number, "at"), event.at) for number, event in enumerate(case.events)
    ]
    for number, expected in enumerate(case.expect):
        own = (*path, "expect", number)
        moments += [((*own, key), getattr(expected, key)) for key in ("at", "since", "until")]
        if expected.restore and expected.restore.as_of != "before-attack":
            moments.append(((*own, "restore", "as_of"), expected.restore.as_of))
    for where, moment in moments:
        try:
            if moment is not None:
                calendar.instant(moment)
        except (ValueError, OverflowError) as error:
            yield Diagnostic(f"{where[-1]}: {error}", gathered.locate(where))


def _fleets(case: Case, path: KeyPath, gathered: Gathered) -> Iterator[Diagnostic]:
    """Yield names that two fleets share."""
    known: set[str] = set()
    fleets: list[tuple[KeyPath, str, Fleet]] = [
        ((*path, "servers", name), name, fleet) for name, fleet in case.servers.items()
    ]
    for number, event in enumerate(case.events):
        for name, fleet in (event.create or {}).items():
            fleets.append(((*path, "events", number, "create", name), name, fleet))
    deleted = any(event.delete for event in case.events)
    for where, name, fleet in fleets:
        names = set(names_of(name, fleet))
        if names & known and not deleted:
            yield Diagnostic(f"server {min(names & known)!r} is made twice", gathered.locate(where, key=True))
        known |= names


def _classes(case: Case, path: KeyPath, gathered: Gathered) -> Iterator[Diagnostic]:
    known = [each.value for each in FindingClass]
    for number, expected in enumerate(case.expect):
        for name in expected.findings.only if expected.findings else ():
            if name not in known:
                where = (*path, "expect", number, "findings", "only")
                hint = did_you_mean(name, known) or f"classes are {', '.join(known)}"
                yield Diagnostic(f"{name!r} is not a class of findings", gathered.locate(where), hint=hint)


def names_of(name: str, fleet: Fleet) -> list[str]:
    """Return the names of a fleet's servers."""
    return [name] if fleet.count is None else [f"{name}-{number:02}" for number in range(1, fleet.count + 1)]


def as_flags(variables: dict[str, Any]) -> list[str]:
    """Return variables as ``--var`` takes them."""
    return [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in variables.items()]
