"""What a change of policy does, by living both futures: the examples of the design, and what must not alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.model.backup import BackupState, Verification
from csbsctl.model.plan import ChangeClass
from csbsctl.model.policy import Policy, Retention, Schedule
from csbsctl.rules.comparison import compare
from csbsctl.rules.outlook import Scenario

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STRENGTHENS, NEUTRAL, WEAKENS, DESTROYS = ChangeClass
HOURLY = tuple(f"{hour:02}:00" for hour in range(24))
NOTHING = Scenario("gold", None, NOW)


def scenario(
    at=("02:00",), *, enabled=True, timezone="Europe/Berlin", on=None, every=None, rrule=None, **retention
):
    schedule = (
        Schedule(rrule=rrule, timezone=timezone)
        if rrule
        else Schedule(at=at, days=on, every_days=every, timezone=timezone)
    )
    policy = Policy(enabled=enabled, schedule=schedule, retention=Retention(**retention))
    return Scenario("gold", policy, NOW - timedelta(days=100))


@pytest.fixture
def verdict(make_backup):
    """Return a function that compares two scenarios over backups taken every so many hours."""

    def judge(old, new, count=30, every=24):
        backups = [make_backup(NOW - timedelta(hours=every * n + 11), f"b{n}") for n in range(count)]
        return compare(old, new, {"s": backups}, now=NOW)

    return judge


class TestDestroysData:
    def test_a_lower_count_deletes_the_oldest_at_the_next_run(self, verdict):
        found = verdict(scenario(count=30), scenario(count=7))
        assert found.change_class is DESTROYS
        at_once = [e.backup.id for e in found.endings if e.after == NOW]
        assert at_once == [f"b{n}" for n in range(7, 30)]
        assert found.reasons == (
            "30 existing backups of 1 server would be deleted earlier, 23 of them at the next run",
            "history reaches back 29 days -> 6 days",
        )

    def test_a_count_lower_by_one_is_enough(self, verdict):
        assert verdict(scenario(count=30), scenario(count=29)).change_class is DESTROYS

    def test_the_same_count_with_24_runs_a_day_instead_of_2_keeps_less_history(self, verdict):
        found = verdict(scenario(("02:00", "14:00"), count=30), scenario(HOURLY, count=30), every=12)
        assert found.change_class is DESTROYS
        assert all(ending.after > NOW for ending in found.endings)
        assert "history reaches back 14 days -> 29h" in found.reasons

    def test_enabling_a_policy_that_slept_for_long_prunes_at_once(self, verdict):
        found = verdict(scenario(count=7, enabled=False), scenario(count=7), count=60)
        assert found.change_class is DESTROYS
        assert len(found.endings) == 53

    def test_binding_a_server_again_prunes_what_was_frozen(self, verdict):
        assert verdict(NOTHING, scenario(days=10), count=60).change_class is DESTROYS

    def test_what_only_the_brake_of_pruning_keeps_goes_when_any_change_releases_it(self, verdict):
        found = verdict(scenario(monthly=1), scenario(monthly=1, daily=3))
        assert found.change_class is DESTROYS
        assert [e.backup.id for e in found.endings if e.after == NOW] == [f"b{n}" for n in range(3, 30)]

    def test_backups_that_failed_verification_are_told_as_well_and_failed_ones_are_not(self, make_backup):
        backups = [
            make_backup(NOW - timedelta(hours=24 * n + 11), f"b{n}", **more)
            for n, more in enumerate(
                (
                    {},
                    {},
                    {},
                    {"verification": Verification.FAILED},
                    {"state": BackupState.ERROR},
                    {"verification": Verification.FAILED, "expired": True},
                )
            )
        ]
        found = compare(scenario(count=9), scenario(count=2), {"s": backups}, now=NOW)
        assert [e.backup.id for e in found.endings if e.after == NOW] == ["b2", "b3"]

    def test_ending_permanence_gives_every_backup_an_end(self, verdict):
        found = verdict(scenario(permanent=True), scenario(count=60))
        assert found.change_class is DESTROYS
        assert {ending.before for ending in found.endings} == {None}

    def test_the_guard_of_the_last_good_ones_is_part_of_the_comparison(self, verdict):
        old, new = scenario(days=1), scenario(days=1)
        guarded = Scenario(old.name, old.policy, old.anchor, keep_last_good=5)
        assert verdict(guarded, new).change_class is DESTROYS


class TestWeakens:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            (scenario(count=30), scenario(count=29), "history reaches back"),
            (
                scenario(("02:00", "14:00"), count=30),
                scenario(HOURLY, count=30),
                "history reaches back 14 days",
            ),
            (scenario(yearly=7, daily=7), scenario(yearly=3, daily=7), "2557 days -> 1096 days"),
            (scenario(permanent=True), scenario(count=500), "the beginning -> 500 days"),
            (
                scenario(count=30),
                scenario(count=30, on=("mon", "tue", "wed", "thu", "fri")),
                "fewer runs: 7 -> 5",
            ),
            (
                scenario(every=2, count=10),
                scenario(every=3, count=10),
                "longer gap between backups: at most 49h -> 73h",
            ),
            (scenario(("02:00", "03:00"), count=30), scenario(days=30), "fewer runs: 14 -> 7"),
            (
                scenario(("02:00", "14:00"), days=9),
                scenario(("02:00", "03:00"), days=9),
                "longer gap between backups",
            ),
            (scenario(days=30), scenario(daily=7, monthly=12), "lie further apart"),
            (
                scenario(HOURLY, count=48, daily=30),
                scenario(HOURLY, count=10, daily=30),
                "lie further apart: 1h -> 1d",
            ),
            (scenario(count=7), NOTHING, "fewer runs: 7 -> 0"),
            (scenario(count=7), scenario(count=7, enabled=False), "fewer runs: 7 -> 0"),
            (
                scenario(days=90),
                scenario(days=90, rrule="FREQ=WEEKLY;BYDAY=SU;BYHOUR=2"),
                "fewer runs: 7 -> 1",
            ),
        ],
    )
    def test_without_any_backup_to_lose_the_long_run_counts(self, old, new, words):
        found = compare(old, new, {}, now=NOW)
        assert found.change_class is WEAKENS
        assert any(words in reason for reason in found.reasons), found.reasons

    def test_disabling_freezes_what_there_is_and_weakens(self, verdict):
        found = verdict(scenario(count=7), scenario(count=7, enabled=False), count=7)
        assert found.change_class is WEAKENS
        assert found.endings == ()


class TestStrengthens:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (scenario(count=7), scenario(count=30)),
            (scenario(count=7), scenario(count=7, weekly=4)),
            (scenario(days=30), scenario(("02:00", "14:00"), days=30)),
            (scenario(every=3, days=30), scenario(days=30)),
            (scenario(count=7), scenario(permanent=True)),
            (NOTHING, scenario(count=7)),
        ],
    )
    def test_more_of_anything_and_less_of_nothing(self, verdict, old, new):
        found = verdict(old, new, count=7)
        assert found.change_class is STRENGTHENS
        assert found.reasons == ()


class TestNeutral:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (scenario(count=30), scenario(count=30)),
            (scenario(count=30), scenario(("01:00",), count=30)),
            (scenario(count=30), scenario(("14:00",), count=30)),
            (scenario(count=30), scenario(count=30, timezone="UTC")),
            (scenario(days=90, count=30), scenario(days=90, count=20)),
            (scenario(on=("sun",), count=30), scenario(on=("sat",), count=30)),
            (NOTHING, NOTHING),
        ],
    )
    def test_what_changes_nothing_that_matters_raises_no_alarm(self, verdict, old, new):
        assert verdict(old, new).change_class is NEUTRAL

    def test_a_policy_taken_up_again_soon_replaces_its_backups_one_by_one(self, verdict):
        found = verdict(scenario(count=7, enabled=False), scenario(count=7), count=7)
        assert found.endings == ()
        assert found.change_class is STRENGTHENS
