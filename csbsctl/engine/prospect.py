"""What a forecast says: days, policies, quotas. Plain data; ``forecasting`` makes it, ``report`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Point:
    """One day: backups on offer and bytes stored at its end, and the worst recovery point during it.

    ``recovery_point`` is how much the unluckiest server would lose; None while one has no backup at all.
    """

    date: date
    backups: int
    stored: int
    recovery_point: timedelta | None


@dataclass(frozen=True, slots=True)
class PolicyProspect:
    """One policy over the days ahead."""

    name: str
    enabled: bool
    servers: int
    runs: int
    """Backups to be taken of each server."""
    backups: int
    """On offer now."""
    backups_at_end: int
    stored: int
    stored_at_end: int
    recovery_point: timedelta | None
    """The worst to come, once every server has a backup; None where there will be none."""
    oldest_at_end: datetime | None
    """How far back every server can go at the end."""


@dataclass(frozen=True, slots=True)
class QuotaProspect:
    """What a cloud allows, and the most that will be used: numbers count a backup of each disk."""

    provider: str
    what: str
    """``backups`` or ``bytes``."""
    limit: int
    used: int
    peak: int
    peak_date: date | None
    """When the peak is reached; None where it is now."""
    exceeded_on: date | None
    """The first day on which the limit does not suffice."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """The future of a stack, a policy or a server."""

    now: datetime
    days: int
    servers: int
    points: tuple[Point, ...]
    policies: tuple[PolicyProspect, ...]
    quotas: tuple[QuotaProspect, ...]
    frozen_backups: int
    """Backups of servers in no policy: they stay until somebody deletes them, and are in no other figure."""
    frozen_stored: int
    guessed: bool
    """Whether bytes are guessed for some server, for want of backups to learn from."""

    @property
    def peak(self) -> Point | None:
        """Return the first day on which most bytes are stored."""
        return max(self.points, key=lambda point: point.stored, default=None)
