"""Whether the clouds' quotas will hold what the policies are going to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

from csbsctl.engine.bonds import Bonds
from csbsctl.engine.histories import Histories
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.provider import Quota
from csbsctl.rules.forecast import Forecast, Forecaster
from csbsctl.rules.outlook import Outlook, Scenario

DAYS = 90
"""How far the plan's line about quota looks."""


def quota_line(
    situation: Situation, bonds: Bonds, scenarios: Mapping[str, Scenario], histories: Histories
) -> str | None:
    """Return ``Quota: backups peak at 9 of 10 on 2026-12-01.``; None where no cloud limits.

    A cloud counts a backup per disk, so a server with three disks takes three of its places.
    """
    limited = {name: quota for name, quota in situation.quotas.items() if quota.backups is not None}
    if not limited:
        return None
    parts = [_part(name, quota, situation, bonds, scenarios, histories) for name, quota in limited.items()]
    if len(parts) == 1:
        return f"Quota: {parts[0]}."
    return "Quota: " + ", ".join(f"{part} at {name}" for name, part in zip(limited, parts, strict=True)) + "."


def _part(  # noqa: PLR0917
    provider: str,
    quota: Quota,
    situation: Situation,
    bonds: Bonds,
    scenarios: Mapping[str, Scenario],
    histories: Histories,
) -> str:
    held: dict[date, int] = defaultdict(int)
    now = 0
    for disks, forecast, existing in _forecasts(provider, situation, bonds, scenarios, histories):
        now += existing * disks
        for day in forecast.days:
            held[day.date] += day.held * disks
    peak = max(held, key=lambda day: (held[day], -day.toordinal()), default=None)
    growth = max(held[peak] - now, 0) if peak else 0
    most = quota.backups_used + growth
    if not growth or peak is None:
        return f"{quota.backups_used} of {quota.backups} backups"
    return f"backups peak at {most} of {quota.backups} on {peak.isoformat()}"


def _forecasts(
    provider: str,
    situation: Situation,
    bonds: Bonds,
    scenarios: Mapping[str, Scenario],
    histories: Histories,
) -> Iterator[tuple[int, Forecast, int]]:
    """Yield, for servers of one policy and number of disks: that number, their forecast, their backups of today."""
    servers = situation.servers()
    groups: dict[tuple[str, int], list[ServerKey]] = defaultdict(list)
    for key, bond in bonds.items():
        if key[0] == provider and bond.policy in scenarios:
            groups[bond.policy, len(servers[key].volumes) if key in servers else 1].append(key)
    for (policy, disks), keys in groups.items():
        outlook = Outlook(scenarios[policy], situation.now, situation.now + timedelta(days=DAYS))
        forecast = Forecaster(outlook).forecast(histories.with_new(keys))
        yield disks, forecast, histories.count(keys)
