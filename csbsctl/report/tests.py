"""How policy tests ended, as text for people, JSON and JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from csbsctl.diagnostics import Diagnostic
from csbsctl.rehearsal.moments import short
from csbsctl.rehearsal.outcome import Failure, Outcome
from csbsctl.report.junit import case_of, fail_case, suite_named, written
from csbsctl.report.style import Style, plural

FORMATS = ("text", "json", "junit")

_NAMED = 3
"""How many further servers a failure names."""


def outcome_line(outcome: Outcome, style: Style) -> str:
    """Return the one line that a test gets as soon as it ended."""
    word = style.paint("green", "PASS") if outcome.passed else style.paint("red", "FAIL")
    work = f"{plural(outcome.servers, 'server')}, {plural(outcome.backups, 'backup')}"
    return f"{word}  {outcome.file}  {outcome.name}  {short(outcome.span)} in {outcome.seconds:.1f} s, {work}"


def failures_text(outcomes: Sequence[Outcome], style: Style) -> str:
    """Return everything that did not hold, with its place and what had happened before; empty when all passed."""
    return "\n".join(line for outcome in outcomes if not outcome.passed for line in _told(outcome, style))


def summary_line(outcomes: Sequence[Outcome]) -> str:
    """Return the last line: how many there were, passed and failed."""
    failed = sum(not outcome.passed for outcome in outcomes)
    parts = [f"{len(outcomes) - failed} passed", *([f"{failed} failed"] if failed else [])]
    return f"{plural(len(outcomes), 'test')}: {', '.join(parts)}."


def tests_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the document of ``test --json``."""
    failed = sum(not outcome.passed for outcome in outcomes)
    return {
        "tests": [outcome.to_json() for outcome in outcomes],
        "summary": {"passed": len(outcomes) - failed, "failed": failed},
    }


def tests_junit(outcomes: Sequence[Outcome]) -> str:
    """Return a suite with a case per test."""
    suite = suite_named("csbsctl test")
    for outcome in outcomes:
        case = case_of(suite, outcome.name, outcome.file)
        case.set("time", f"{outcome.seconds:.3f}")
        for failure in outcome.failures:
            where = [f"at {failure.place}"] if failure.place else []
            fail_case(case, failure.kind, failure.message, [*where, failure.shown, *failure.story])
        for problem in outcome.problems:
            ET.SubElement(case, "error", type="problem", message=problem.summary).text = problem.render()
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    return written(suite)


def _told(outcome: Outcome, style: Style) -> Iterator[str]:
    yield ""
    yield style.paint("bold", f"{outcome.name} ({outcome.file})")
    for problem in outcome.problems:
        yield problem.render()
    for place in dict.fromkeys(failure.place for failure in outcome.failures):
        first, *others = [failure for failure in outcome.failures if failure.place == place]
        yield from _failure(first, others, style)


def _failure(failure: Failure, others: Sequence[Failure], style: Style) -> Iterator[str]:
    """Yield an expectation that was broken: the first server's story, and who else broke it."""
    yield Diagnostic(f"{failure.kind}: {failure.message}", failure.place).render()
    for other in others[:_NAMED]:
        yield f"  also {other.message}"
    if len(others) > _NAMED:
        yield f"  and {len(others) - _NAMED} more servers"
    yield f"  when: {failure.shown}"
    if failure.story:
        yield style.paint("dim", "  what had happened:")
        yield from (style.paint("dim", f"    {line}") for line in failure.story)
