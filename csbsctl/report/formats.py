"""One door to every format a plan or a drift report can be had in. Each format costs only who asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from csbsctl.engine.desired import Locator, nowhere
from csbsctl.errors import UsageError
from csbsctl.model.plan import Finding, Plan
from csbsctl.report.style import Style

if TYPE_CHECKING:
    from csbsctl.engine.prospect import Prospect

FORMATS = ("text", "json", "markdown", "html", "github", "junit", "sarif", "terraform")


def render_plan(
    plan: Plan,
    format: str = "text",  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
    width: int | None = None,
    verbose: bool = False,
    place: Locator = nowhere,
    forecast: Prospect | None = None,
) -> str:
    """Return a plan in one of ``FORMATS``, ending in a newline.

    ``place`` tells where an address stands in the files, for formats that point there; ``forecast`` is drawn where
    something can be drawn.

    Raises:
        UsageError: there is no such format.
    """
    match format:
        case "text":
            from csbsctl.report.plan_text import plan_text  # noqa: PLC0415

            return plan_text(plan, Style(color=color, width=width), verbose=verbose)
        case "json":
            from csbsctl.report.plan_json import plan_json  # noqa: PLC0415

            return _json(plan_json(plan))
        case "markdown":
            from csbsctl.report.pages import plan_markdown  # noqa: PLC0415

            return plan_markdown(plan, verbose=verbose)
        case "html":
            from csbsctl.report.pages import plan_html  # noqa: PLC0415

            return plan_html(plan, forecast)
        case "github":
            from csbsctl.report.github import plan_github  # noqa: PLC0415

            return plan_github(plan)
        case "junit":
            from csbsctl.report.junit import plan_junit  # noqa: PLC0415

            return plan_junit(plan)
        case "sarif":
            from csbsctl.report.sarif import plan_sarif  # noqa: PLC0415

            return _json(plan_sarif(plan, place))
        case "terraform":
            from csbsctl.report.terraform import plan_terraform  # noqa: PLC0415

            return _line(plan_terraform(plan))
    raise _unknown(format)


def render_drift(
    findings: Sequence[Finding],
    format: str = "text",  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
    width: int | None = None,
    stack: str = "default",
    place: Locator = nowhere,
) -> str:
    """Return findings in one of ``FORMATS`` except ``terraform``, ending in a newline.

    Raises:
        UsageError: there is no such format.
    """
    match format:
        case "text":
            from csbsctl.report.drift import drift_text  # noqa: PLC0415

            return drift_text(findings, Style(color=color, width=width))
        case "json":
            from csbsctl.report.drift import drift_json  # noqa: PLC0415

            return _json(drift_json(findings))
        case "markdown":
            from csbsctl.report.pages import drift_markdown  # noqa: PLC0415

            return drift_markdown(findings, stack)
        case "html":
            from csbsctl.report.pages import drift_html  # noqa: PLC0415

            return drift_html(findings, stack)
        case "github":
            from csbsctl.report.github import drift_github  # noqa: PLC0415

            return drift_github(findings, stack)
        case "junit":
            from csbsctl.report.junit import drift_junit  # noqa: PLC0415

            return drift_junit(findings)
        case "sarif":
            from csbsctl.report.sarif import drift_sarif  # noqa: PLC0415

            return _json(drift_sarif(findings, place))
        case "terraform":
            raise UsageError(
                "Terraform has no format for findings", hint="`plan --format terraform` shows drift too"
            )
    raise _unknown(format)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def _line(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _unknown(name: str) -> UsageError:
    return UsageError(f"{name!r} is not a format", hint=f"formats are {', '.join(FORMATS)}")
