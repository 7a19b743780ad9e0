"""What a plan does to backups that exist, in words: which go at the next run, which go earlier than they would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class Toll:
    """Adds up, server by server, which existing backups end earlier; remembers sums, and the first few by name."""

    def __init__(self, now: datetime, timezone: str) -> None:
        self._now = now
        self._timezone = timezone
        self._at_once = _Sum()
        self._later = _Sum()
        self._oldest_before: datetime | None = None
        self._oldest_after: datetime | None = None

    def add(self, backups: Sequence[Backup], endings: Sequence[Ending]) -> None:
        """Count what one server, which has these backups, loses."""
        for ending in endings:
            (self._at_once if ending.after <= self._now else self._later).add(ending)
        lost = {ending.backup.id for ending in endings if ending.after <= self._now}
        if lost:
            good = [backup for backup in backups if backup.good]
            before = (backup.instant for backup in good)
            after = (backup.instant for backup in good if backup.id not in lost)
            self._oldest_before = _earlier(self._oldest_before, min(before, default=None))
            self._oldest_after = _earlier(self._oldest_after, min(after, default=None))

    @property
    def any(self) -> bool:
        """Return whether any backup ends earlier."""
        return bool(self._at_once.backups or self._later.backups)

    def consequences(self) -> Iterator[Consequence]:
        """Yield what becomes of them in words: those that go at the next run, those that go later but earlier than before."""
        if self._at_once.backups:
            yield self._expiry()
        if self._later.backups:
            yield self._earlier_expiry()

    def _expiry(self) -> Consequence:
        """Return ``46 backups of 2 servers (118 GiB) expire at the next run; oldest recovery point A -> B``."""
        lost = self._at_once
        message = (
            f"{_count(lost.backups, 'backup')} of {_count(lost.servers, 'server')} ({format_size(lost.stored)}) "
            f"expire{'s' if lost.backups == 1 else ''} at the next run"
        )
        details: dict[str, Any] = {"backups": lost.backups, "servers": lost.servers, "bytes": lost.stored}
        before, after = self._oldest_before, self._oldest_after
        if before and after and before != after:
            days = [oldest.astimezone(zone(self._timezone)).date().isoformat() for oldest in (before, after)]
            message += f"; oldest recovery point {days[0]} -> {days[1]}"
            details |= {"oldest_before": format_instant(before), "oldest_after": format_instant(after)}
        details["fates"] = lost.listed
        return Consequence(kind="backups-expire", message=message, details=details)

    def _earlier_expiry(self) -> Consequence:
        lost = self._later
        first = lost.first.astimezone(zone(self._timezone)) if lost.first else None
        message = (
            f"{_count(lost.backups, 'more backup' if self._at_once.backups else 'backup')} of "
            f"{_count(lost.servers, 'server')} expire{'s' if lost.backups == 1 else ''} earlier than before, "
            f"the first on {first:%Y-%m-%d}"
        )
        details = {"backups": lost.backups, "servers": lost.servers, "fates": lost.listed}
        return Consequence(kind="backups-expire-earlier", message=message, details=details)


class _Sum:
    """Backups that end, in numbers."""

    def __init__(self) -> None:
        self.backups = 0
        self.servers = 0
        self.stored = 0
        self.first: datetime | None = None
        self.listed: list[dict[str, Any]] = []
        self._server: str | None = None

    def add(self, ending: Ending) -> None:
        self.backups += 1
        self.stored += ending.backup.stored
        self.first = _earlier(self.first, ending.after)
        if ending.server_id != self._server:  # all endings of a server come in a row
            self._server = ending.server_id
            self.servers += 1
        if len(self.listed) < _LISTED:
            self.listed.append(_fate(ending))


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _fate(ending: Ending) -> dict[str, Any]:
    return {
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
