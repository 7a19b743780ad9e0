"""What one server owes its schedule at a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.model.policy import Schedule
from csbsctl.rules.due import DueResult, due_slots, next_start
from csbsctl.rules.schedule import Timetable

START = datetime(2026, 11, 1, tzinfo=UTC)
TIMETABLE = Timetable(Schedule(at=("02:00", "14:00")), START)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def due(
    now: datetime, *, since=START, last=None, start_within=timedelta(hours=4), delay=timedelta(0)
) -> DueResult:
    return due_slots(TIMETABLE, since=since, last_slot=last, now=now, start_within=start_within, delay=delay)


def test_nothing_is_due_before_the_first_slot():
    assert due(at(1, 1, 59)) == DueResult(None)


def test_a_slot_is_due_from_its_instant_on_until_start_within_has_passed():
    assert due(at(1, 2)).due == at(1, 2)
    assert due(at(1, 6)).due == at(1, 2)
    assert due(at(1, 6, 1)) == DueResult(None, (at(1, 2),))


def test_a_slot_that_was_taken_is_not_due_again():
    assert due(at(1, 3), last=at(1, 2)) == DueResult(None)


def test_a_slot_before_the_server_came_under_the_policy_does_not_concern_it():
    assert due(at(1, 3), since=at(1, 2)) == DueResult(None)
    assert due(at(1, 3), since=at(1, 1, 59)).due == at(1, 2)


def test_after_an_outage_the_newest_slot_is_made_up_for_and_the_others_are_missed():
    assert due(at(3, 15), last=at(1, 14)) == DueResult(at(3, 14), (at(2, 2), at(2, 14), at(3, 2)))


def test_after_an_outage_whose_last_slot_is_too_old_all_are_missed():
    assert due(at(2, 20), last=at(1, 14)) == DueResult(None, (at(2, 2), at(2, 14)))


def test_a_missed_slot_is_reported_once():
    first = due(at(2, 20), last=at(1, 14))
    assert due(at(2, 21), last=first.settled) == DueResult(None)


def test_only_one_of_several_slots_within_start_within_is_started():
    assert due(at(2, 15), start_within=timedelta(days=2)) == DueResult(
        at(2, 14), (at(1, 2), at(1, 14), at(2, 2))
    )


def test_a_server_starts_after_its_own_delay_and_may_be_late_from_there():
    delayed = timedelta(minutes=20)
    assert due(at(1, 2, 19), delay=delayed) == DueResult(None)
    assert due(at(1, 2, 20), delay=delayed).due == at(1, 2)
    assert due(at(1, 6, 20), delay=delayed).due == at(1, 2)
    assert due(at(1, 6, 21), delay=delayed).missed == (at(1, 2),)


def test_a_clock_that_went_back_makes_nothing_due():
    assert due(at(1, 3), last=at(2, 2)) == DueResult(None)


def test_the_next_start_includes_the_delay():
    assert next_start(TIMETABLE, at(1, 2, 10), timedelta(minutes=20)) == at(1, 2, 20)
    assert next_start(TIMETABLE, at(1, 2, 20), timedelta(minutes=20)) == at(1, 14, 20)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 20 * 60), min_size=1, max_size=25).map(sorted),
    st.integers(0, 12),
    st.integers(0, 90),
)
def test_every_slot_is_settled_exactly_once_whenever_runs_happen(minutes, hours, delay):
    spread = timedelta(minutes=delay)
    last, settled = None, []
    for now in (START + timedelta(minutes=12 * minute) for minute in minutes):
        result = due(now, last=last, start_within=timedelta(hours=hours), delay=spread)
        settled += [*result.missed, *([result.due] if result.due else [])]
        last = result.settled or last
    final = START + timedelta(minutes=12 * minutes[-1])
    assert settled == list(TIMETABLE.between(START, max(START, final - spread)))
