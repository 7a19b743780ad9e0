"""Whole tests, played: what holds passes, what does not is told with its place, its time and its server."""

from __future__ import annotations

import textwrap

import pytest

from csbsctl.config.starter import starter
from csbsctl.rehearsal import load
from csbsctl.rehearsal.moments import Calendar

WEB = "servers: {web: {metadata: {tier: web}, disks: [10G], writes: 1G}}\n"


def said(outcome):
    return [failure.message for failure in outcome.failures] + [p.summary for p in outcome.problems]


def test_what_holds_passes(bench):
    outcome = bench.run(
        f"""\
        start: "2027-03-26"
        span: 5d
        timezone: Europe/Berlin
        {WEB.rstrip()}
        expect:
          - {{always: true, rpo: 26h}}
          - {{restore_points: {{min: 3, max: 3}}}}
          - {{reaches_back: 2d}}
          - {{copies: {{daily: 3}}}}
          - {{missed: {{max: 0}}}}
          - {{failed: {{max: 0}}}}
          - {{protected: true}}
          - {{storage: 12G}}
          - {{quota: {{backups: 3, size: 30G}}}}
          - {{findings: {{max: 0}}}}
        """
    )
    assert said(outcome) == []
    assert (outcome.servers, outcome.backups) == (1, 5)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("{always: true, rpo: 23h}", "web: the newest restore point is 24h old; expected: at most 23h"),
        ("{restore_points: {min: 4}}", "web: 3 restore points; expected: at least 4"),
        ("{restore_points: {max: 2}}", "web: 3 restore points; expected: at most 2"),
        ("{reaches_back: 3d}", "web: the oldest restore point is 70h old; expected: at least 3d"),
        (
            "{copies: {daily: 4}}",
            "web: no restore point of day 2027-05-01; expected: one in each of the newest 4",
        ),
        ("{missed: {min: 1}}", "web: 0 missed slots; expected: at least 1"),
        ("{failed: {min: 1}}", "web: 0 failed backups; expected: at least 1"),
        ("{protected: false}", "web: it is under policy nightly; expected: none"),
        ("{storage: 11G}", "the backups take 12 GiB; expected: at most 11 GiB"),
        ("{quota: {backups: 2}}", "there are 3 backups of disks; expected: at most 2"),
        ("{quota: {size: 29G}}", "they count as 30 GiB; expected: at most 29 GiB"),
        ("{servers: db-*, rpo: 26h}", "there is no server db-* to look at; expected: at least one"),
        ("{restore: {as_of: before-attack}}", "web: it was never attacked; expected: an attack to go back before"),
        ("{plan: {change: {policies: {nightly: {enabled: false}}}, class: neutral}}", "the change is of class weakens"),
        ("{plan: {change: {policies: {nightly: {enabled: false}}}, refused: true}}", "no guardrail refuses it"),
        (
            "{plan: {change: {policies: {nightly: {retention: {count: 1}}}}, refused: false}}",
            "guardrails refuse it (max_backups_deleted)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_said(bench, expected, message):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 4d
        timezone: Europe/Berlin
        {WEB.rstrip()}
        expect:
          - {expected}
        """
    )
    assert len(said(outcome)) == 1
    assert said(outcome)[0].startswith(message)
    assert (outcome.failures[0].place.line, outcome.failures[0].place.text.strip()) == (8, f"- {expected}")


def test_a_failure_tells_the_first_moment_in_the_policys_zone_and_what_had_happened(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 5d
        {WEB.rstrip()}
        events: [{{at: 2d, runner_down: 2d}}]
        expect: [{{since: 1d, rpo: 26h}}]
        """
    )
    (failure,) = outcome.failures
    assert failure.shown == "2027-05-05 02:00 CEST (2027-05-05 00:00 UTC)"
    assert failure.actual == "the newest restore point is 3d old"
    assert failure.story[-1] == "2027-05-03 02:00 CEST (2027-05-03 00:00 UTC)  runner down for 48h"
    assert "web: backed up (autobk_" in failure.story[-2]


def test_an_attack_can_be_undone_with_the_bytes_from_before(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 4d
        {WEB.rstrip()}
        events: [{{at: 2d12h, attack: web}}]
        expect:
          - {{restore: {{as_of: before-attack}}}}
          - {{restore: {{as_of: end}}}}
        """
    )
    assert said(outcome) == []


def test_an_attack_found_too_late_cannot_be_undone(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 6d
        {WEB.rstrip()}
        events: [{{at: 1d12h, attack: web}}]
        expect: [{{restore: {{as_of: before-attack}}}}]
        """
    )
    assert said(outcome)[0].startswith("web: server web has no good backup at or before 2027-05-02T11:59:59")


def test_a_new_server_is_protected_within_a_day_and_a_deleted_one_keeps_its_backups(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 4d
        {WEB.rstrip()}
        events:
          - {{at: 1d12h, create: {{new: {{count: 2, metadata: {{tier: web}}}}}}}}
          - {{at: 2d12h, delete: web}}
        expect:
          - {{always: true, servers: new-*, rpo: 1d}}
          - {{servers: web, restore_points: {{min: 2}}}}
          - {{servers: [new-01, new-02], protected: true}}
        """
    )
    assert said(outcome) == []


def test_an_edit_is_applied_or_refused_as_a_guardrail_says(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 6d
        {WEB.rstrip()}
        events:
          - {{at: 3d12h, apply: {{change: {{policies: {{nightly: {{retention: {{count: 1}}}}}}}}}}}}
          - {{at: 4d12h, apply: {{change: {{policies: {{nightly: {{retention: {{count: 1}}}}}}}}, allow: [max_backups_deleted]}}}}
        expect:
          - {{at: 4d, restore_points: {{min: 3}}}}
          - {{restore_points: {{max: 1}}}}
        """
    )
    assert said(outcome) == []


def test_a_cloud_and_a_store_that_are_away_cost_slots_only_as_long_as_start_within(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 6d
        {WEB.rstrip()}
        events:
          - {{at: 1d, cloud_down: 1h}}
          - {{at: 2d, store_down: 1h}}
          - {{at: 3d, cloud_down: 5h}}
          - {{at: 4d, fail: {{step: store, error: refused, lasts: 1h}}}}
        expect:
          - {{at: 3d, missed: {{max: 0}}}}
          - {{at: 4d, missed: {{min: 1, max: 1}}}}
          - {{failed: {{min: 1, max: 1}}}}
        """
    )
    assert said(outcome) == []


def test_a_runner_whose_clock_runs_ahead_prunes_nothing(bench):
    bench.configuration.write_text(
        bench.configuration.read_text().replace('count: "{{ var.keep }}"', "days: 3")
    )
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 6d
        {WEB.rstrip()}
        events: [{{at: 4d, clock: {{by: 40d, lasts: 12h}}}}]
        expect:
          - {{since: 3d, restore_points: {{min: 3}}}}
          - {{rpo: 26h}}
        """
    )
    assert said(outcome) == []


@pytest.mark.parametrize(
    "events",
    [
        """{at: 2d12h, clock: {by: 40d, lasts: 12h}}, {at: 2d13h, apply: {change: {policies: {nightly: {schedule: {at: ["03:00"]}}}}}}""",
        "{at: 2d12h, clock: {by: -5d, lasts: 24h}}, {at: 2d13h, create: {new: {metadata: {tier: web}}}}",
    ],
    ids=["an apply by a clock that runs ahead", "a server that is younger than the clock shows"],
)
def test_whom_a_policy_has_had_since_a_time_that_is_not_yet_is_backed_up(bench, events):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 6d
        {WEB.rstrip()}
        events: [{events}]
        expect: [{{since: 2d, rpo: 27h}}]
        """
    )
    assert said(outcome) == []


def test_a_cloud_with_chains_is_stood_in_for_by_one_that_hides_what_others_need(bench):
    text = bench.configuration.read_text()
    bench.configuration.write_text(
        text.replace("{type: local, path: ./cloud}", "{type: openstack, cloud: nowhere}")
    )
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 12d
        {WEB.rstrip()}
        expect:
          - {{always: true, quota: {{backups: 9}}}}
          - {{at: 6d, quota: {{backups: 5}}}}
          - {{restore_points: {{min: 3, max: 3}}}}
        """
    )
    assert said(outcome) == ["there are 6 backups of disks; expected: at most 5"]


def test_servers_that_bindings_name_are_there_without_being_declared(bench):
    text = bench.configuration.read_text()
    bench.configuration.write_text(
        text.replace("match: {metadata: {tier: web}}", "servers: [shop-1, shop-2]")
    )
    outcome = bench.run('start: "2027-05-01"\nspan: 2d\nexpect: [{restore_points: {min: 2}}]\n')
    assert said(outcome) == []
    assert outcome.servers == 2


def test_variables_come_from_the_command_line_over_those_of_the_test(bench):
    case = f'start: "2027-05-01"\nspan: 5d\nvariables: {{keep: 1}}\n{WEB}expect: [{{restore_points: {{max: 1}}}}]\n'
    assert said(bench.run(case)) == []
    assert said(bench.run(case, keep="4")) == ["web: 4 restore points; expected: at most 1"]


def test_the_test_that_the_starter_shows_passes_under_the_starter(bench):
    bench.configuration.write_text(starter())
    shown = starter().partition("# tests:\n")[2]
    case = shown.replace("# ", "  ").partition(":\n")[2]
    outcome = bench.run(textwrap.dedent(case))
    assert said(outcome) == []
    assert (outcome.servers, outcome.backups) == (2, 8)


def test_a_timer_runs_late(bench):
    outcome = bench.run(
        f"""\
        start: "2027-05-01"
        span: 3d
        runner: {{every: 1d}}
        timezone: Europe/Berlin
        {WEB.rstrip()}
        expect: [{{missed: {{min: 3, max: 3}}}}]
        """
    )
    assert said(outcome) == []


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("attack: wbe", "attack: there is no server 'wbe'"),
        ("resize: {server: web, disk: 4, size: 20G}", "resize: web has 1 disks, the system disk is number 0"),
        ("resize: {server: web, disk: 0, size: 1G}", "resize: a disk cannot shrink"),
        ("attach: {server: web}", "attach: attach needs `size`"),
        ("apply: {change: {policies: {nightly: {retention: null}}}}", "policies.nightly needs `retention`"),
        (
            "apply: {change: {providers: {more: {type: local}}}}",
            "apply: an edit within a test cannot add a provider",
        ),
    ],
)
def test_an_event_that_cannot_happen_is_an_error_of_the_file(bench, event, message):
    outcome = bench.run(
        f'start: "2027-05-01"\nspan: 2d\n{WEB}events: [{{at: 1d, {event}}}]\nexpect: [{{rpo: 26h}}]\n'
    )
    assert said(outcome)[-1] == message
    assert outcome.problems[0].place is not None


def test_moments_are_local_times_of_the_tests_zone_or_spans_after_its_start(bench):
    path = bench.file(
        """\
        tests:
          it: {start: "2027-03-27", span: 3d, timezone: Europe/Berlin, expect: [{rpo: 1d}]}
        """
    )
    calendar = Calendar(load(path).suite.tests["it"])
    read = {
        text: calendar.instant(text).isoformat()
        for text in ("start", "1d", "2027-03-28 03:30", "2027-03-28T03:30Z", "end")
    }
    assert read == {
        "start": "2027-03-26T23:00:00+00:00",
        "1d": "2027-03-27T23:00:00+00:00",
        "2027-03-28 03:30": "2027-03-28T01:30:00+00:00",
        "2027-03-28T03:30Z": "2027-03-28T03:30:00+00:00",
        "end": "2027-03-29T23:00:00+00:00",
    }  # fmt: skip
