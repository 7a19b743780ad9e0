"""A plan as JSON: the keys that scripts rely on (design section 11)."""

from __future__ import annotations

from typing import Any

from csbsctl.clock import format_instant
from csbsctl.model.plan import Action, Change, Finding, Plan

FORMAT_VERSION = 1


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the document of ``plan --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "stack": plan.stack,
        "vault": plan.vault_id,
        "base_generation": plan.base_generation,
        "created_at": format_instant(plan.created_at),
        "commit": plan.commit,
        "changes": [change_json(change) for change in plan.changes],
        "drift": [change_json(change) for change in plan.drift],
        "findings": [finding_json(finding) for finding in plan.findings],
        "summary": summary(plan),
        "protected": plan.protected.to_json(),
        "quota": plan.quota,
        "notes": list(plan.notes),
    }


def apply_json(plan: Plan, *, generation: int, applied: bool) -> dict[str, Any]:
    """Return the document of ``apply --json``: the plan's keys, the generation in force, whether it was committed."""
    return {**plan_json(plan), "generation": generation, "applied": applied}


def summary(plan: Plan) -> dict[str, int]:
    """Return how many addresses are added, changed and destroyed (and imported, where any are)."""
    counts = {
        "add": plan.count(Action.CREATE),
        "change": plan.count(Action.UPDATE),
        "destroy": plan.count(Action.DELETE),
    }
    imported = plan.count(Action.IMPORT)
    return {**counts, "import": imported} if imported else counts


def change_json(change: Change) -> dict[str, Any]:
    """Return one entry of ``changes`` or ``drift``."""
    return {
        "address": change.address,
        "action": change.action.value,
        "class": change.change_class.value,
        "before": change.before,
        "after": change.after,
        "paths": [{"path": path.path, "before": path.before, "after": path.after} for path in change.paths],
        "consequences": [
            {**consequence.details, "kind": consequence.kind, "message": consequence.message}
            for consequence in change.consequences
        ],
        "reasons": list(change.reasons),
        "origin": change.origin,
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return one entry of ``findings``."""
    return {
        "class": finding.finding_class.value,
        "severity": finding.severity,
        "address": finding.address,
        "message": finding.message,
        "since": format_instant(finding.since) if finding.since else None,
        "hint": finding.hint,
    }
