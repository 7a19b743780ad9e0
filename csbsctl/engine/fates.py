"""What a plan does to backups that exist, in words: which go at the next run, which go earlier than they would have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Consequence
from csbsctl.model.walltime import zone
from csbsctl.rules.comparison import Ending
from csbsctl.units import format_size

_LISTED = 500
"""How many fates a plan lists one by one."""


def fates(
    endings: Sequence[Ending], histories: Mapping[str, Sequence[Backup]], now: datetime, timezone: str
) -> Iterator[Consequence]:
    """Yield what becomes of existing backups that end earlier; ``histories`` are those of all servers looked at."""
    at_once = [ending for ending in endings if ending.after <= now]
    if at_once:
        yield _expiry(at_once, histories, timezone)
    later = [ending for ending in endings if ending.after > now]
    if later:
        servers = len({ending.server_id for ending in later})
        first = min(ending.after for ending in later)
        message = (
            f"{_count(len(later), 'more backup' if at_once else 'backup')} of {_count(servers, 'server')} "
            f"expire{'s' if len(later) == 1 else ''} earlier than before, "
            f"the first on {first.astimezone(zone(timezone)):%Y-%m-%d}"
        )
        details = {"backups": len(later), "servers": servers, "fates": list(_listed(later))}
        yield Consequence(kind="backups-expire-earlier", message=message, details=details)


def _expiry(
    endings: Sequence[Ending], histories: Mapping[str, Sequence[Backup]], timezone: str
) -> Consequence:
    """Return ``46 backups of 2 servers (118 GiB) expire at the next run; oldest recovery point A -> B``."""
    servers = {ending.server_id for ending in endings}
    lost = {ending.backup.id for ending in endings}
    size = sum(ending.backup.stored for ending in endings)
    message = (
        f"{_count(len(endings), 'backup')} of {_count(len(servers), 'server')} ({format_size(size)}) "
        f"expire{'s' if len(endings) == 1 else ''} at the next run"
    )
    details: dict[str, Any] = {"backups": len(endings), "servers": len(servers), "bytes": size}
    good = [backup for server in servers for backup in histories[server] if backup.good]
    before = min((backup.instant for backup in good), default=None)
    after = min((backup.instant for backup in good if backup.id not in lost), default=None)
    if before and after and before != after:
        days = [oldest.astimezone(zone(timezone)).date().isoformat() for oldest in (before, after)]
        message += f"; oldest recovery point {days[0]} -> {days[1]}"
        details |= {"oldest_before": format_instant(before), "oldest_after": format_instant(after)}
    details["fates"] = list(_listed(endings))
    return Consequence(kind="backups-expire", message=message, details=details)


def _listed(endings: Sequence[Ending]) -> Iterator[dict[str, Any]]:
    for ending in endings[:_LISTED]:
        yield {
            "id": ending.backup.id,
            "name": ending.backup.name,
            "server": ending.backup.server.name,
            "taken_at": format_instant(ending.backup.instant),
            "stored": ending.backup.stored,
            "expires_before": format_instant(ending.before) if ending.before else None,
            "expires_after": format_instant(ending.after),
        }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
