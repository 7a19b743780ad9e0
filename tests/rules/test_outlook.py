"""The ends that are solved for must be those that judging step by step leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.model.backup import BackupState, Trigger, Verification
from csbsctl.model.policy import Policy, Retention, Schedule
from csbsctl.rules.outlook import FOREVER, Outlook, Scenario
from csbsctl.rules.retention import judge

NOW = datetime(2026, 12, 20, 12, tzinfo=UTC)


retentions = st.builds(
    dict,
    count=st.none() | st.integers(1, 12),
    days=st.none() | st.integers(1, 20),
    daily=st.none() | st.integers(1, 8),
    weekly=st.none() | st.integers(1, 5),
    monthly=st.none() | st.integers(1, 3),
    yearly=st.none() | st.integers(1, 2),
).map(lambda rules: Retention(**rules) if any(rules.values()) else Retention(permanent=True))

schedules = st.builds(
    Schedule,
    at=st.sampled_from([("02:00",), ("02:30", "14:00"), ("00:00", "06:00", "12:00", "23:00")]),
    days=st.sampled_from([None, ("mon", "thu")]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Shanghai"]),
)

facts = st.fixed_dictionaries(
    {
        "trigger": st.sampled_from([Trigger.AUTO, Trigger.AUTO, Trigger.AUTO, Trigger.MANUAL]),
        "policy": st.sampled_from(["gold", "gold", "gold", "silver"]),
        "state": st.sampled_from([BackupState.AVAILABLE] * 5 + [BackupState.ERROR]),
        "verification": st.sampled_from([Verification.NONE] * 5 + [Verification.FAILED]),
        "protected": st.sampled_from([False] * 6 + [True]),
        "images": st.sampled_from([()] * 6 + [("image",)]),
    }
)
histories = st.lists(st.tuples(st.integers(1, 60 * 24), facts), max_size=25, unique_by=lambda item: item[0])


@settings(max_examples=60, deadline=None)
@given(retentions, schedules, histories, st.integers(1, 3))
def test_ends_agree_with_judging_after_every_slot_and_every_day(
    make_backup, retention, schedule, history, keep_last_good
):
    end = NOW + timedelta(days=40)
    policy = Policy(schedule=schedule, retention=retention)
    outlook = Outlook(Scenario("gold", policy, NOW, keep_last_good), NOW, end)
    existing = [
        make_backup(NOW - timedelta(hours=age), f"b{n}", **facts) for n, (age, facts) in enumerate(history)
    ]
    solved = outlook.existing_ends(existing)
    slots = {slot: make_backup(slot, f"s{n}") for n, slot in enumerate(outlook.slots)}
    solved |= {b.id: e for b, e in zip(slots.values(), outlook.slot_ends, strict=True)}
    alive = list(existing)
    for moment in sorted({NOW, *slots, *(NOW + timedelta(days=n) for n in range(1, 40))}):
        if moment in slots:
            alive.append(slots[moment])
        fates = judge(
            alive,
            retention,
            policy="gold",
            timezone=schedule.timezone,
            now=moment,
            keep_last_good=keep_last_good,
        )
        gone = {fate.backup_id for fate in fates if not fate.keep}
        alive = [b for b in alive if b.id not in gone]
        born = {b.id for b in existing} | {b.id for slot, b in slots.items() if slot <= moment}
        assert {b.id for b in alive} == {i for i, ends in solved.items() if i in born and moment < ends}


@pytest.mark.parametrize("policy", [None, "disabled"])
def test_without_an_active_policy_nothing_is_taken_and_nothing_ends(make_backup, policy):
    disabled = Policy(enabled=False, schedule=Schedule(at=("02:00",)), retention=Retention(count=1))
    outlook = Outlook(Scenario("gold", disabled if policy else None, NOW), NOW, NOW + timedelta(days=400))
    ends = outlook.existing_ends([make_backup(NOW - timedelta(days=n)) for n in range(1, 50)])
    assert outlook.slots == []
    assert outlook.slot_ends == []
    assert set(ends.values()) == {FOREVER}
