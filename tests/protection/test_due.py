"""Slot logs after a clock ran ahead: what was called missed then is still due when its time comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from csbsctl.model.slots import SlotLog

DAY = timedelta(days=1)
SERVED = datetime(2027, 5, 4, tzinfo=UTC)


def test_slots_that_a_clock_ahead_called_missed_are_not_taken_for_dealt_with():
    future = tuple(SERVED + n * DAY for n in range(1, 40))
    log = SlotLog(last=SERVED).with_missed(future).taken(SERVED + 40 * DAY)
    for days in (1, 2, 30):
        assert log.as_of(SERVED + days * DAY, served=[SERVED]).last == SERVED
    assert log.as_of(SERVED + 2 * DAY, served=[SERVED]).missed == ()


def test_what_was_missed_before_stays_missed():
    log = SlotLog(last=SERVED - DAY).with_missed((SERVED - DAY / 2,)).taken(SERVED).taken(SERVED + 40 * DAY)
    assert log.as_of(SERVED + DAY, served=[SERVED]) == SlotLog(last=SERVED, missed=(SERVED - DAY / 2,))


def test_a_log_of_a_right_clock_is_left_alone():
    log = SlotLog(last=SERVED).with_missed((SERVED + DAY,))
    assert log.as_of(SERVED + DAY, served=[SERVED]) is log
