"""``test``: policy tests in virtual time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.session import Session
from csbsctl.diagnostics import Diagnostic, did_you_mean
from csbsctl.errors import ConfigError, NotFound, UsageError

if TYPE_CHECKING:
    from csbsctl.rehearsal import Outcome, Planned, TestFile

app = typer.Typer()


@command(
    app,
    "test",
    examples=[
        "csbsctl test",
        "csbsctl test tests/outage.csbstest.yaml",
        "csbsctl test -k year",
        "csbsctl test --format junit > report.xml",
    ],
)
def rehearse(
    session: Session,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Test files, or folders of them; *.csbstest.yaml here and in tests/ when left out.",
            show_default=False,
        ),
    ] = None,
    keyword: Annotated[
        str | None,
        typer.Option("-k", metavar="TEXT", help="Only tests with this in their name.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            help="How many run at once; one per core when left out.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="text, json, junit.")] = "text",
) -> None:
    """Run policy tests: years of schedules, outages and attacks in virtual time, on simulated clouds.

    The policies are those of the configuration; its vault and its clouds are not touched. Exits 1 when a test failed.
    """
    from csbsctl.rehearsal import Inputs, play_all
    from csbsctl.report.style import Style
    from csbsctl.report.tests import (
        FORMATS,
        failures_text,
        outcome_line,
        summary_line,
        tests_json,
        tests_junit,
    )

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", hint=f"formats are {', '.join(FORMATS)}")
    tests = _chosen(session, files or [], keyword)
    inputs = Inputs(
        variables=session.options.var,
        var_files=tuple(session.directory / path for path in session.options.var_file),
        environ=dict(os.environ),
    )
    words = session.out.note if format != "text" else session.say
    style = Style(color=session.out.color and format == "text", width=None)
    outcomes: list[Outcome] = []
    with _counted(session, len(tests)) as counted:
        for outcome in play_all(tests, inputs, jobs):
            outcomes.append(outcome)
            counted(words, outcome_line(outcome, style))
    if trouble := failures_text(outcomes, style):
        words(trouble)
    words("\n" + summary_line(outcomes))
    if format == "junit":
        session.out.raw(tests_junit(outcomes))
    else:
        session.out.as_json |= format == "json"
        session.result(tests_json(outcomes))
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)


Tell = Callable[[str], None]


@contextmanager
def _counted(session: Session, total: int) -> Iterator[Callable[[Tell, str], None]]:
    """Yield what tells how a test ended; on a terminal a bar below says how many did."""
    if not session.out.interactive:
        yield lambda tell, line: tell(line)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    # Nothing refreshes it by itself: a thread of ours would be in the way of starting processes.
    columns = (TextColumn("testing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=total)
        progress.refresh()

        def above(tell: Tell, line: str) -> None:
            progress.stop()
            tell(line)
            progress.start()
            progress.update(task, advance=1, refresh=True)

        yield above


def _chosen(session: Session, named: list[Path], keyword: str | None) -> list[Planned]:
    """Return the tests that are to run, in the order of the files. Raises NotFound where there is none."""
    from csbsctl.rehearsal import SUFFIX, Planned, find

    paths = find(session.directory, named)
    if not paths:
        where = ", ".join(map(str, named)) or str(session.directory)
        raise NotFound(
            f"there are no policy tests in {where}",
            hint=f"write one as tests/first{SUFFIX}; docs/howto/policy-tests.md shows how",
            code="test.none",
        )
    tests = [Planned(file, name) for file in _loaded(paths) for name in file.suite.tests]
    fitting = [test for test in tests if keyword is None or keyword in test.name]
    if not fitting:
        names = [test.name for test in tests]
        hint = did_you_mean(str(keyword), names) or f"tests are {', '.join(names[:10])}"
        raise NotFound(f"no test has {keyword!r} in its name", hint=hint, code="test.none")
    return fitting


def _loaded(paths: list[Path]) -> list[TestFile]:
    """Return the files; what is wrong with any of them is told at once."""
    from csbsctl.rehearsal import load

    files: list[TestFile] = []
    problems: list[Diagnostic] = []
    for path in paths:
        try:
            files.append(load(path))
        except ConfigError as error:
            problems += error.diagnostics
    if problems:
        raise ConfigError(problems)
    return files
