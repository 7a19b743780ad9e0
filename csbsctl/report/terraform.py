"""A plan in Terraform's JSON plan representation, for the many tools that read that.

Everything is said to be in the root module, managed by a provider ``csbsctl``; types are ``csbsctl_policy`` and so on,
values are the keys of the YAML. Unknown keys are allowed by that format, so ours (``csbsctl_version``, ``csbsctl``)
ride along.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import csbsctl
from csbsctl.clock import format_instant
from csbsctl.model.plan import Action, Change, ChangeClass, Plan

FORMAT_VERSION = "1.2"
TERRAFORM_VERSION = "1.11.4"
"""The release whose format this is."""

PROVIDER = "registry.terraform.io/csbsctl/csbsctl"

_ACTIONS = {
    Action.CREATE: ["create"],
    Action.UPDATE: ["update"],
    Action.DELETE: ["delete"],
    Action.IMPORT: ["no-op"],
    Action.NO_OP: ["no-op"],
}


def plan_terraform(plan: Plan) -> dict[str, Any]:
    """Return the document of ``plan --format terraform``."""
    return {
        "format_version": FORMAT_VERSION,
        "terraform_version": TERRAFORM_VERSION,
        "csbsctl_version": csbsctl.__version__,
        "variables": {},
        "planned_values": {"root_module": _module((c, c.after) for c in plan.changes)},
        "resource_drift": [_resource_change(change) for change in plan.drift],
        "resource_changes": [_resource_change(change) for change in plan.changes],
        "output_changes": {},
        "prior_state": {
            "format_version": "1.0",
            "terraform_version": TERRAFORM_VERSION,
            "values": {"root_module": _module((c, c.before) for c in plan.changes)},
        },
        "configuration": _configuration(plan),
        "relevant_attributes": [],
        "checks": _checks(plan),
        "timestamp": format_instant(plan.created_at),
        "applyable": not plan.empty,
        "complete": True,
        "errored": False,
        "csbsctl": {
            "stack": plan.stack,
            "base_generation": plan.base_generation,
            "protected": plan.protected.to_json(),
            "worst": worst_class(plan),
        },
    }


def worst_class(plan: Plan) -> str | None:
    """Return the most dangerous class in a plan; None for an empty one."""
    classes = [change.change_class for change in plan.changes]
    return max(classes, key=lambda each: each.rank).value if classes else None


def _module(values: Iterable[tuple[Change, dict[str, Any] | None]]) -> dict[str, Any]:
    return {
        "resources": [
            {**_identity(change), "schema_version": 0, "values": v, "sensitive_values": {}}
            for change, v in values
            if v is not None
        ]
    }


def _identity(change: Change) -> dict[str, Any]:
    address, kind, name = _name(change.address)
    return {"address": address, "mode": "managed", "type": kind, "name": name, "provider_name": PROVIDER}


def _name(address: str) -> tuple[str, str, str]:
    """Return address, type and name in Terraform's manner; what has no name of its own is called ``this``."""
    kind, _, name = address.partition(".")
    return f"csbsctl_{kind}.{name or 'this'}", f"csbsctl_{kind}", name or "this"


def _resource_change(change: Change) -> dict[str, Any]:
    action = _ACTIONS[change.action]
    if change.action is Action.IMPORT and change.paths:
        action = ["update"]
    made: dict[str, Any] = {
        **_identity(change),
        "change": {
            "actions": action,
            "before": change.before,
            "after": change.after,
            "after_unknown": {},
            "before_sensitive": {} if change.before is not None else False,
            "after_sensitive": {} if change.after is not None else False,
        },
        "csbsctl": {
            "class": change.change_class.value,
            "reasons": list(change.reasons),
            "consequences": [{"kind": c.kind, "message": c.message} for c in change.consequences],
        },
    }
    if change.action is Action.DELETE:
        made["action_reason"] = "delete_because_no_resource_config"
    if change.action is Action.IMPORT:
        made["change"]["importing"] = {"id": f"{change.origin}/{change.address}"}
    elif (
        change.origin
        and change.action in (Action.NO_OP, Action.UPDATE)
        and "." in change.origin.split(" ")[0]
    ):
        kind = change.address.partition(".")[0]
        if change.origin.startswith(f"{kind}."):
            made["previous_address"] = _name(change.origin)[0]
    return made


def _configuration(plan: Plan) -> dict[str, Any]:
    resources = [
        {
            **{key: value for key, value in _identity(change).items() if key != "provider_name"},
            "provider_config_key": "csbsctl",
            "expressions": {key: {"constant_value": value} for key, value in (change.after or {}).items()},
            "schema_version": 0,
        }
        for change in plan.changes
        if change.after is not None
    ]
    provider = {"name": "csbsctl", "full_name": PROVIDER}
    return {"provider_config": {"csbsctl": provider}, "root_module": {"resources": resources}}


def _checks(plan: Plan) -> list[dict[str, Any]]:
    """Return a check per change: it passes unless the change weakens protection or destroys data."""
    return [
        {
            "address": {"kind": "resource", "to_display": _name(change.address)[0]},
            "status": "fail" if change.change_class.rank >= ChangeClass.WEAKENS.rank else "pass",
            "instances": [],
        }
        for change in plan.changes
    ]
