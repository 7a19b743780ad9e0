"""What is written beside a backup's stored data, so that a rebuild of the catalogue finds it there, and how it is read.

Policy, slot, server and the backup's ID are in the marker already; what a provider knows itself (consistency, method,
the server's description) it writes on its own.
"""

from __future__ import annotations

from typing import Any

from csbsctl.model.backup import Backup, Trigger


def describe(backup: Backup) -> dict[str, Any]:
    """Return what only the record of a backup says of it, as plain JSON values."""
    return {
        "name": backup.name,
        "trigger": backup.trigger.value,
        "description": backup.description,
        "tags": dict(backup.tags),
        "stack": backup.stack,
    }


def read_back(about: dict[str, Any], slot: str) -> dict[str, Any]:
    """Return fields of a record from what was written beside its data: nothing, or by somebody else, is fine.

    The name is left out when there is none; whether it is free on its server is the caller's to see.
    """
    try:
        trigger = Trigger(about.get("trigger", ""))
    except ValueError:
        trigger = Trigger.AUTO if slot else Trigger.MANUAL
    tags = about.get("tags")
    fields: dict[str, Any] = {
        "trigger": trigger,
        "description": str(about.get("description") or ""),
        "tags": {str(k): str(v) for k, v in tags.items()} if isinstance(tags, dict) else {},
        "protected": about.get("protected") is True,
    }
    return fields | {key: str(about[key]) for key in ("name", "stack") if about.get(key)}
