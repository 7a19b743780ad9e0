"""Findings as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from csbsctl.model.plan import Finding
from csbsctl.report.plan_json import finding_json
from csbsctl.report.plan_text import finding_lines
from csbsctl.report.style import Style, plural

NO_DRIFT = "No drift. The live state is what the configuration says."


def drift_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of ``drift --json``."""
    return {"findings": [finding_json(finding) for finding in findings], "summary": counts(findings)}


def drift_text(findings: Sequence[Finding], style: Style) -> str:
    """Return the findings by class, each with since when and what to do, and a line that counts them."""
    if not findings:
        return style.paint("bold", NO_DRIFT) + "\n"
    lines = []
    for name in counts(findings):
        lines.append(style.paint("bold", f"{name}:"))
        for finding in findings:
            if finding.finding_class.value == name:
                lines += [f"  {line}" for line in finding_lines(finding, style)]
                if finding.since:
                    lines.append(style.paint("dim", f"    since {finding.since:%Y-%m-%d %H:%M} UTC"))
        lines.append("")
    lines.append(style.paint("bold", drift_line(findings)))
    return "\n".join(lines) + "\n"


def drift_line(findings: Sequence[Finding]) -> str:
    """Return the last line: ``Drift: 3 findings (1 config, 2 missed)``, with a period."""
    each = ", ".join(f"{count} {name}" for name, count in counts(findings).items())
    return f"Drift: {plural(len(findings), 'finding')} ({each})." if findings else NO_DRIFT


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many findings each class has; classes without any are left out."""
    return dict(Counter(finding.finding_class.value for finding in findings))
