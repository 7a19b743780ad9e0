"""Which backups of one server stay: the retention rules, and what overrides them (csbs.md 1.7, design section 8).

Every judgement carries its reasons. The rules say how long a backup is *offered*; the chains (``chains``) say how
long its data must stay. Nothing here deletes anything or reads a clock.

Three readings that the sources leave open, each on the side of keeping:

- Each calendar rule keeps the newest backup of each period, the running period included. What is newest in its
  period when the period ends is therefore never let go before its turn, however few dailies are kept: weekly and
  monthly places fill without a "promotion" of old backups (a year is simulated in the tests).
- ``keep_last_good`` counts the automatic backups of the policy alone. The newest good backup of a server is often
  the safety backup that a restore took of the very state one wanted to leave; it must not stand in for the last
  good one.
- A backup that failed verification takes no place from a good one, and stays as long as it would if it were good:
  a clean verification may clear it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from csbsctl.model.backup import Backup, BackupState, Trigger
from csbsctl.model.policy import Policy, Retention
from csbsctl.model.walltime import zone
from csbsctl.rules.chains import Chains
from csbsctl.rules.periods import CALENDAR_RULES

FAILED_KEPT = 10
FAILED_FOR = timedelta(days=30)
"""Failed automatic backups: the newest ten, for a month (csbs.md 1.7)."""

_MAKING = (BackupState.WAITING_PROTECT, BackupState.PROTECTING)
_LEAVING = (BackupState.WAITING_DELETE, BackupState.DELETING)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one backup: it stays as it is, stays hidden (``expired``), or goes (not ``keep``)."""

    backup_id: str
    keep: bool
    """Its data stays in the store."""
    reasons: tuple[str, ...]
    expired: bool = False
    """Retention let go of it; only what depends on its data holds it: no longer offered, listed with ``--all``."""


def why_frozen(policy: Policy | None, *, bound: bool) -> str | None:
    """Return why a policy must not prune a server's backups now, or None when it may."""
    if policy is None:
        return "its policy was removed"
    if not policy.enabled:
        return "its policy is disabled"
    if not bound:
        return "the server is no longer bound to its policy"
    return None


def judge(
    backups: Sequence[Backup],
    retention: Retention,
    *,
    policy: str,
    timezone: str,
    now: datetime,
    keep_last_good: int = 1,
) -> list[Fate]:
    """Return the fates of one server's automatic backups of a policy, oldest first.

    Pass all backups of the server: others are never judged, but chains may run through them. One exception: a
    backup that is ``expired`` already, by whichever policy or hand, has a fate here, since only its data counts.
    Judge while the policy is enabled and the server bound to it; see ``why_frozen``.
    """
    present = sorted((b for b in backups if b.state is not BackupState.DELETED), key=age_order)
    ours = [b for b in present if b.trigger is Trigger.AUTO and b.policy == policy and not b.expired]
    reasons = _Rules(retention, timezone, now, keep_last_good).reasons(ours)
    chains = Chains(present)
    judged = {b.id for b in ours} | {b.id for b in present if b.expired}
    offered = {b.id for b in present if b.id not in judged or reasons.get(b.id) or _untouchable(b)}
    holders = chains.holders(offered)
    gone = _why_gone(retention, keep_last_good)
    return [
        _fate(b, reasons.get(b.id, ()), offered=b.id in offered, holder=holders.get(b.id), gone=gone)
        for b in present
        if b.id in judged
    ]


def deletions(backups: Sequence[Backup], fates: Iterable[Fate]) -> list[Backup]:
    """Return the backups that go, leaf first: none is listed before one that depends on its data."""
    condemned = {fate.backup_id for fate in fates if not fate.keep}
    return Chains(backups).leaf_first(b for b in backups if b.id in condemned)


def takes_more_than_half(backups: Sequence[Backup], fates: Iterable[Fate]) -> bool:
    """Return whether more than half of the server's good backups would no longer be offered."""
    good = {b.id for b in backups if b.good}
    lost = sum(fate.backup_id in good for fate in fates if fate.expired or not fate.keep)
    return lost * 2 > len(good)


def age_order(backup: Backup) -> tuple[datetime, datetime, str]:
    """Return the key that sorts backups oldest first, the same way every time."""
    return backup.instant, backup.started_at, backup.id


class _Rules:
    """Collects, for each backup, the rules that keep it."""

    def __init__(self, retention: Retention, timezone: str, now: datetime, keep_last_good: int) -> None:
        self._retention = retention
        self._zone = zone(timezone)
        self._now = now
        self._keep_last_good = keep_last_good

    def reasons(self, ours: Sequence[Backup]) -> dict[str, tuple[str, ...]]:
        """Return the reasons to keep, by backup, for the automatic backups of a policy, oldest first."""
        found: dict[str, list[str]] = defaultdict(list)
        present = [b for b in ours if b.instant <= self._now]
        for backup in ours:
            found[backup.id].extend(_standing(backup, self._now))
        good = [b for b in present if b.good]
        for backup in islice(reversed(good), self._keep_last_good):
            found[backup.id].append("last good")
        counted = [b for b in good if not b.images]
        for backup, reason in self._selected(counted):
            found[backup.id].append(reason)
        self._damaged(present, found)
        self._failed(present, found)
        return {backup_id: tuple(reasons) for backup_id, reasons in found.items()}

    def _selected(self, counted: Sequence[Backup]) -> Iterable[tuple[Backup, str]]:
        """Yield every backup that a rule keeps with that rule; of ``counted``, oldest first."""
        if self._retention.permanent:
            yield from ((b, "permanent") for b in counted)
        if (count := self._retention.count) is not None:
            newest = islice(reversed(counted), count)
            yield from ((b, f"count {place} of {count}") for place, b in enumerate(newest, 1))
        if (days := self._retention.days) is not None:
            limit = timedelta(days=days)
            yield from ((b, f"days {days}") for b in counted if self._now - b.instant < limit)
        for rule in CALENDAR_RULES:
            yield from self._newest_of_each(rule.name, counted)

    def _newest_of_each(self, name: str, counted: Sequence[Backup]) -> Iterable[tuple[Backup, str]]:
        rule = next(rule for rule in CALENDAR_RULES if rule.name == name)
        places: int | None = getattr(self._retention, name)
        if places is None:
            return
        seen: set[int] = set()
        for backup in reversed(counted):
            day = backup.instant.astimezone(self._zone).date()
            period = rule.period(day)
            if period in seen:
                continue
            if len(seen) == places:
                return
            seen.add(period)
            yield backup, f"{name} {rule.label(day)}"

    def _damaged(self, present: Sequence[Backup], found: dict[str, list[str]]) -> None:
        """Keep what failed verification as if it had not, beside the good ones rather than in their place."""
        whole = [
            b for b in present if b.state not in (*_MAKING, *_LEAVING, BackupState.ERROR) and not b.images
        ]
        damaged = {b.id for b in whole if not b.good}
        if damaged:
            for backup, reason in self._selected(whole):
                if backup.id in damaged:
                    found[backup.id].append(f"failed verification; {reason} if it were good")

    def _failed(self, present: Sequence[Backup], found: dict[str, list[str]]) -> None:
        failed = [b for b in reversed(present) if b.state is BackupState.ERROR]
        for place, backup in enumerate(failed[:FAILED_KEPT], 1):
            if self._now - backup.instant < FAILED_FOR:
                found[backup.id].append(f"failed {place} of {FAILED_KEPT}, kept for {FAILED_FOR.days} days")


def _standing(backup: Backup, now: datetime) -> Iterable[str]:
    """Yield the reasons to keep that no rule has a say in."""
    if backup.protected:
        yield "protected"
    if backup.images:
        yield "image"
    if backup.instant > now:
        yield "dated in the future"
    if backup.state in _MAKING:
        yield "being made"
    if backup.state in _LEAVING:
        yield "being deleted already"
    if backup.state in (BackupState.WAITING_RESTORE, BackupState.RESTORING):
        yield "being restored"


def _untouchable(backup: Backup) -> bool:
    """Return whether a backup that expired earlier must stay for its own sake after all."""
    at_rest = backup.state in (BackupState.AVAILABLE, BackupState.ERROR)
    return backup.protected or bool(backup.images) or not at_rest


def _fate(backup: Backup, reasons: tuple[str, ...], *, offered: bool, holder: str | None, gone: str) -> Fate:
    if offered:
        standing = reasons or ("image" if backup.images else "protected" if backup.protected else "in use",)
        return Fate(backup.id, keep=True, reasons=standing, expired=backup.expired)
    if holder is not None:
        return Fate(backup.id, keep=True, reasons=(f"needed by {holder}",), expired=True)
    if backup.expired:
        return Fate(
            backup.id, keep=False, reasons=("expired, and nothing needs its data any more",), expired=True
        )
    if backup.state is BackupState.ERROR:
        why = f"failed, and not among the newest {FAILED_KEPT} of the last {FAILED_FOR.days} days"
        return Fate(backup.id, keep=False, reasons=(why,), expired=True)
    return Fate(backup.id, keep=False, reasons=(gone,), expired=True)


def _why_gone(retention: Retention, keep_last_good: int) -> str:
    """Return the sentence for a backup that no rule keeps."""
    rules = []
    if retention.count is not None:
        rules.append(f"not among the newest {max(retention.count, keep_last_good)}")
    if retention.days is not None:
        rules.append(f"{retention.days} days old or older")
    rules.extend(
        f"not the newest of the last {rule.noun}"
        if places == 1
        else f"not the newest of one of the last {places} {rule.noun}s"
        for rule in CALENDAR_RULES
        if (places := getattr(retention, rule.name)) is not None
    )
    return ", ".join(rules) or "no rule keeps it"
