"""When a policy runs next, in its zone and in UTC, and how far apart its recovery points can lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from csbsctl.clock import format_instant
from csbsctl.model.plan import Consequence
from csbsctl.model.policy import Policy
from csbsctl.model.walltime import zone
from csbsctl.rules.schedule import Timetable

_SHOWN = 3


def next_runs(policy: Policy, anchor: datetime, now: datetime) -> Consequence | None:
    """Return ``next runs: 2026-11-23 02:00 CST (18:00 UTC), …``; None for a policy that is off or never runs."""
    if not policy.enabled:
        return None
    slots = list(islice(Timetable(policy.schedule, anchor).between(now, now + timedelta(days=400)), _SHOWN))
    if not slots:
        return None
    local = zone(policy.schedule.timezone)
    texts = [_both(slot, slot.astimezone(local)) for slot in slots]
    return Consequence(
        kind="next-runs",
        message=f"next runs: {', '.join(texts)}, ...",
        details={"runs": [format_instant(slot) for slot in slots]},
    )


def longest_gap(policy: Policy, anchor: datetime, now: datetime, days: int = 400) -> timedelta | None:
    """Return the longest time between two runs; None for a policy that is off or runs less than twice."""
    if not policy.enabled:
        return None
    slots = Timetable(policy.schedule, anchor).between(now, now + timedelta(days=days))
    return max((later - earlier for earlier, later in pairwise(slots)), default=None)


def _both(slot: datetime, local: datetime) -> str:
    utc = slot.astimezone(UTC)
    if local.utcoffset() == timedelta(0):
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    return f"{local:%Y-%m-%d %H:%M %Z} ({utc:%H:%M} UTC)"
