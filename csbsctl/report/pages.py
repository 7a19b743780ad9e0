"""A plan or findings as Markdown (for a merge request) and as one self-contained HTML page (to attach to it).

Templates decide the form; what stands in them is prepared here. HTML is escaped by Jinja2; in Markdown, names and
messages that could be markup are escaped by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from csbsctl.model.plan import Change, ChangeClass, Finding, Plan
from csbsctl.report.drift import drift_line
from csbsctl.report.forecast_svg import svg_of
from csbsctl.report.plan_text import (
    ALARMING,
    DRIFTED,
    attribute_lines,
    drift_lines,
    heading,
    protected_line,
    summary_line,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from csbsctl.engine.prospect import Prospect

_LISTED = 200
"""How many changes a page tells in full; merge requests have limits, and readers too."""

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|])")


def plan_markdown(plan: Plan, *, verbose: bool = False) -> str:
    """Return a plan as Markdown: the verdict in one line, the dangerous in full, the rest to unfold."""
    return _page("plan.md.j2", _plan(plan, None if verbose else _LISTED))


def plan_html(plan: Plan, forecast: Prospect | None = None) -> str:
    """Return a plan as an HTML page that needs nothing else, with a chart of what it leads to."""
    chart = svg_of(forecast) if forecast and forecast.points else ""
    return _page("plan.html.j2", {**_plan(plan, None), "chart": chart})


def drift_markdown(findings: Sequence[Finding], stack: str = "default") -> str:
    """Return findings as Markdown."""
    return _page("drift.md.j2", {"findings": findings, "line": drift_line(findings), "stack": stack})


def drift_html(findings: Sequence[Finding], stack: str = "default") -> str:
    """Return findings as an HTML page that needs nothing else."""
    return _page("drift.html.j2", {"findings": findings, "line": drift_line(findings), "stack": stack})


def _plan(plan: Plan, limit: int | None) -> dict[str, Any]:
    changes = plan.changes[:limit]
    dangerous = [change for change in changes if change.change_class.rank >= ChangeClass.WEAKENS.rank]
    counted = Counter(change.change_class for change in plan.changes)
    return {
        "plan": plan,
        "line": summary_line(plan),
        "protected": protected_line(plan),
        "classes": [(each.value, counted[each]) for each in reversed(ChangeClass) if counted[each]],
        "dangerous": [_told(change) for change in dangerous],
        "others": [_told(change) for change in changes if change not in dangerous],
        "left_out": len(plan.changes) - len(changes),
        "drifted": DRIFTED,
        "drift": [line.strip() for change in plan.drift for line in drift_lines(change)],
    }


def _told(change: Change) -> dict[str, Any]:
    return {
        "address": change.address,
        "heading": heading(change),
        "class": change.change_class.value,
        "lines": [line.strip() for line in attribute_lines(change)],
        "alarms": [c.message for c in change.consequences if c.kind in ALARMING],
        "effects": [c.message for c in change.consequences if c.kind not in ALARMING],
        "fates": [fate for c in change.consequences for fate in c.details.get("fates", ())],
        "reasons": change.reasons,
    }


def _page(name: str, values: dict[str, Any]) -> str:
    return _environment().get_template(name).render(values).strip() + "\n"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape  # noqa: PLC0415 - only pages need it

    from csbsctl.units import format_size  # noqa: PLC0415

    made = Environment(
        loader=PackageLoader("csbsctl.report"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["size"] = format_size
    made.filters["md"] = lambda text: _MARKUP.sub(r"\\\1", str(text)).replace("\n", " ")
    return made
