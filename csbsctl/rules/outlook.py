"""How long backups live under a policy, told in advance: the rules of ``retention`` solved for time.

``judge`` asks of one moment which backups stay. Every rule keeps a backup from its birth until something known
happens: its age is reached, so many newer ones exist, a newer one takes its period, so many newer periods have
begun. The latest of these is its end, so the future needs no simulation slot by slot: one pass over existing
backups and coming slots gives every end. Coming slots end independently of what exists, which lets ten thousand
servers share one outlook. The tests hold the ends against ``judge`` run step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

from csbsctl.model.backup import Backup, BackupState, Trigger
from csbsctl.model.policy import Policy, Retention
from csbsctl.model.walltime import zone
from csbsctl.rules.periods import CALENDAR_RULES, CalendarRule
from csbsctl.rules.retention import FAILED_FOR, FAILED_KEPT, age_order
from csbsctl.rules.schedule import Timetable

FOREVER = datetime.max.replace(tzinfo=UTC)
"""The end of what nothing in sight ends."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A policy as it is or might be; ``policy`` None is a server in no policy, whose backups are frozen."""

    name: str
    policy: Policy | None
    anchor: datetime
    keep_last_good: int = 1

    @property
    def active(self) -> bool:
        """Return whether backups are taken and let go at all."""
        return self.policy is not None and self.policy.enabled


class Line:
    """Instants in order with the local days they fall on."""

    def __init__(self, instants: list[datetime], timezone: str) -> None:
        self.instants = instants
        self._zone = zone(timezone)
        self._groups: dict[str, tuple[list[int], list[datetime]]] = {}

    @cached_property
    def days(self) -> list[date]:
        """Return the local day of each instant."""
        return [instant.astimezone(self._zone).date() for instant in self.instants]

    def groups(self, rule: CalendarRule) -> tuple[list[int], list[datetime]]:
        """Return each instant's period, and the first instant of every period that has one."""
        if rule.name not in self._groups:
            periods = [rule.period(day) for day in self.days]
            firsts = [
                instant
                for position, instant in enumerate(self.instants)
                if position == 0 or periods[position] != periods[position - 1]
            ]
            self._groups[rule.name] = periods, firsts
        return self._groups[rule.name]


class Outlook:
    """What a scenario does from ``now`` to ``end``: its slots, and the ends of their backups and of existing ones."""

    def __init__(self, scenario: Scenario, now: datetime, end: datetime) -> None:
        self.scenario = scenario
        self.now = now
        self.end = end
        policy = scenario.policy
        self.timezone = policy.schedule.timezone if policy else "UTC"

    @cached_property
    def line(self) -> Line:
        """Return the slots with their local days."""
        policy = self.scenario.policy
        slots: list[datetime] = []
        if policy is not None and policy.enabled:
            slots = list(Timetable(policy.schedule, self.scenario.anchor).between(self.now, self.end))
        return Line(slots, self.timezone)

    @property
    def slots(self) -> list[datetime]:
        """Return when the backups to come are taken."""
        return self.line.instants

    @cached_property
    def slot_ends(self) -> list[datetime]:
        """Return, for each slot, when its backup stops being offered."""
        nothing = Line([], self.timezone)
        policy = self.scenario.policy
        if policy is None or not self.scenario.active:
            return []
        ends = _rule_ends(self.line, nothing, policy.retention)
        last = _ends_by_count(self.slots, [], self.scenario.keep_last_good)
        return [max(pair) for pair in zip(ends, last, strict=True)]

    def existing_ends(self, backups: Sequence[Backup]) -> dict[str, datetime]:
        """Return when each of a server's backups stops being offered; never before ``now``, FOREVER if not at all.

        Backups dated in the future, and those being made or deleted, are taken to stay.
        """
        offered = sorted(
            (b for b in backups if not b.expired and b.state is not BackupState.DELETED), key=age_order
        )
        ends = dict.fromkeys((b.id for b in offered), FOREVER)
        policy = self.scenario.policy
        if policy is None or not self.scenario.active:
            return ends
        ours = [b for b in offered if self._governs(b)]
        self._end_failed(ours, ends)
        whole = [b for b in ours if b.state in _WHOLE]
        good = [b for b in whole if b.good]
        ends.update(self._ends([b for b in good if not b.images], policy.retention))
        if len(good) != len(whole):
            damaged = self._ends([b for b in whole if not b.images], policy.retention)
            ends.update((b.id, damaged[b.id]) for b in whole if not b.good and not b.images)
        last = _ends_by_count([b.instant for b in good], self.slots, self.scenario.keep_last_good)
        for backup, end in zip(good, last, strict=True):
            ends[backup.id] = max(ends[backup.id], end)
        for backup in ours:
            ends[backup.id] = FOREVER if backup.protected or backup.images else max(ends[backup.id], self.now)
        return ends

    def _governs(self, backup: Backup) -> bool:
        return (
            backup.trigger is Trigger.AUTO
            and backup.policy == self.scenario.name
            and backup.instant <= self.now
            and backup.state in (*_WHOLE, BackupState.ERROR)
        )

    def _end_failed(self, ours: Sequence[Backup], ends: dict[str, datetime]) -> None:
        failed = [b for b in reversed(ours) if b.state is BackupState.ERROR]
        for place, backup in enumerate(failed, 1):
            ends[backup.id] = backup.instant + FAILED_FOR if place <= FAILED_KEPT else self.now

    def _ends(self, counted: Sequence[Backup], retention: Retention) -> dict[str, datetime]:
        line = Line([b.instant for b in counted], self.timezone)
        ends = _rule_ends(line, self.line, retention)
        return {b.id: end for b, end in zip(counted, ends, strict=True)}


_WHOLE = (BackupState.AVAILABLE, BackupState.WAITING_RESTORE, BackupState.RESTORING)


def _rule_ends(line: Line, following: Line, retention: Retention) -> list[datetime]:
    """Return when the last rule lets go of each backup of ``line``, which ``following`` continues."""
    instants = line.instants
    if retention.permanent:
        return [FOREVER] * len(instants)
    candidates: list[list[datetime]] = []
    if retention.count is not None:
        candidates.append(_ends_by_count(instants, following.instants, retention.count))
    if retention.days is not None:
        limit = timedelta(days=retention.days)
        candidates.append([instant + limit for instant in instants])
    candidates.extend(
        _ends_by_period(line, following, rule, places)
        for rule in CALENDAR_RULES
        if (places := getattr(retention, rule.name)) is not None
    )
    return candidates[0] if len(candidates) == 1 else [max(ends) for ends in zip(*candidates, strict=True)]


def _ends_by_count(instants: list[datetime], following: list[datetime], count: int) -> list[datetime]:
    """Return the ends by count: a backup leaves the newest N when N newer ones exist."""
    known = instants[count:] + following[max(0, count - len(instants)) : count]
    return (known + [FOREVER] * (len(instants) - len(known)))[: len(instants)]


def _ends_by_period(line: Line, following: Line, rule: CalendarRule, places: int) -> list[datetime]:
    """Return the ends by calendar: a backup ends with the next one of its period; the last of a period when K newer periods have begun."""
    periods, firsts = line.groups(rule)
    if not periods:
        return []
    later_periods, later_firsts = following.groups(rule)
    runs_on = bool(later_periods) and later_periods[0] == periods[-1]
    firsts = firsts + (later_firsts[1:] if runs_on else later_firsts)
    ends = []
    group = 0
    for position, period in enumerate(periods):
        if position and period != periods[position - 1]:
            group += 1
        if position + 1 < len(periods):
            successor = line.instants[position + 1] if periods[position + 1] == period else None
        else:
            successor = following.instants[0] if runs_on else None
        if successor is None:
            successor = firsts[group + places] if group + places < len(firsts) else FOREVER
        ends.append(successor)
    return ends
