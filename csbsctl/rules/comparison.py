"""What changing a policy does to protection, found by living both futures (design section 4).

Attributes deceive: the same ``count`` with more runs a day keeps less history, and enabling a policy that slept for
long prunes at once. Both scenarios are therefore solved over the existing backups and the next 400 days. An existing
backup that ends earlier is destroyed data; less history, fewer runs or longer gaps in the long run weaken.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from csbsctl.model.backup import Backup, BackupState
from csbsctl.model.plan import ChangeClass
from csbsctl.model.policy import Retention
from csbsctl.rules.forecast import DAYS
from csbsctl.rules.outlook import FOREVER, Outlook, Scenario
from csbsctl.units import format_duration

_LADDER = (1, 2, 4, 7, 14, 30, 60, 90, 180, 365)
"""Ages in days: up to each of them the recovery points of both scenarios are compared."""

_TOLERANCE = 1.05
"""Gaps this much longer are the clocks' doing (23, 24 and 25 hours), not the change's."""

_PAIR = 2
"""So many points make a distance."""

_PERIOD_DAYS = {"daily": 1.0, "weekly": 7.0, "monthly": 365.25 / 12, "yearly": 365.25}
_ENDLESS = timedelta(days=365_000)


@dataclass(frozen=True, slots=True)
class Ending:
    """An existing backup that would be gone earlier: when as things are (None: not in sight), and when then."""

    server_id: str
    backup: Backup
    before: datetime | None
    after: datetime


@dataclass(frozen=True, slots=True)
class Steady:
    """What a scenario comes to when everything before it is forgotten."""

    runs: int
    longest_gap: timedelta | None
    """Longest time from one run to the next; None when fewer than two runs are in sight."""
    history: timedelta
    """How far back one can always go."""
    points: tuple[datetime, ...]
    """The recovery points on offer at the end, oldest first."""
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of a change, the reasons in words, and which existing backups end earlier."""

    change_class: ChangeClass
    reasons: tuple[str, ...]
    endings: tuple[Ending, ...]
    before: Steady
    after: Steady


def compare(
    old: Scenario,
    new: Scenario,
    histories: Mapping[str, Sequence[Backup]],
    *,
    now: datetime,
    days: int = DAYS,
) -> Verdict:
    """Return what going from one scenario to another does to some servers, and to any server in the long run.

    Args:
        old: the policy as it is in force, or a scenario without a policy for servers that had none.
        new: the policy as declared, or a scenario without a policy for servers that lose theirs.
        histories: all backups of each server that both scenarios concern, by server ID; may be empty.
        now: the present.
        days: how far to look.
    """
    comparison = Comparison(old, new, now=now, days=days)
    endings = tuple(
        ending
        for server_id, backups in histories.items()
        for ending in comparison.endings(server_id, backups)
    )
    change_class, reasons = comparison.outlook(destroys=bool(endings))
    if endings:
        reasons = (_destroyed(endings, now), *reasons)
    return Verdict(change_class, reasons, endings, comparison.before, comparison.after)


class Comparison:
    """Two scenarios side by side: asked server by server what ends earlier, and once what becomes of any of them."""

    def __init__(self, old: Scenario, new: Scenario, *, now: datetime, days: int = DAYS) -> None:
        end = now + timedelta(days=days)
        self._before, self._after = Outlook(old, now, end), Outlook(new, now, end)

    @cached_property
    def before(self) -> Steady:
        """Return what the old scenario comes to in the long run."""
        return steady_state(self._before)

    @cached_property
    def after(self) -> Steady:
        """Return what the new scenario comes to in the long run."""
        return steady_state(self._after)

    def endings(self, server_id: str, backups: Sequence[Backup]) -> list[Ending]:
        """Return which backups of a server end earlier under the new scenario."""
        return _endings(server_id, backups, self._before, self._after) if backups else []

    def outlook(self, *, destroys: bool) -> tuple[ChangeClass, tuple[str, ...]]:
        """Return the class of the change and in what it is worse in the long run; ``destroys``: some backup ends earlier."""
        steady = self.before, self.after
        worse = [*_fewer_runs(*steady), *_longer_gap(*steady), *_shorter_history(*steady), *_sparser(*steady)]
        if destroys or worse:
            return ChangeClass.DESTROYS_DATA if destroys else ChangeClass.WEAKENS, tuple(worse)
        mirrored = self.after, self.before
        better = any(
            (
                _fewer_runs(*mirrored),
                _longer_gap(*mirrored),
                _shorter_history(*mirrored),
                _sparser(*mirrored),
            )
        )
        return ChangeClass.STRENGTHENS if better else ChangeClass.NEUTRAL, ()


def steady_state(outlook: Outlook) -> Steady:
    """Return what a scenario comes to in the long run."""
    slots, ends = outlook.slots, outlook.slot_ends
    gap = max((later - earlier for earlier, later in pairwise(slots)), default=None)
    points = tuple(slot for slot, end in zip(slots, ends, strict=True) if end > outlook.end)
    return Steady(len(slots), gap, _history(outlook), points, outlook.now, outlook.end)


def _history(outlook: Outlook) -> timedelta:
    """Return how far back one can go at worst in the second half; by calculation where that is too soon to see."""
    slots, ends = outlook.slots, outlook.slot_ends
    policy = outlook.scenario.policy
    if not slots or policy is None:
        return timedelta(0)
    settled = outlook.now + (outlook.end - outlook.now) / 2
    calculated = _calculated_history(policy.retention, outlook)
    if outlook.now + calculated >= settled:
        return calculated
    oldest = 0
    worst = calculated
    for slot in slots:
        while ends[oldest] <= slot:
            oldest += 1
        if slot >= settled:
            worst = min(worst, slot - slots[oldest])
    return worst


def _calculated_history(retention: Retention, outlook: Outlook) -> timedelta:
    if retention.permanent:
        return _ENDLESS
    span = (outlook.end - outlook.now) / timedelta(days=1)
    between_runs = span / len(outlook.slots)
    reaches = [0.0]
    if retention.count is not None:
        reaches.append(retention.count * between_runs)
    if retention.days is not None:
        reaches.append(float(retention.days))
    for name, length in _PERIOD_DAYS.items():
        if (places := getattr(retention, name)) is not None:
            reaches.append(places * max(length, between_runs))
    return min(timedelta(days=max(reaches)), _ENDLESS)


def _endings(server_id: str, backups: Sequence[Backup], before: Outlook, after: Outlook) -> list[Ending]:
    """Return the backups that end earlier, damaged ones too, by about a run of the old schedule or more."""
    ends_before, ends_after = before.existing_ends(backups), after.existing_ends(backups)
    good = {backup.id for backup in backups if backup.good}
    overdue = {backup_id for backup_id, end in ends_before.items() if end <= before.now}
    if len(overdue & good) * 2 > len(good):
        # No prune has taken so many at once unannounced; a change of the rules announces them, and lets them go.
        ends_before |= dict.fromkeys(overdue, FOREVER)
    # Moving a run from 02:00 to 01:00 also moves every end by an hour; nobody loses a recovery point by it.
    noticeable = 0.9 * _mean_gap(before)
    found = []
    for backup in backups:
        if backup.id not in ends_after or backup.state is BackupState.ERROR:
            continue  # hidden already, or nothing anybody could restore
        was, will_be = ends_before[backup.id], ends_after[backup.id]
        if will_be > after.end or will_be >= was:
            continue
        if will_be > after.now and not before.scenario.active:
            continue  # taken up again, a policy replaces its old backups one by one: only a sudden end is a loss
        if will_be == after.now or min(was, before.end) - will_be >= noticeable:
            found.append(Ending(server_id, backup, None if was is FOREVER else was, will_be))
    return found


def _mean_gap(outlook: Outlook) -> timedelta:
    if not outlook.slots:
        return timedelta(0)
    return (outlook.end - outlook.now) / len(outlook.slots)


def _destroyed(endings: Sequence[Ending], now: datetime) -> str:
    servers = len({ending.server_id for ending in endings})
    at_once = sum(ending.after <= now for ending in endings)
    when = f", {at_once} of them at the next run" if at_once else ""
    return f"{_count(len(endings), 'existing backup')} of {_count(servers, 'server')} would be deleted earlier{when}"


def _fewer_runs(old: Steady, new: Steady) -> list[str]:
    if new.runs * _TOLERANCE >= old.runs:
        return []
    weeks = (old.end - old.start) / timedelta(weeks=1)
    return [f"fewer runs: {_rate(old.runs / weeks)} -> {_rate(new.runs / weeks)} a week"]


def _rate(runs: float) -> str:
    return f"{runs:.1f}".removesuffix(".0")


def _longer_gap(old: Steady, new: Steady) -> list[str]:
    if old.longest_gap is None or not new.runs:
        return []
    if new.longest_gap is not None and new.longest_gap <= old.longest_gap * _TOLERANCE:
        return []
    after = _span(new.longest_gap) if new.longest_gap is not None else "more than a year"
    return [f"longer gap between backups: at most {_span(old.longest_gap)} -> {after}"]


def _shorter_history(old: Steady, new: Steady) -> list[str]:
    mean = (old.end - old.points[0]) / len(old.points) if old.points else timedelta(0)
    slack = max(min(mean, timedelta(days=1)) * 0.9, timedelta(minutes=30))
    if old.history - new.history < slack:
        return []
    return [f"history reaches back {_ago(old.history)} -> {_ago(new.history)}"]


def _sparser(old: Steady, new: Steady) -> list[str]:
    """Compare how far recovery points lie apart, up to each age that both scenarios reach."""
    if min(len(old.points), len(new.points)) < _PAIR:
        return []
    reach = min(old.end - old.points[0], new.end - new.points[0])
    for age in (timedelta(days=days) for days in _LADDER):
        if age > reach:
            break
        before, after = _gap_up_to(age, old), _gap_up_to(age, new)
        if after > before * _TOLERANCE:
            return [
                f"recovery points up to {_span(age)} old lie further apart: {_span(before)} -> {_span(after)}"
            ]
    return []


def _gap_up_to(age: timedelta, steady: Steady) -> timedelta:
    """Return the longest distance of neighbours whose newer one is not older than ``age``; at least the newest two."""
    first = min(bisect.bisect_left(steady.points, steady.end - age), len(steady.points) - 1)
    points = steady.points[max(first - 1, 0) :]
    return max(later - earlier for earlier, later in pairwise(points))


def _span(span: timedelta) -> str:
    return format_duration(timedelta(minutes=round(span / timedelta(minutes=1))))


def _ago(span: timedelta) -> str:
    if span >= _ENDLESS:
        return "the beginning"
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else _span(span)  # noqa: PLR2004


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
