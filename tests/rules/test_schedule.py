"""Slots of schedules on ordinary days, on clock-change nights, across editing, and by recurrence rules."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from csbsctl.clock import parse_instant
from csbsctl.model.policy import Schedule
from csbsctl.rules.schedule import Timetable, delay

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
HOURLY = tuple(f"{hour:02}:00" for hour in range(24))


def slots(schedule: Schedule, start: str, end: str, anchor: datetime = ANCHOR) -> list[str]:
    """Return the slots between two instants as wall times with their offset, in the schedule's zone."""
    found = Timetable(schedule, anchor).between(parse_instant(start), parse_instant(end))
    return [slot.astimezone(ZoneInfo(schedule.timezone)).isoformat(timespec="minutes") for slot in found]


@pytest.mark.parametrize(
    ("zone", "at", "start", "end", "expected"),
    [
        pytest.param(
            "Europe/Berlin",
            ("02:30",),
            "2027-03-27T00:00",
            "2027-03-30T00:00",
            ["2027-03-27T02:30+01:00", "2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00"],
            id="a time in the gap runs at the first instant after it",
        ),
        pytest.param(
            "Europe/Berlin",
            ("02:00", "03:00"),
            "2027-03-28T00:00",
            "2027-03-28T12:00",
            ["2027-03-28T03:00+02:00"],
            id="two times that meet after the gap are one slot",
        ),
        pytest.param(
            "Europe/Berlin",
            ("02:30",),
            "2026-10-24T12:00",
            "2026-10-26T12:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
            id="a time that occurs twice runs the first time",
        ),
        pytest.param(
            "America/Sao_Paulo",
            ("00:15",),
            "2018-11-03T12:00",
            "2018-11-05T12:00",
            ["2018-11-04T01:00-02:00", "2018-11-05T00:15-02:00"],
            id="a gap at midnight",
        ),
        pytest.param(
            "America/Sao_Paulo",
            ("23:30",),
            "2018-02-17T12:00",
            "2018-02-19T12:00",
            ["2018-02-17T23:30-02:00", "2018-02-18T23:30-03:00"],
            id="a fold that ends at midnight belongs to the day before",
        ),
        pytest.param(
            "Asia/Shanghai",
            ("02:00", "14:00"),
            "2026-11-21T18:00",
            "2026-11-22T18:00",
            ["2026-11-22T14:00+08:00", "2026-11-23T02:00+08:00"],
            id="a zone without changes; the start is left out, the end is in",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            ("02:15",),
            "2026-10-03T00:00",
            "2026-10-05T00:00",
            ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
            id="a gap of half an hour",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            ("01:45",),
            "2027-04-02T20:00",
            "2027-04-04T20:00",
            ["2027-04-04T01:45+11:00", "2027-04-05T01:45+10:30"],
            id="a fold of half an hour",
        ),
        pytest.param(
            "Pacific/Apia",
            ("06:00", "18:00"),
            "2011-12-29T12:00",
            "2011-12-31T12:00",
            [
                "2011-12-29T06:00-10:00",
                "2011-12-29T18:00-10:00",
                "2011-12-31T00:00+14:00",
                "2011-12-31T06:00+14:00",
                "2011-12-31T18:00+14:00",
            ],
            id="a day that was skipped altogether runs once, when the next day begins",
        ),
        pytest.param(
            "UTC",
            ("23:59",),
            "2027-12-30T12:00",
            "2028-01-02T00:00",
            ["2027-12-30T23:59+00:00", "2027-12-31T23:59+00:00", "2028-01-01T23:59+00:00"],
            id="the end of a year",
        ),
        pytest.param(
            "UTC",
            ("12:00",),
            "2028-02-28T00:00",
            "2028-03-01T13:00",
            ["2028-02-28T12:00+00:00", "2028-02-29T12:00+00:00", "2028-03-01T12:00+00:00"],
            id="a leap day",
        ),
    ],
)
def test_wall_times_become_instants(zone, at, start, end, expected):
    assert slots(Schedule(at=at, timezone=zone), start, end) == expected


def test_an_hourly_schedule_runs_23_times_in_spring_and_24_times_in_autumn():
    schedule = Schedule(at=HOURLY, timezone="Europe/Berlin")
    assert len(slots(schedule, "2027-03-27T22:59", "2027-03-28T21:59")) == 23
    assert len(slots(schedule, "2026-10-24T21:59", "2026-10-25T22:59")) == 24


def test_weekdays_are_those_of_the_zone():
    schedule = Schedule(at=("02:00",), days=("mon", "fri"), timezone="Asia/Shanghai")
    # 02:00 on Monday in Shanghai is still Sunday in UTC.
    assert slots(schedule, "2026-11-15T00:00", "2026-11-22T20:00") == [
        "2026-11-16T02:00+08:00",
        "2026-11-20T02:00+08:00",
        "2026-11-23T02:00+08:00",
    ]


class TestEveryDays:
    anchor = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)

    def test_the_first_run_is_due_on_the_day_of_creation_if_a_time_is_left(self):
        timetable = Timetable(Schedule(at=("08:00", "20:00"), every_days=3), self.anchor)
        assert timetable.next(self.anchor) == datetime(2026, 11, 1, 20, tzinfo=UTC)

    def test_the_first_run_is_in_the_next_cycle_if_all_times_have_passed(self):
        timetable = Timetable(Schedule(at=("08:00",), every_days=3), self.anchor)
        assert timetable.next(self.anchor) == datetime(2026, 11, 4, 8, tzinfo=UTC)

    def test_seven_days_edited_to_five_on_the_third_day_runs_two_days_later(self):
        third_day = self.anchor + timedelta(days=3)
        before = Timetable(Schedule(at=("20:00",), every_days=7), self.anchor)
        after = Timetable(Schedule(at=("20:00",), every_days=5), self.anchor)
        assert before.next(third_day) == datetime(2026, 11, 8, 20, tzinfo=UTC)
        assert after.next(third_day) == datetime(2026, 11, 6, 20, tzinfo=UTC)

    def test_the_cadence_counts_local_days_from_the_anchors_local_day(self):
        # 18:00 UTC on the 1st is already the 2nd in Shanghai.
        anchor = datetime(2026, 11, 1, 18, tzinfo=UTC)
        timetable = Timetable(Schedule(at=("12:00",), every_days=10, timezone="Asia/Shanghai"), anchor)
        assert timetable.next(anchor) == datetime(2026, 11, 2, 4, tzinfo=UTC)
        assert timetable.next(anchor + timedelta(days=1)) == datetime(2026, 11, 12, 4, tzinfo=UTC)

    def test_the_cadence_runs_on_across_months_and_years(self):
        found = slots(
            Schedule(at=("00:00",), every_days=30), "2026-12-01T12:00", "2027-03-05T00:00", self.anchor
        )
        assert [text[:10] for text in found] == ["2026-12-31", "2027-01-30", "2027-03-01"]


timetables = st.builds(
    lambda at, days, zone, every: Schedule(
        at=at, timezone=zone, **({"every_days": every} if every else {"days": days})
    ),
    st.sampled_from([("02:30",), ("00:00", "12:00"), ("01:30", "03:00", "23:45"), HOURLY]),
    st.sampled_from([None, ("sun",), ("mon", "wed", "sat")]),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu"]),
    st.none() | st.integers(1, 30),
) | st.builds(
    lambda rule, zone: Schedule(rrule=rule, timezone=zone),
    st.sampled_from(
        [
            "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=3",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;BYHOUR=2",
            "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=31;BYHOUR=0",
            "FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30",
            "FREQ=HOURLY;INTERVAL=7",
        ]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
instants = st.integers(0, 4 * 366 * 24 * 60).map(
    lambda minutes: ANCHOR + timedelta(minutes=minutes - 366 * 24 * 60)
)


@settings(max_examples=100, deadline=None)
@given(timetables, instants, st.integers(0, 40), st.integers(0, 40))
def test_next_last_and_between_tell_the_same_story(schedule, start, days, more):
    timetable = Timetable(schedule, ANCHOR)
    middle, end = start + timedelta(days=days), start + timedelta(days=days + more)
    whole = list(timetable.between(start, end))
    assert whole == [*timetable.between(start, middle), *timetable.between(middle, end)]
    assert whole == sorted(set(whole))
    assert all(start < slot <= end for slot in whole)
    following = timetable.next(start)
    assert following == whole[0] if whole else following is None or following > end
    newest = timetable.last(end)
    assert newest == whole[-1] if whole else newest is None or newest <= start


class TestRecurrence:
    def test_the_last_sunday_of_each_month(self):
        schedule = Schedule(rrule="FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=3", timezone="Europe/Berlin")
        assert slots(schedule, "2026-12-01T00:00", "2027-04-01T00:00") == [
            "2026-12-27T03:00+01:00",
            "2027-01-31T03:00+01:00",
            "2027-02-28T03:00+01:00",
            "2027-03-28T03:00+02:00",
        ]

    def test_a_time_in_the_gap_follows_the_same_rule(self):
        schedule = Schedule(rrule="FREQ=DAILY;BYHOUR=2;BYMINUTE=30", timezone="Europe/Berlin")
        assert slots(schedule, "2027-03-28T00:00", "2027-03-28T12:00") == ["2027-03-28T03:00+02:00"]

    @pytest.mark.parametrize("years", [0, 1, 7])
    def test_intervals_keep_their_phase_however_far_from_the_anchor(self, years):
        anchor = datetime(2026, 11, 4, tzinfo=UTC)
        timetable = Timetable(Schedule(rrule="FREQ=WEEKLY;INTERVAL=3;BYDAY=MO;BYHOUR=1"), anchor)
        slot = timetable.next(anchor + timedelta(days=365 * years))
        assert slot is not None
        assert slot.weekday() == 0
        assert (slot.date() - date(2026, 11, 2)).days % 21 == 0

    def test_the_29th_of_february_waits_for_leap_years(self):
        timetable = Timetable(Schedule(rrule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=12"), ANCHOR)
        assert timetable.next(ANCHOR) == datetime(2028, 2, 29, 12, tzinfo=UTC)
        assert timetable.last(ANCHOR) == datetime(2024, 2, 29, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ("FREQ=DAILY;BYHOUR=1;COUNT=3", "leave out COUNT"),
            ("FREQ=DAILY;BYHOUR=1;UNTIL=20270101T000000Z", "leave out UNTIL"),
            ("FREQ=DAILY;BYHOUR=1;BYSECOND=5", "leave out BYSECOND"),
            ("FREQ=MINUTELY;INTERVAL=90", "FREQ must be one of"),
            ("BYHOUR=3", "FREQ must be one of"),
            ("FREQ=DAILY", "say at which hour"),
            ("FREQ=WEEKLY;BYHOUR=3", "say on which day"),
            ("FREQ=MONTHLY;BYHOUR=3", "say on which day"),
            ("FREQ=DAILY;BYHOUR=25", "not a recurrence rule"),
            ("FREQ=DAILY;BYHOUR=x", "not a recurrence rule"),
            ("FREQ=WEEKLY;BYDAY=XX;BYHOUR=3", "not a recurrence rule"),
            ("FREQ=DAILY;INTERVAL=0;BYHOUR=1", "INTERVAL must be"),
            ("FREQ=DAILY;BYHOUR=1;BYHOUR=2", "BYHOUR is given twice"),
            ("FREQ=DAILY;BYHOUR", "BYHOUR has no value"),
            ("RRULE:FREQ=DAILY;BYHOUR=1", "leave out `RRULE:`"),
            ("every night", "not a part of a rule"),
            ("", "not a part of a rule"),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;BYHOUR=3", "never names a time"),
            ("FREQ=DAILY;BYHOUR=1;BYMINUTE=0,30", "30 minutes apart"),
            ("FREQ=DAILY;BYHOUR=1" + ";" * 10_240, "at most 10240 characters"),
        ],
    )
    def test_what_is_no_rule_for_backups_is_refused_with_the_reason(self, rule, words):
        with pytest.raises(ValidationError, match=words):
            Schedule(rrule=rule)

    def test_runs_that_only_a_clock_change_brings_together_are_refused_with_the_night(self):
        rule = "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30"
        Schedule(rrule=rule, timezone="Asia/Shanghai")
        with pytest.raises(
            ValidationError, match="2026-03-29 02:30 and 2026-03-29 03:30 in Europe/Berlin, 30 minutes"
        ):
            Schedule(rrule=rule, timezone="Europe/Berlin")


class TestSpread:
    schedule = Schedule(at=("02:00",), spread=timedelta(minutes=30))

    def test_a_server_keeps_its_delay_below_the_spread(self):
        delays = [delay(self.schedule, f"server-{number}") for number in range(200)]
        assert delays == [delay(self.schedule, f"server-{number}") for number in range(200)]
        assert all(timedelta(0) <= d < timedelta(minutes=30) for d in delays)

    def test_servers_are_spread_over_the_whole_span(self):
        thirds = {delay(self.schedule, f"server-{number}") // timedelta(minutes=10) for number in range(200)}
        assert thirds == {0, 1, 2}

    def test_without_spread_nobody_waits(self):
        assert delay(Schedule(at=("02:00",)), "server") == timedelta(0)
