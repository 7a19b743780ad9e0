"""Counts, bytes, chains and gaps over the days to come."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.model.backup import Kind, Trigger
from csbsctl.model.policy import Policy, Retention, Schedule
from csbsctl.rules.chains import Chains
from csbsctl.rules.forecast import forecast, learn_sizes
from csbsctl.rules.outlook import Scenario
from csbsctl.rules.retention import deletions, judge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 2**30
HOURLY = tuple(f"{hour:02}:00" for hour in range(24))


def scenario(at=("02:00",), *, full_every=None, enabled=True, timezone="UTC", **retention):
    policy = Policy(
        enabled=enabled,
        schedule=Schedule(at=at, timezone=timezone),
        retention=Retention(**retention),
        full_every=full_every,
    )
    return Scenario("gold", policy, NOW - 100 * DAY)


@pytest.fixture
def history(make_backup):
    """Return nightly backups taken at 02:00, n1 the newest."""

    def make(count, **fields):
        return [make_backup(NOW - timedelta(hours=10) - n * DAY, f"n{n + 1}", **fields) for n in range(count)]

    return make


def test_a_new_server_fills_up_to_its_count_and_stays_there():
    found = forecast({"s": ()}, scenario(count=5), now=NOW, days=30)
    assert [day.offered for day in found.days[:8]] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert found.days[0].date == date(2026, 11, 22)
    assert found.days[-1].offered == 5
    assert found.runs == 30


def test_existing_backups_end_when_newer_ones_take_their_places(history):
    found = forecast({"s": history(5)}, scenario(count=5), now=NOW, days=30)
    assert found.ends["n5"] == datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert found.ends["n1"] == datetime(2026, 11, 27, 2, tzinfo=UTC)
    assert found.oldest_at_end == datetime(2026, 12, 18, 2, tzinfo=UTC)


def test_what_a_shorter_retention_deletes_ends_at_once(history):
    found = forecast({"s": history(10)}, scenario(count=3), now=NOW, days=30)
    assert sorted(i for i, end in found.ends.items() if end == NOW) == [
        "n10",
        *(f"n{n}" for n in range(4, 10)),
    ]


def test_backups_by_hand_stay_in_sight_for_ever(make_backup):
    manual = make_backup(NOW - 100 * DAY, "manual", trigger=Trigger.MANUAL)
    found = forecast({"s": [manual]}, scenario(count=3), now=NOW, days=30)
    assert found.ends == {}
    assert found.days[-1].offered == 4
    assert found.oldest_at_end == manual.instant


def test_nothing_happens_without_an_active_policy(history):
    for idle in (scenario(count=1, enabled=False), Scenario("gold", None, NOW)):
        found = forecast({"s": history(10)}, idle, now=NOW, days=30)
        assert {day.offered for day in found.days} == {10}
        assert found.ends == {}
        assert found.longest_gap is None


def test_bytes_are_learned_from_history(make_backup):
    full = make_backup(NOW - 3 * DAY, "full", stored=40 * GIB)
    increments = [make_backup(NOW - n * DAY, f"i{n}", stored=n * GIB, kind=Kind.INCREMENTAL) for n in (1, 3)]
    sizes = learn_sizes([full, *increments])
    assert (sizes.full, sizes.incremental, sizes.guessed) == (40 * GIB, 2 * GIB, False)
    found = forecast({"s": [full, *increments]}, scenario(permanent=True), now=NOW, days=10)
    assert found.days[-1].stored == (40 + 4 + 10 * 2) * GIB
    assert not found.guessed


def test_without_history_bytes_are_guessed_from_the_disks_and_marked_so():
    found = forecast({"s": ()}, scenario(permanent=True), now=NOW, days=3, disk_bytes={"s": 10 * GIB})
    assert found.guessed
    assert found.days[-1].stored == 12 * GIB


def test_chains_hold_up_to_a_chain_more_than_is_offered():
    found = forecast({"s": ()}, scenario(count=14, full_every=7), now=NOW, days=100)
    steady = found.days[40:]
    assert {day.offered for day in steady} == {14}
    assert max(day.held for day in steady) == 20
    assert found.peak_held is not None
    assert found.peak_held.held == 20


def test_without_chains_nothing_is_held_beyond_what_is_offered():
    found = forecast({"s": ()}, scenario(count=14), now=NOW, days=100)
    assert all(day.held == day.offered for day in found.days)


def test_an_endless_chain_frees_nothing(make_backup):
    full = make_backup(NOW - 2 * DAY, "full")
    child = make_backup(NOW - DAY, "child", parent="full")
    found = forecast({"s": [full, child]}, scenario(count=2), now=NOW, days=20)
    assert found.days[-1].offered == 2
    assert found.days[-1].held == 22


def test_servers_are_added_up(history):
    one = forecast({"a": history(3)}, scenario(count=5), now=NOW, days=30)
    three = forecast({s: history(3) for s in "abc"}, scenario(count=5), now=NOW, days=30)
    for single, triple in zip(one.days, three.days, strict=True):
        assert (triple.offered, triple.held) == (single.offered * 3, single.held * 3)
        assert triple.stored == pytest.approx(single.stored * 3, abs=2)
    assert three.servers == 3


def test_the_longest_gap_is_the_worst_recovery_point_to_expect(history):
    assert forecast({"s": history(1)}, scenario(count=5), now=NOW).longest_gap == DAY
    berlin = scenario(count=5, timezone="Europe/Berlin")
    assert forecast({"s": ()}, berlin, now=NOW).longest_gap == timedelta(hours=25)


def test_days_are_those_of_the_policys_zone():
    found = forecast({"s": ()}, scenario(count=5, timezone="Pacific/Auckland"), now=NOW, days=2)
    assert found.days[0].date == date(2026, 11, 23)


@pytest.mark.parametrize(("count", "offered"), [(99999, 9599), (48, 48)])
def test_hourly_runs_over_400_days_are_counted_exactly(count, offered):
    berlin = scenario(HOURLY, count=count, timezone="Europe/Berlin")
    found = forecast({"s": ()}, berlin, now=datetime(2026, 11, 22, 0, 30, tzinfo=UTC))
    assert found.runs == 9599
    assert found.days[-1].offered == offered


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        [{"count": 3}, {"count": 9}, {"days": 5}, {"daily": 3, "weekly": 2}, {"count": 2, "monthly": 2}]
    ),
    st.integers(1, 6),
    st.lists(st.booleans(), max_size=12),
)
def test_counts_agree_with_a_run_every_day_that_backs_up_judges_and_deletes(
    make_backup, rules, full_every, fulls
):
    """Live 40 days the slow way: chains, hidden backups, leaf-first deletion and all."""
    backups = []
    for n, full in enumerate(fulls):
        parent = backups[-1].id if backups and not full else None
        backups.append(
            make_backup(NOW - (len(fulls) - n) * DAY + timedelta(hours=14), f"e{n}", parent=parent)
        )
    found = forecast({"s": backups}, scenario(full_every=full_every, **rules), now=NOW, days=40)
    increments = [b for b in backups if b.kind is Kind.INCREMENTAL]
    length = next((n for n, b in enumerate(reversed(backups), 1) if b.kind is Kind.FULL), 0)
    assert Chains(backups).holders([b.id for b in increments]) or not increments
    alive = _prune(list(backups), rules, NOW)
    assert _counts(alive) == (found.days[0].offered, found.days[0].held)
    for n in range(1, 40):
        slot = datetime(2026, 11, 22, 2, tzinfo=UTC) + n * DAY
        full = length == 0 or length >= full_every
        length = 1 if full else length + 1
        newest = max((b for b in alive if b.good), key=lambda b: b.instant, default=None)
        parent = None if full or newest is None else newest.id
        alive = _prune([*alive, make_backup(slot, f"s{n}", parent=parent)], rules, slot)
        # What ends by age ends during the day: a run at its end sees it.
        midnight = datetime(2026, 11, 23, tzinfo=UTC) + n * DAY - timedelta(seconds=1)
        alive = _prune(alive, rules, midnight)
        assert _counts(alive) == (found.days[n].offered, found.days[n].held), n


def _prune(backups, rules, now):
    fates = judge(backups, Retention(**rules), policy="gold", timezone="UTC", now=now)
    gone = {b.id for b in deletions(backups, fates)}
    hidden = {fate.backup_id for fate in fates if fate.expired}
    return [b.model_copy(update={"expired": b.id in hidden}) for b in backups if b.id not in gone]


def _counts(backups):
    return sum(b.good for b in backups), len(backups)
