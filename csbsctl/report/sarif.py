"""A plan or findings as SARIF 2.1.0, for code scanning: what weakens, destroys or is wrong is a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import csbsctl
from csbsctl.engine.desired import Locator, nowhere
from csbsctl.model.plan import ChangeClass, Finding, FindingClass, Plan
from csbsctl.report.plan_text import heading

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_FILE = "csbs.yaml"
_CLASSES = {
    ChangeClass.WEAKENS: ("warning", "A change weakens protection"),
    ChangeClass.DESTROYS_DATA: ("error", "A change destroys backups"),
}
_FINDINGS = {
    FindingClass.CONFIG: "The live configuration is not the declared one",
    FindingClass.UNPROTECTED: "A server that must be protected is not",
    FindingClass.BINDING: "A bound server is gone, renamed, newly matched or cannot be backed up",
    FindingClass.MISSED: "A slot gave no backup",
    FindingClass.OBJECTIVE: "A recovery point is older than allowed",
    FindingClass.BACKUP: "A backup is missing, failed, damaged or never expires",
    FindingClass.CHAIN: "A chain hangs on a foreign backup",
    FindingClass.ORPHAN: "Something was left behind in a cloud",
    FindingClass.QUOTA: "A quota is used up, or nearly",
}


def plan_sarif(plan: Plan, place: Locator = nowhere) -> dict[str, Any]:
    """Return the document of ``plan --format sarif``; ``place`` tells where an address stands in the files."""
    results = []
    for change in plan.changes:
        if change.change_class in _CLASSES:
            level = _CLASSES[change.change_class][0]
            said = [consequence.message for consequence in change.consequences] or list(change.reasons)
            text = f"{heading(change)}: {'; '.join(said)}" if said else heading(change)
            results.append(_result(f"plan/{change.change_class.value}", level, text, change.address, place))
    return _document(results + _results(plan.findings, place))


def drift_sarif(findings: Sequence[Finding], place: Locator = nowhere) -> dict[str, Any]:
    """Return the document of ``drift --format sarif``; ``place`` tells where an address stands in the files."""
    return _document(_results(findings, place))


def _results(findings: Iterable[Finding], place: Locator) -> list[dict[str, Any]]:
    return [
        _result(
            f"drift/{finding.finding_class.value}", finding.severity, finding.message, finding.address, place
        )
        for finding in findings
    ]


def _result(rule: str, level: str, text: str, address: str, place: Locator) -> dict[str, Any]:
    fingerprint = sha256(f"{rule} {address}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": _location(address, place),
                "logicalLocations": [{"fullyQualifiedName": address}],
            }
        ],
        "partialFingerprints": {"csbsctl/v1": fingerprint},
    }


def _location(address: str, place: Locator) -> dict[str, Any]:
    """Return where an address stands; what is not in the files any more points at the top of the first."""
    found = place(address)
    uri, region = (
        (quote(found.file), {"startLine": found.line, "startColumn": found.column})
        if found
        else (_FILE, {"startLine": 1})
    )
    return {"artifactLocation": {"uri": uri}, "region": region}


def _document(results: list[dict[str, Any]]) -> dict[str, Any]:
    described = {f"plan/{each.value}": text for each, (_, text) in _CLASSES.items()}
    described |= {f"drift/{each.value}": text for each, text in _FINDINGS.items()}
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in described.items()]
    driver = {"name": "csbsctl", "version": csbsctl.__version__, "rules": rules}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
