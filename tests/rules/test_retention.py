"""Which backups stay, for which reasons, and what nothing may ever delete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.model.backup import BackupState, Trigger, Verification
from csbsctl.model.policy import Policy, Retention, Schedule
from csbsctl.rules.retention import deletions, judge, takes_more_than_half, why_frozen

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def fates(backups, retention, *, now=NOW, timezone="UTC", keep_last_good=1):
    judged = judge(
        backups, retention, policy="gold", timezone=timezone, now=now, keep_last_good=keep_last_good
    )
    return {fate.backup_id: fate for fate in judged}


def kept(backups, retention, **options):
    return {backup_id for backup_id, fate in fates(backups, retention, **options).items() if fate.keep}


@pytest.fixture
def daily(make_backup):
    """Return daily backups, d1 a day old, d2 two days and so on."""

    def make(count, **fields):
        return [make_backup(NOW - n * DAY, f"d{n}", **fields) for n in range(1, count + 1)]

    return make


class TestRules:
    def test_count_keeps_the_newest(self, daily):
        assert kept(daily(5), Retention(count=3)) == {"d1", "d2", "d3"}

    def test_days_keeps_what_is_younger(self, daily):
        assert kept(daily(5), Retention(days=3)) == {"d1", "d2"}

    def test_a_backup_stays_if_any_rule_keeps_it(self, daily):
        # The 22nd is a Sunday: d7 and d14 are Sundays, d1 is the newest of the running week.
        assert kept(daily(20), Retention(count=2, weekly=3)) == {"d1", "d2", "d7", "d14"}

    def test_day_5_and_week_1_keep_five_backups(self, daily):
        assert kept(daily(9), Retention(daily=5, weekly=1)) == {"d1", "d2", "d3", "d4", "d5"}

    def test_permanent_keeps_everything(self, daily):
        assert len(kept(daily(50), Retention(permanent=True))) == 50

    def test_only_the_newest_of_a_day_counts_for_it(self, make_backup):
        backups = [make_backup(NOW - timedelta(hours=h), f"h{h}") for h in (1, 5, 11, 13, 20)]
        assert kept(backups, Retention(daily=7)) == {"h1", "h13"}

    def test_days_without_a_backup_take_no_place(self, make_backup):
        backups = [make_backup(NOW - n * DAY, f"d{n}") for n in (1, 40, 80, 200)]
        assert kept(backups, Retention(daily=3)) == {"d1", "d40", "d80"}

    def test_the_policys_zone_says_where_a_day_ends(self, make_backup):
        evening = make_backup(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), "evening")
        night = make_backup(datetime(2026, 11, 20, 16, 30, tzinfo=UTC), "night")
        assert kept([evening, night], Retention(daily=2)) == {"night"}
        assert kept([evening, night], Retention(daily=2), timezone="Asia/Shanghai") == {"evening", "night"}

    def test_the_day_of_a_clock_change_is_one_day(self, make_backup):
        # 2026-10-25 in Berlin has 25 hours: from 22:00 UTC on the 24th to 23:00 UTC on the 25th.
        first = make_backup(datetime(2026, 10, 24, 22, 0, tzinfo=UTC), "first")
        last = make_backup(datetime(2026, 10, 25, 22, 59, tzinfo=UTC), "last")
        assert kept([first, last], Retention(daily=5), timezone="Europe/Berlin") == {"last"}

    def test_iso_week_53_of_2026_runs_into_2027(self, make_backup):
        dates = [(2026, 12, 27), (2026, 12, 28), (2026, 12, 31), (2027, 1, 1), (2027, 1, 3), (2027, 1, 4)]
        backups = [make_backup(datetime(*d, 2, tzinfo=UTC), f"{d[1]}-{d[2]}") for d in dates]
        found = fates(backups, Retention(weekly=10), now=datetime(2027, 1, 5, tzinfo=UTC))
        assert {i for i, fate in found.items() if fate.keep} == {"12-27", "1-3", "1-4"}
        assert found["1-3"].reasons == ("weekly 2026-W53",)
        assert "weekly 2027-W01" in found["1-4"].reasons

    def test_months_and_years_end_at_new_year(self, make_backup):
        dates = [(2025, 12, 31), (2026, 1, 1), (2026, 12, 30), (2026, 12, 31), (2027, 1, 1)]
        backups = [make_backup(datetime(*d, 2, tzinfo=UTC), "{}-{}-{}".format(*d)) for d in dates]
        now = datetime(2027, 1, 2, tzinfo=UTC)
        assert kept(backups, Retention(yearly=3), now=now) == {"2025-12-31", "2026-12-31", "2027-1-1"}
        assert kept(backups, Retention(monthly=2), now=now) == {"2026-12-31", "2027-1-1"}

    def test_a_leap_day_is_the_end_of_its_month(self, make_backup):
        backups = [make_backup(datetime(2028, 2, d, 2, tzinfo=UTC), f"d{d}") for d in (28, 29)]
        assert kept(backups, Retention(monthly=2), now=datetime(2028, 3, 1, tzinfo=UTC)) == {"d29"}

    def test_reasons_name_every_rule_that_keeps_and_every_rule_that_does_not(self, daily):
        found = fates(daily(9), Retention(count=3, days=5, weekly=1))
        assert found["d1"].reasons == ("last good", "count 1 of 3", "days 5", "weekly 2026-W47")
        assert found["d4"].reasons == ("days 5",)
        assert found["d9"].reasons == (
            "not among the newest 3, 5 days old or older, not the newest of the last ISO week",
        )


class TestWhatIsNeverDeleted:
    def test_the_last_good_one_stays_however_old(self, make_backup):
        backups = [make_backup(NOW - 900 * DAY, "old"), make_backup(NOW - 901 * DAY, "older")]
        assert kept(backups, Retention(days=1)) == {"old"}
        assert kept(backups, Retention(days=1), keep_last_good=2) == {"old", "older"}

    def test_failed_and_damaged_backups_are_no_last_good_ones(self, make_backup):
        backups = [
            make_backup(NOW - 90 * DAY, "good"),
            make_backup(NOW - 2 * DAY, "damaged", verification=Verification.FAILED),
            make_backup(NOW - DAY, "failed", state=BackupState.ERROR),
        ]
        assert "good" in kept(backups, Retention(days=1))

    def test_a_safety_backup_by_hand_is_no_substitute_for_the_last_good_automatic_one(self, make_backup):
        backups = [
            make_backup(NOW - 90 * DAY, "auto"),
            make_backup(NOW - DAY, "safety", trigger=Trigger.MANUAL),
        ]
        assert kept(backups, Retention(days=1)) == {"auto"}

    def test_backups_by_hand_and_of_other_policies_are_not_judged(self, make_backup):
        backups = [
            make_backup(NOW - 900 * DAY, "manual", trigger=Trigger.MANUAL),
            make_backup(NOW - 900 * DAY, "other", policy="silver"),
            make_backup(NOW - DAY, "ours"),
        ]
        assert set(fates(backups, Retention(count=1))) == {"ours"}

    def test_an_image_keeps_its_backup_and_takes_it_out_of_the_count(self, daily, make_backup):
        backups = [*daily(3), make_backup(NOW - timedelta(hours=1), "imaged", images=("i",))]
        assert kept(backups, Retention(count=2)) == {"imaged", "d1", "d2"}

    def test_a_protected_backup_stays_and_counts(self, daily, make_backup):
        backups = [*daily(3), make_backup(NOW - timedelta(hours=1), "new", protected=True)]
        assert kept(backups, Retention(count=2)) == {"new", "d1"}
        assert "old" in kept(
            [*daily(3), make_backup(NOW - 900 * DAY, "old", protected=True)], Retention(count=1)
        )

    def test_a_backup_dated_in_the_future_stays_and_takes_no_place(self, daily, make_backup):
        found = fates([*daily(3), make_backup(NOW + DAY, "future")], Retention(count=2))
        assert {i for i, fate in found.items() if fate.keep} == {"future", "d1", "d2"}
        assert found["future"].reasons == ("dated in the future",)
        assert found["d1"].reasons == ("last good", "count 1 of 2")

    @pytest.mark.parametrize("state", [BackupState.PROTECTING, BackupState.DELETING, BackupState.RESTORING])
    def test_a_backup_that_is_worked_on_stays(self, daily, make_backup, state):
        assert "busy" in kept(
            [*daily(3), make_backup(NOW - 900 * DAY, "busy", state=state)], Retention(count=1)
        )


class TestFailedAndDamaged:
    def test_the_newest_ten_failed_ones_stay_for_a_month(self, make_backup):
        failed = [make_backup(NOW - n * DAY, f"f{n}", state=BackupState.ERROR) for n in range(1, 13)]
        assert kept(failed, Retention(count=1)) == {f"f{n}" for n in range(1, 11)}
        old = [make_backup(NOW - n * DAY, f"f{n}", state=BackupState.ERROR) for n in (29, 30, 31)]
        assert kept(old, Retention(permanent=True)) == {"f29"}

    def test_failed_ones_take_no_place_from_good_ones(self, daily, make_backup):
        failed = make_backup(NOW - timedelta(hours=1), "failed", state=BackupState.ERROR)
        assert kept([*daily(3), failed], Retention(count=2)) == {"failed", "d1", "d2"}

    def test_a_damaged_one_takes_no_place_and_stays_as_long_as_if_it_were_good(self, daily, make_backup):
        damaged = make_backup(NOW - timedelta(hours=1), "damaged", verification=Verification.FAILED)
        found = fates([*daily(3), damaged], Retention(count=2))
        assert {i for i, fate in found.items() if fate.keep} == {"damaged", "d1", "d2"}
        assert found["damaged"].reasons == ("failed verification; count 1 of 2 if it were good",)
        old = make_backup(NOW - 10 * DAY, "damaged", verification=Verification.FAILED)
        assert "damaged" not in kept([*daily(3), old], Retention(count=2))


class TestChains:
    @pytest.fixture
    def chain(self, make_backup):
        """Return a full backup c4 and three increments, c1 the newest."""
        parents = {"c4": None, "c3": "c4", "c2": "c3", "c1": "c2"}
        return [make_backup(NOW - int(i[1]) * DAY, i, parent=parent) for i, parent in parents.items()]

    def test_what_a_kept_backup_needs_is_hidden_rather_than_deleted(self, chain):
        found = fates(chain, Retention(count=2))
        assert [(i, fate.keep, fate.expired) for i, fate in found.items()] == [
            ("c4", True, True),
            ("c3", True, True),
            ("c2", True, False),
            ("c1", True, False),
        ]
        assert found["c4"].reasons == ("needed by autobk_c3",)

    def test_hidden_ones_do_not_count_and_go_when_nothing_needs_them(self, chain, make_backup):
        hidden = [b.model_copy(update={"expired": b.id in ("c4", "c3")}) for b in chain]
        full = make_backup(NOW - timedelta(hours=2), "full")
        next_one = make_backup(NOW - timedelta(hours=1), "next", parent="full")
        still_needed = fates([*hidden, full], Retention(count=2))
        assert {i for i, fate in still_needed.items() if not fate.keep} == set()
        done = judge([*hidden, full, next_one], Retention(count=2), policy="gold", timezone="UTC", now=NOW)
        assert [b.id for b in deletions([*hidden, full, next_one], done)] == ["c1", "c2", "c3", "c4"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"trigger": Trigger.MANUAL},
            {"policy": "silver"},
            {"state": BackupState.PROTECTING},
            {"protected": True},
            {"images": ("i",)},
        ],
    )
    def test_whatever_stays_holds_what_it_needs(self, chain, make_backup, fields):
        user = make_backup(NOW - timedelta(hours=3), "user", parent="c3", **fields)
        newer = [make_backup(NOW - timedelta(hours=h), f"n{h}") for h in (1, 2)]
        found = fates([*chain, user, *newer], Retention(count=2))
        assert found["c3"].expired
        assert {i for i, fate in found.items() if fate.keep} >= {"c3", "c4"}
        assert not found["c1"].keep

    def test_what_somebody_let_go_by_hand_goes_when_nothing_needs_it(self, make_backup):
        base = make_backup(NOW - 9 * DAY, "base", trigger=Trigger.MANUAL, expired=True)
        child = make_backup(NOW - DAY, "child", parent="base")
        assert fates([base, child], Retention(count=1))["base"].keep
        assert not fates([base], Retention(count=1))["base"].keep

    def test_branches_are_deleted_before_what_they_share(self, make_backup):
        parents = {"a": None, "b1": "a", "b2": "a", "c": "b1"}
        backups = [make_backup(NOW - (9 - n) * DAY, i, parent=p) for n, (i, p) in enumerate(parents.items())]
        newest = make_backup(NOW, "newest")
        order = [
            b.id
            for b in deletions(
                [*backups, newest],
                judge([*backups, newest], Retention(count=1), policy="gold", timezone="UTC", now=NOW),
            )
        ]
        assert sorted(order) == ["a", "b1", "b2", "c"]
        assert order.index("c") < order.index("b1") < order.index("a")
        assert order.index("b2") < order.index("a")


class TestAroundJudging:
    def test_a_policy_prunes_only_while_it_is_enabled_and_bound(self):
        policy = Policy(schedule=Schedule(at=("02:00",)), retention=Retention(count=1))
        assert why_frozen(policy, bound=True) is None
        assert why_frozen(policy, bound=False) == "the server is no longer bound to its policy"
        assert (
            why_frozen(policy.model_copy(update={"enabled": False}), bound=True) == "its policy is disabled"
        )
        assert why_frozen(None, bound=True) == "its policy was removed"

    def test_more_than_half_of_the_good_ones_is_noticed(self, daily):
        backups = daily(4)
        for count, expected in ((1, True), (2, False)):
            judged = judge(backups, Retention(count=count), policy="gold", timezone="UTC", now=NOW)
            assert takes_more_than_half(backups, judged) is expected


def test_a_year_of_pruning_every_day_fills_all_weekly_monthly_and_yearly_places(make_backup):
    """Daily backups, few of them kept: without promotion, long-term places fill, and with the right ones."""
    retention = Retention(daily=3, weekly=4, monthly=12, yearly=2)
    first = datetime(2025, 10, 1, 2, tzinfo=UTC)
    alive = []
    for day in range(500):
        now = first + day * DAY
        alive.append(make_backup(now, f"{now:%Y-%m-%d}"))
        names = kept(alive, retention, now=now)
        alive = [b for b in alive if b.id in names]
    # The last day is Friday 2027-02-12.
    assert sorted(b.id for b in alive) == [
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
        "2026-07-31",
        "2026-08-31",
        "2026-09-30",
        "2026-10-31",
        "2026-11-30",
        "2026-12-31",
        "2027-01-24",
        "2027-01-31",
        "2027-02-07",
        "2027-02-10",
        "2027-02-11",
        "2027-02-12",
    ]


retentions = st.builds(
    dict,
    count=st.none() | st.integers(1, 10),
    days=st.none() | st.integers(1, 30),
    daily=st.none() | st.integers(1, 8),
    weekly=st.none() | st.integers(1, 5),
    monthly=st.none() | st.integers(1, 3),
    yearly=st.none() | st.integers(1, 2),
)


def retention_of(rules):
    return Retention(**rules) if any(rules.values()) else Retention(permanent=True)


facts = st.fixed_dictionaries(
    {
        "trigger": st.sampled_from([Trigger.AUTO] * 4 + [Trigger.MANUAL]),
        "policy": st.sampled_from(["gold"] * 4 + ["silver"]),
        "state": st.sampled_from([BackupState.AVAILABLE] * 6 + [BackupState.ERROR, BackupState.PROTECTING]),
        "verification": st.sampled_from([Verification.NONE] * 5 + [Verification.FAILED]),
        "protected": st.sampled_from([False] * 8 + [True]),
        "images": st.sampled_from([()] * 8 + [("image",)]),
        "expired": st.sampled_from([False] * 8 + [True]),
    }
)
histories = st.lists(
    st.tuples(st.integers(-48, 90 * 24), st.integers(0, 6), facts),
    max_size=25,
    unique_by=lambda item: item[0],
)


@pytest.fixture(scope="session")
def build(make_backup):
    """Return backups of a generated history; each may stand on one of those before it."""

    def make(history):
        backups = []
        for age, link, fields in sorted(history, key=lambda item: -item[0]):
            parent = backups[-link].id if 0 < link <= len(backups) else None
            backups.append(
                make_backup(NOW - timedelta(hours=age), f"b{len(backups)}", parent=parent, **fields)
            )
        return backups

    return make


@settings(max_examples=150, deadline=None)
@given(histories, retentions, st.integers(1, 3))
def test_what_must_stay_stays(build, history, rules, keep_last_good):
    backups = build(history)
    found = fates(backups, retention_of(rules), keep_last_good=keep_last_good)
    by_id = {b.id: b for b in backups}
    staying = {b.id for b in backups if b.id not in found or found[b.id].keep}
    for backup_id in set(by_id) - staying:
        backup = by_id[backup_id]
        assert backup.expired or backup.trigger is Trigger.AUTO
        assert backup.expired or backup.policy == "gold"
        assert not backup.protected
        assert not backup.images
        assert backup.expired or backup.instant <= NOW
        assert backup.state is not BackupState.PROTECTING
    good = [b for b in backups if b.good and b.instant <= NOW]
    offered = [b for b in good if b.id not in found or not found[b.id].expired]
    assert len(offered) >= min(keep_last_good, len(good))
    refs = {v.ref for b in backups for v in b.volumes if b.id in staying}
    assert all(v.parent is None or v.parent in refs for b in backups for v in b.volumes if b.id in staying), (
        "something that stays lost its parent"
    )
    going = deletions(backups, found.values())
    assert sorted(b.id for b in going) == sorted(set(by_id) - staying)
    for position, backup in enumerate(going):
        later_parents = {v.parent for b in going[position:] for v in b.volumes}
        assert all(v.ref not in later_parents for v in backup.volumes)
    assert all(fate.reasons for fate in found.values())


@settings(max_examples=100, deadline=None)
@given(histories, retentions, retentions)
def test_adding_a_rule_never_deletes_or_hides_more(build, history, rules, more):
    backups = build(history)
    before = retention_of(rules)
    wider = {
        name: max(filter(None, (rules[name], more[name])), default=None)
        if rules[name] or more[name]
        else None
        for name in rules
    }
    after = Retention(permanent=True) if before.permanent else retention_of(wider)
    few, many = fates(backups, before), fates(backups, after)
    assert {i for i, f in few.items() if f.keep} <= {i for i, f in many.items() if f.keep}
    assert {i for i, f in few.items() if not f.expired} <= {i for i, f in many.items() if not f.expired}


@settings(max_examples=100, deadline=None)
@given(histories, retentions)
def test_judging_what_is_left_changes_nothing(build, history, rules):
    backups = build(history)
    first = fates(backups, retention_of(rules))
    left = [
        b.model_copy(update={"expired": b.expired or (b.id in first and first[b.id].expired)})
        for b in backups
        if b.id not in first or first[b.id].keep
    ]
    again = fates(left, retention_of(rules))
    assert all(fate.keep for fate in again.values())
    assert {i: f.expired for i, f in again.items()} == {i: f.expired for i, f in first.items() if f.keep}
