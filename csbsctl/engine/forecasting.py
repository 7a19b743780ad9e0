"""``forecast``: what the policies in force will hold over the coming days, what that costs, and whether quotas allow it.

Only puts together what ``rules.forecast`` says of groups of servers that are alike: one policy, one cloud, one
number of disks. Reads the control document, the inventory and the catalogue; changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from csbsctl.diagnostics import did_you_mean
from csbsctl.engine.bonds import Bonds, live_bonds
from csbsctl.engine.histories import Histories
from csbsctl.engine.planner import Proposal
from csbsctl.engine.prospect import Point, PolicyProspect, Prospect, QuotaProspect
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.errors import NotFound
from csbsctl.model.backup import Backup, BackupState
from csbsctl.model.control import StackState
from csbsctl.model.policy import Policy
from csbsctl.provider import Quota
from csbsctl.rules.forecast import Day, Forecast, Forecaster
from csbsctl.rules.outlook import Outlook, Scenario
from csbsctl.rules.recovery import Ages

DAYS = 90
"""How far a forecast looks unless told otherwise."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Servers that are alike, and what becomes of them."""

    policy: str
    provider: str
    disks: int
    held: int
    stored: int
    offered: int
    ages: Ages
    forecast: Forecast


Growth = Callable[[_Group, Day], int]
"""How much more of something a group holds at the end of a day than now."""


def look_ahead(
    situation: Situation,
    stack: str,
    *,
    days: int = DAYS,
    policy: str | None = None,
    server: str | None = None,
) -> Prospect:
    """Return what the policies in force in a stack will hold, all or only one policy's or one server's.

    Raises:
        NotFound: the policy is not in force, or the server is in none of them.
    """
    state = situation.state(stack)
    policies = {name: Policy.model_validate(raw) for name, raw in state.live.get("policies", {}).items()}
    bonds = _chosen(live_bonds(stack, state, situation), policies, policy, server)
    histories = Histories(situation.backups, state, stack)
    groups = _groups(situation, _outlooks(situation, state, policies, days), bonds, histories)
    whole = policy is None and server is None
    frozen = _frozen(situation, histories) if whole else (0, 0)
    shown = [name for name in policies if policy in {None, name} and (server is None or _has(groups, name))]
    return Prospect(
        now=situation.now,
        days=days,
        servers=len(bonds),
        points=tuple(_points(groups, situation.now, days)),
        policies=tuple(
            _policy(name, policies[name], [g for g in groups if g.policy == name]) for name in shown
        ),
        quotas=tuple(_quotas(situation.quotas, groups)) if whole else (),
        frozen_backups=frozen[0],
        frozen_stored=frozen[1],
        guessed=any(group.forecast.guessed for group in groups),
    )


def look_ahead_after(proposal: Proposal, *, days: int = DAYS) -> Prospect:
    """Return what the policies will hold once a proposal is carried out."""
    situation, stack = proposal.situation, proposal.desired.stack
    stacks = {**situation.document.stacks, stack: proposal.outcome(situation.now)}
    after = replace(situation, document=replace(situation.document, stacks=stacks))
    return look_ahead(after, stack, days=days)


def _chosen(bonds: Bonds, policies: Mapping[str, Policy], policy: str | None, server: str | None) -> Bonds:
    if policy is not None and policy not in policies:
        hint = (
            did_you_mean(policy, policies) or f"in force: {', '.join(policies) or 'none; see csbsctl apply'}"
        )
        raise NotFound(f"policy {policy!r} is not in force", hint=hint, code="CSBS.3000")
    chosen = {
        key: bond
        for key, bond in bonds.items()
        if policy in {None, bond.policy} and server in {None, key[1], bond.name}
    }
    if server is not None and not chosen:
        hint = did_you_mean(server, [bond.name for bond in bonds.values()]) or "see csbsctl server list"
        raise NotFound(f"server {server!r} is in no policy of this stack", hint=hint, code="CSBS.6000")
    return chosen


def _outlooks(
    situation: Situation, state: StackState, policies: Mapping[str, Policy], days: int
) -> dict[str, Outlook]:
    keep = state.live.get("guardrails", {}).get("keep_last_good", 1)
    now, end = situation.now, situation.now + timedelta(days=days)
    return {
        name: Outlook(Scenario(name, policy, state.anchors.get(name, now), keep), now, end)
        for name, policy in policies.items()
    }


def _groups(
    situation: Situation, outlooks: Mapping[str, Outlook], bonds: Bonds, histories: Histories
) -> list[_Group]:
    servers = situation.servers()
    alike: dict[tuple[str, str, int], list[ServerKey]] = defaultdict(list)
    for key, bond in bonds.items():
        if bond.policy in outlooks:
            disks = len(servers[key].volumes) if key in servers else 1
            alike[bond.policy, key[0], disks].append(key)
    groups = []
    for (policy, provider, disks), keys in alike.items():
        sizes = {key[1]: sum(v.size for v in servers[key].volumes) for key in keys if key in servers}
        present = _Present()
        forecast = Forecaster(outlooks[policy]).forecast(present.noted(histories.with_new(keys)), sizes)
        groups.append(
            _Group(
                policy=policy,
                provider=provider,
                disks=disks,
                held=present.held,
                stored=present.stored,
                offered=present.offered,
                ages=Ages.of(present.newest, outlooks[policy]),
                forecast=forecast,
            )
        )
    return groups


class _Present:
    """What some servers have now, noted while their backups go by."""

    def __init__(self) -> None:
        self.held = 0
        self.stored = 0
        self.offered = 0
        self.newest: list[datetime | None] = []
        """The newest recovery point of each server."""

    def noted(
        self, histories: Iterable[tuple[str, tuple[Backup, ...]]]
    ) -> Iterator[tuple[str, tuple[Backup, ...]]]:
        for server, backups in histories:
            present = [b for b in backups if b.state is not BackupState.DELETED]
            self.held += len(present)
            self.stored += sum(b.stored for b in present)
            self.offered += sum(b.good for b in present)
            self.newest.append(max((b.instant for b in backups if b.good), default=None))
            yield server, backups


def _points(groups: Sequence[_Group], now: datetime, days: int) -> Iterable[Point]:
    if not groups:
        return
    columns = [(group, {day.date: day for day in group.forecast.days}) for group in groups]
    first = now.astimezone(UTC).date()
    for number in range(days + 1):
        today = first + timedelta(days=number)
        found = [_at(known, group, today) for group, known in columns]
        start = datetime.combine(today, time(), UTC)
        end = min(start + timedelta(days=1), now + timedelta(days=days))
        ages = [group.ages.worst(max(start, now), end) for group in groups]
        yield Point(
            date=today,
            backups=sum(day.offered for day in found),
            stored=sum(day.stored for day in found),
            recovery_point=None if None in ages else max(age for age in ages if age is not None),
        )


def _at(known: Mapping[date, Day], group: _Group, wanted: date) -> Day:
    """Return a group's day; policies count in their own time zones, so one may begin or end a day beside others."""
    if wanted in known:
        return known[wanted]
    days = group.forecast.days
    return days[0] if wanted < days[0].date else days[-1]


def _policy(name: str, policy: Policy, groups: Sequence[_Group]) -> PolicyProspect:
    gaps = [g.forecast.longest_gap for g in groups]
    oldest = [g.forecast.oldest_at_end for g in groups]
    return PolicyProspect(
        name=name,
        enabled=policy.enabled,
        servers=sum(g.forecast.servers for g in groups),
        runs=max((g.forecast.runs for g in groups), default=0),
        backups=sum(g.offered for g in groups),
        backups_at_end=sum(g.forecast.days[-1].offered for g in groups),
        stored=sum(g.stored for g in groups),
        stored_at_end=sum(g.forecast.days[-1].stored for g in groups),
        recovery_point=None if None in gaps else max((gap for gap in gaps if gap), default=None),
        oldest_at_end=None if None in oldest else max((at for at in oldest if at), default=None),
    )


def _quotas(quotas: Mapping[str, Quota], groups: Sequence[_Group]) -> Iterable[QuotaProspect]:
    for name, quota in quotas.items():
        own = [group for group in groups if group.provider == name]
        if quota.backups is not None:
            held = _by_date(own, lambda group, day: (day.held - group.held) * group.disks)
            yield _quota(name, "backups", quota.backups, quota.backups_used, held)
        if quota.size is not None:
            stored = _by_date(own, lambda group, day: day.stored - group.stored)
            yield _quota(name, "bytes", quota.size, quota.size_used, stored)


def _by_date(groups: Sequence[_Group], growth: Growth) -> dict[date, int]:
    grown: dict[date, int] = defaultdict(int)
    for group in groups:
        for day in group.forecast.days:
            grown[day.date] += growth(group, day)
    return dict(sorted(grown.items()))


def _quota(provider: str, what: str, limit: int, used: int, growth: Mapping[date, int]) -> QuotaProspect:
    highest = max(growth.values(), default=0)
    peak_date = next((day for day, grown in growth.items() if grown == highest > 0), None)
    exceeded = next((day for day, grown in growth.items() if used + grown > limit), None)
    return QuotaProspect(provider, what, limit, used, used + max(highest, 0), peak_date, exceeded)


def _frozen(situation: Situation, histories: Histories) -> tuple[int, int]:
    """Return number and bytes of the backups of servers that no stack protects."""
    bound = {
        key for name, state in situation.document.stacks.items() for key in live_bonds(name, state, situation)
    }
    left = [key for key in situation.catalogue.servers() if key not in bound]
    present = _Present()
    for _ in present.noted((key[1], backups) for key, backups in histories.each(left)):
        pass
    return present.held, present.stored


def _has(groups: Sequence[_Group], policy: str) -> bool:
    return any(group.policy == policy for group in groups)
