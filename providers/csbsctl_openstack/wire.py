"""What the APIs' words mean: instants, sizes, states. Pure; no call is made here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from csbsctl.model.server import ServerState

GIB = 1024**3

_STATES = {
    "ACTIVE": ServerState.ACTIVE,
    "SHUTOFF": ServerState.STOPPED,
    "PAUSED": ServerState.PAUSED,
    "SUSPENDED": ServerState.PAUSED,
    "BUILD": ServerState.BUSY,
    "HARD_REBOOT": ServerState.BUSY,
    "MIGRATING": ServerState.BUSY,
    "PASSWORD": ServerState.BUSY,
    "REBOOT": ServerState.BUSY,
    "REBUILD": ServerState.BUSY,
    "RESIZE": ServerState.BUSY,
    "REVERT_RESIZE": ServerState.BUSY,
}
TRANSITIONAL_VOLUMES = frozenset(
    {
        "attaching",
        "awaiting-transfer",
        "backing-up",
        "detaching",
        "extending",
        "maintenance",
        "reserved",
        "restoring-backup",
        "retyping",
        "uploading",
    }
)
"""States of a volume that pass; its snapshot has to wait."""


def instant(text: str | None) -> datetime | None:
    """Return the UTC instant of an API's text, which mostly does not say that it is UTC."""
    if not text:
        return None
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def server_state(body: dict[str, Any]) -> ServerState:
    """Return what a server is doing: states that are not listed, shelved and rescued ones say, are errors to us."""
    state = _STATES.get(body["status"], ServerState.ERROR)
    if state is not ServerState.ERROR and body.get("OS-EXT-STS:task_state"):
        return ServerState.BUSY
    return state


def truth(value: Any) -> bool:
    """Return a boolean that an API may spell as a word."""
    return value is True or str(value).lower() == "true"


def gib(size: int) -> int:
    """Return bytes in GiB, rounded up."""
    return -(-size // GIB)
