"""What a plan does to backups that exist: which of them the next run lets go of that it would have kept otherwise.

Only servers whose rules change are looked at: their policy changed, or they come under another one. A policy prunes a
server's backups of its own name while it is enabled and the server bound to it; that holds before and after alike,
so enabling a policy or binding a server again can condemn backups as surely as a shorter retention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from csbsctl.engine.addresses import Canonical
from csbsctl.engine.reach import Bond
from csbsctl.engine.situation import BackupReader, ServerKey
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Consequence
from csbsctl.model.policy import Policy
from csbsctl.model.walltime import zone
from csbsctl.rules.retention import judge
from csbsctl.units import format_size

_FEW = 8
_LISTED = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """Under what a server's backups are judged: a policy by name, and how many last good ones stay."""

    name: str
    policy: Policy
    keep_last_good: int


@dataclass(frozen=True, slots=True)
class Toll:
    """What one server pays: its backups that go, and its oldest recovery point before and after."""

    server: str
    lost: tuple[Backup, ...]
    oldest_before: datetime | None
    oldest_after: datetime | None


class Histories:
    """The backups of the servers a plan touches, each read once, many at a time."""

    def __init__(self, catalogue: BackupReader, former: Mapping[str, Sequence[str]]) -> None:
        self._catalogue = catalogue
        self._names = {old: new for new, olds in former.items() for old in olds}
        self._read: dict[ServerKey, tuple[Backup, ...]] = {}
        self._known: frozenset[ServerKey] | None = None

    def fetch(self, keys: Iterable[ServerKey]) -> None:
        """Read the backups of several servers."""
        if self._known is None:
            self._known = frozenset(self._catalogue.servers())
        missing = [key for key in keys if key not in self._read and key in self._known]
        if len(missing) < _FEW:
            found = [self._catalogue.backups(*key) for key in missing]
        else:
            with ThreadPoolExecutor(16, thread_name_prefix="histories") as pool:
                found = list(pool.map(lambda key: self._catalogue.backups(*key), missing))
        self._read.update((key, self._renamed(backups)) for key, backups in zip(missing, found, strict=True))

    def of(self, key: ServerKey) -> tuple[Backup, ...]:
        """Return a server's backups, oldest first, those of renamed policies under their new names."""
        self.fetch([key])
        return self._read.get(key, ())

    def _renamed(self, backups: tuple[Backup, ...]) -> tuple[Backup, ...]:
        if not self._names:
            return backups
        return tuple(
            b.model_copy(update={"policy": self._names[b.policy]}) if b.policy in self._names else b
            for b in backups
        )


def rule_of(bond: Bond | None, policies: Mapping[str, Policy], keep_last_good: int) -> Rule | None:
    """Return what prunes a server's backups; None where nothing does."""
    policy = policies.get(bond.policy) if bond else None
    if bond is None or policy is None or not policy.enabled:
        return None
    return Rule(bond.policy, policy, keep_last_good)


def toll(
    server: str, backups: Sequence[Backup], before: Rule | None, after: Rule | None, now: datetime
) -> Toll | None:
    """Return what a server pays for a change of its rule; None where it pays nothing."""
    if after is None or not backups:
        return None
    spared = released(backups, before, now)
    lost = released(backups, after, now) - spared
    if not lost:
        return None
    good = [b for b in backups if b.good and b.id not in spared]
    return Toll(
        server=server,
        lost=tuple(b for b in backups if b.id in lost),
        oldest_before=min((b.instant for b in good), default=None),
        oldest_after=min((b.instant for b in good if b.id not in lost), default=None),
    )


def released(backups: Sequence[Backup], rule: Rule | None, now: datetime) -> set[str]:
    """Return the backups that are offered now and would no longer be after a prune by the rule."""
    if rule is None:
        return set()
    fates = judge(
        backups,
        rule.policy.retention,
        policy=rule.name,
        timezone=rule.policy.schedule.timezone,
        now=now,
        keep_last_good=rule.keep_last_good,
    )
    offered = {b.id for b in backups if not b.expired}
    return {fate.backup_id for fate in fates if (fate.expired or not fate.keep) and fate.backup_id in offered}


def expiry(tolls: Sequence[Toll], timezone: str) -> Consequence:
    """Return ``46 backups of 2 servers (118 GiB) expire at the next run; oldest recovery point A -> B``."""
    lost = [backup for each in tolls for backup in each.lost]
    size = sum(backup.stored for backup in lost)
    befores = [each.oldest_before for each in tolls if each.oldest_before]
    afters = [each.oldest_after for each in tolls if each.oldest_after]
    message = (
        f"{_count(len(lost), 'backup')} of {_count(len(tolls), 'server')} ({format_size(size)}) "
        f"expire{'s' if len(lost) == 1 else ''} at the next run"
    )
    details: dict[str, Any] = {"backups": len(lost), "servers": len(tolls), "bytes": size}
    if befores and afters and min(befores) != min(afters):
        days = [
            oldest.astimezone(zone(timezone)).date().isoformat() for oldest in (min(befores), min(afters))
        ]
        message += f"; oldest recovery point {days[0]} -> {days[1]}"
        details |= {"oldest_before": min(befores).isoformat(), "oldest_after": min(afters).isoformat()}
    details["fates"] = list(_listed(tolls))
    return Consequence(kind="backups-expire", message=message, details=details)


def guard_value(form: Canonical) -> int:
    """Return ``keep_last_good`` of a canonical form."""
    value: int = form.get("guardrails", {}).get("keep_last_good", 1)
    return value


def _listed(tolls: Sequence[Toll]) -> Iterator[dict[str, Any]]:
    listed = 0
    for each in tolls:
        for backup in each.lost:
            if listed == _LISTED:
                return
            listed += 1
            yield {
                "id": backup.id,
                "name": backup.name,
                "server": each.server,
                "taken_at": backup.instant.isoformat(),
                "stored": backup.stored,
            }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
