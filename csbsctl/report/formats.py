"""One door to every format a plan or a drift report can be had in."""

from __future__ import annotations

import json
from collections.abc import Sequence

from csbsctl.errors import UsageError
from csbsctl.model.plan import Finding, Plan
from csbsctl.report.style import Style

FORMATS = ("text", "json", "markdown", "html", "github", "junit", "sarif", "terraform")


def render_plan(
    plan: Plan,
    format: str = "text",  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
    width: int | None = None,
    verbose: bool = False,
) -> str:
    """Return a plan in one of ``FORMATS``, ending in a newline.

    Raises:
        UsageError: there is no such format.
    """
    match format:
        case "text":
            from csbsctl.report.plan_text import plan_text  # noqa: PLC0415 - each format costs only who asks for it

            return plan_text(plan, Style(color=color, width=width), verbose=verbose)
        case "json":
            from csbsctl.report.plan_json import plan_json  # noqa: PLC0415

            return json.dumps(plan_json(plan), ensure_ascii=False) + "\n"
    raise UsageError(f"{format!r} is not a format of plans", hint=f"formats are {', '.join(FORMATS)}")


def render_drift(findings: Sequence[Finding], format: str = "text") -> str:  # noqa: A002
    """Return findings."""
    raise NotImplementedError
