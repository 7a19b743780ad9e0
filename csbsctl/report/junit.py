"""A plan or findings as JUnit XML: every change or finding is a case; what is dangerous or wrong has failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from csbsctl.clock import format_instant
from csbsctl.model.plan import ChangeClass, Finding, Plan
from csbsctl.report.plan_text import attribute_lines, heading, summary_line

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def plan_junit(plan: Plan) -> str:
    """Return a suite with a case per change; those that weaken or destroy are failures."""
    suite = suite_named(f"csbsctl plan: {plan.stack}")
    suite.set("timestamp", format_instant(plan.created_at))
    for change in plan.changes:
        case = case_of(suite, heading(change), f"csbsctl.plan.{change.address.partition('.')[0]}")
        lines = [line.strip() for line in attribute_lines(change)]
        lines += [consequence.message for consequence in change.consequences]
        if change.change_class.rank >= ChangeClass.WEAKENS.rank:
            fail_case(case, change.change_class.value, "; ".join(change.reasons) or heading(change), lines)
        elif lines:
            ET.SubElement(case, "system-out").text = "\n".join(lines)
    if not plan.changes:
        case_of(suite, summary_line(plan), "csbsctl.plan")
    return written(suite)


def drift_junit(findings: Sequence[Finding]) -> str:
    """Return a suite with a case per finding; notes pass, all else has failed."""
    suite = suite_named("csbsctl drift")
    for finding in findings:
        case = case_of(suite, finding.address, f"csbsctl.drift.{finding.finding_class.value}")
        lines = [f"since {format_instant(finding.since)}"] if finding.since else []
        lines += [finding.hint] if finding.hint else []
        if finding.severity == "note":
            ET.SubElement(case, "system-out").text = "\n".join([finding.message, *lines])
        else:
            fail_case(case, finding.severity, finding.message, lines)
    if not findings:
        case_of(suite, "no drift", "csbsctl.drift")
    return written(suite)


def suite_named(name: str) -> ET.Element:
    """Return an empty suite."""
    return ET.Element("testsuite", name=name, errors="0", skipped="0")


def case_of(suite: ET.Element, name: str, classname: str) -> ET.Element:
    """Return a new case of a suite."""
    return ET.SubElement(suite, "testcase", name=name, classname=classname, time="0")


def fail_case(case: ET.Element, kind: str, message: str, lines: Sequence[str]) -> None:
    """Add a failure to a case."""
    failure = ET.SubElement(case, "failure", type=kind, message=message)
    failure.text = "\n".join(lines)


def written(suite: ET.Element) -> str:
    """Return a suite as a document, with its cases and failures counted."""
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    # XML has no way to write control characters, and names of servers may hold them.
    return (
        _CONTROL.sub("\N{REPLACEMENT CHARACTER}", ET.tostring(root, encoding="unicode", xml_declaration=True))
        + "\n"
    )
