"""Audit events in the shape of CADF (DMTF DSP0262), with the trace names of csbs.md 1.18 as actions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.ids import new_id

_EVENT = "http://schemas.dmtf.org/cloud/audit/1.0/event"


def cadf_event(
    action: str,
    *,
    at: datetime,
    actor: str,
    observer: str,
    resource_type: str,
    resource_id: str,
    outcome: str,
    reason: str | None,
    details: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return one event: who (initiator) did what (action) to what (target), seen by which vault (observer)."""
    user, _, host = actor.rpartition("@")
    event: dict[str, Any] = {
        "typeURI": _EVENT,
        "id": new_id(),
        "eventType": "activity",
        "eventTime": format_instant(at),
        "action": action,
        "outcome": outcome,
        "initiator": {
            "typeURI": "data/security/account/user",
            "id": actor,
            "name": user or actor,
            "host": {"address": host} if user else {},
        },
        "target": {"typeURI": f"service/csbs/{resource_type}", "id": resource_id, "name": resource_id},
        "observer": {"typeURI": "service/csbs", "id": observer, "name": "csbsctl"},
    }
    if reason is not None:
        event["reason"] = {"reasonType": "csbsctl", "reasonCode": reason}
    if details:
        event["attachments"] = [
            {"typeURI": "mime:application/json", "contentType": "application/json", "content": details}
        ]
    return event
