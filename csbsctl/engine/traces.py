"""What an apply leaves in the audit trail: the trace names of csbs.md 1.18 for each change of a plan.

The service has no trace name for unbinding or for guardrails: a binding that goes is a ``bindResources`` whose details
say so, and what is not a policy's or a binding's is an ``updateBackupPolicy`` of its address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from csbsctl.model.plan import Action, Change, Plan

_POLICY = {
    Action.CREATE: "createBackupPolicy",
    Action.UPDATE: "updateBackupPolicy",
    Action.IMPORT: "updateBackupPolicy",
    Action.DELETE: "deleteBackupPolicy",
}


@dataclass(frozen=True, slots=True)
class Trace:
    """One audit event to be: its trace name, what it is about, and the details."""

    name: str
    resource_id: str
    details: dict[str, Any]
    resource_type: str = "backupPolicy"


def traces(plan: Plan, generation: int) -> Iterator[Trace]:
    """Yield the audit events of a plan that became the given generation."""
    for change in plan.changes:
        if change.action is not Action.NO_OP:
            yield Trace(_name(change), change.address, _details(change, plan.stack, generation))


def _name(change: Change) -> str:
    if change.address.startswith("binding."):
        return "bindResources"
    if change.address.startswith("policy."):
        return _POLICY[change.action]
    return "updateBackupPolicy"


def _details(change: Change, stack: str, generation: int) -> dict[str, Any]:
    return {
        "stack": stack,
        "action": change.action.value,
        "class": change.change_class.value,
        "generation": generation,
        "paths": [path.path for path in change.paths],
    }
