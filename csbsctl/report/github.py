"""A plan or findings for GitHub Actions: workflow commands that annotate the run, then the step summary as Markdown.

Workflow commands are lines that begin with ``::``; whatever else is printed is log. Write the rest to the file that
``GITHUB_STEP_SUMMARY`` names, or let the step's log carry it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from csbsctl.model.plan import Change, ChangeClass, Finding, Plan
from csbsctl.report.pages import drift_markdown, plan_markdown
from csbsctl.report.plan_text import heading

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
_MOST = 50
"""GitHub shows only so many annotations; the dangerous come first."""


def plan_github(plan: Plan) -> str:
    """Return annotations for what weakens or destroys, and for findings, and the summary."""
    lines = [*_changes(plan.changes), *_findings(plan.findings)][:_MOST]
    return "\n".join([*lines, plan_markdown(plan)])


def drift_github(findings: Sequence[Finding], stack: str = "default") -> str:
    """Return an annotation per finding, and the summary."""
    return "\n".join([*list(_findings(findings))[:_MOST], drift_markdown(findings, stack)])


def annotation(level: str, title: str, message: str) -> str:
    """Return one workflow command with everything escaped that would end it early."""
    return f"::{level} title={_escaped(title).replace(':', '%3A').replace(',', '%2C')}::{_escaped(message)}"


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        if change.change_class.rank >= ChangeClass.WEAKENS.rank:
            level = "error" if change.change_class is ChangeClass.DESTROYS_DATA else "warning"
            said = [consequence.message for consequence in change.consequences] or list(change.reasons)
            yield annotation(
                level, f"csbsctl: {change.change_class.value}", f"{heading(change)}: {'; '.join(said)}"
            )


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        hint = f" ({finding.hint})" if finding.hint else ""
        title = f"csbsctl: {finding.finding_class.value}"
        yield annotation(_LEVELS[finding.severity], title, f"{finding.address}: {finding.message}{hint}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
