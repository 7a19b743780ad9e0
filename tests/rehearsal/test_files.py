"""Test files: where they are found, and every problem with its place and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from csbsctl.config import load as load_configuration
from csbsctl.config.schema import render
from csbsctl.config.source import read_source
from csbsctl.config.tree import parse
from csbsctl.errors import ConfigError, NotFound
from csbsctl.rehearsal import find, load
from csbsctl.rehearsal.schema import json_schema

REPOSITORY = Path(__file__).parents[2]
CHECKED_IN = REPOSITORY / "schemas" / "csbstest.schema.json"
EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.csbstest.yaml"))
HEAD = 'tests:\n  it:\n    start: "2027-05-01"\n    span: 10d\n    timezone: Europe/Berlin\n'


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("tests: {}\n", (1, 1), "tests: ", None),
        ("test: {}\n", (1, 1), "unknown key 'test'", "did you mean 'tests'?"),
        ("- 1\n", (1, 1), "a file of policy tests is a mapping with `tests:`", None),
        (f"{HEAD}    expect: [{{rpoo: 1d}}]\n", (6, 15), "unknown key 'rpoo' in tests.it.expect[0]", "did you mean 'rpo'?"),
        (f"{HEAD}    expect: [{{rpo: 26}}]\n", (6, 20), "expected a duration", None),
        (f"{HEAD}    expect: [{{rpo: 1d, missed: {{max: 0}}}}]\n", (6, 14), "an expectation is one thing that must hold", None),
        (f"{HEAD}    expect: [{{always: true}}]\n", (6, 14), "give one of rpo, restore_points", None),
        (f"{HEAD}    expect: [{{at: 11d, rpo: 1d}}]\n", (6, 19), "at: 11d is outside of the test, which goes from 2027-05-01 00:00 CEST", None),
        (f"{HEAD}    expect: [{{at: tomorrow, rpo: 1d}}]\n", (6, 19), "tests.it.expect[0].at", None),
        (f'{HEAD}    expect: [{{at: "2027-05-32", rpo: 1d}}]\n', (6, 19), "at: day", None),
        (f"{HEAD}    expect: [{{always: true, restore: {{as_of: end}}}}]\n", (6, 14), "`restore` is checked at one moment: give `at`", None),
        (f"{HEAD}    expect: [{{at: 1d, since: 1d, rpo: 1d}}]\n", (6, 14), "`at` is one moment", None),
        (f"{HEAD}    expect: [{{findings: {{only: [objectives]}}}}]\n", (6, 26), "'objectives' is not a class of findings", "did you mean 'objective'?"),
        (f"{HEAD}    events: [{{at: 1d}}]\n    expect: [{{rpo: 1d}}]\n", (6, 14), "an event is one thing that happens", None),
        (f"{HEAD}    servers: {{a: {{count: 2}}, a-01: {{}}}}\n    expect: [{{rpo: 1d}}]\n", (6, 30), "server 'a-01' is made twice", None),
        ('tests: {it: {start: "2027-05-01", span: 1d, timezone: Europe/Berlni, expect: [{rpo: 1d}]}}\n', (1, 55), "'Europe/Berlni' is not an IANA time zone", "did you mean 'Europe/Berlin'?"),
        (f"configuration: ../nowhere\n{HEAD}    expect: [{{rpo: 1d}}]\n", (1, 16), "there is no csbs.yaml in", None),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_place(bench, text, where, message, hint):
    path = bench.folder / "wrong.csbstest.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    first = next(d for d in caught.value.diagnostics if message in d.summary)
    assert first.place is not None
    assert (first.place.line, first.place.column) == where
    if hint:
        assert first.hint == hint


def test_files_stand_beside_the_configuration_in_tests_or_where_somebody_says(bench):
    beside = bench.file("tests: {}", "a.csbstest.yaml")
    below = bench.file("tests: {}", "tests/b.csbstest.yaml")
    bench.file("tests: {}", "tests/c.yaml")
    assert find(bench.folder) == [beside, below]
    assert find(bench.folder, [Path("tests")]) == [below]
    assert find(bench.folder, [Path("a.csbstest.yaml"), Path("a.csbstest.yaml")]) == [beside]
    with pytest.raises(NotFound) as caught:
        find(bench.folder, [Path("aa.csbstest.yaml")])
    assert caught.value.hint == "did you mean 'a.csbstest.yaml'?"


def test_an_include_that_fits_test_files_passes_them_over(bench):
    bench.configuration.write_text("include: ['*.yaml', 'tests/*.yaml']\n" + bench.configuration.read_text())
    bench.file("tests: {}", "a.csbstest.yaml")
    bench.file("x-nothing: 1\n", "tests/more.yaml")
    bench.file("tests: {}", "tests/b.csbstest.yaml")
    assert [path.name for path in load_configuration(bench.folder, environ={}).files] == [
        "csbs.yaml",
        "more.yaml",
    ]


def test_edits_are_laid_over_the_configuration(bench):
    first = {"policies": {"nightly": {"retention": {"count": None, "days": "{{ var.keep }}"}}}}
    second = {"policies": {"nightly": {"schedule": {"at": ["03:00"]}}}, "guardrails": None}
    declared = load_configuration(bench.folder, environ={}, overlays=[first, second]).declared
    policy = declared.policies["nightly"]
    assert (policy.retention.count, policy.retention.days, policy.schedule.at) == (None, 3, ("03:00",))
    assert policy.schedule.timezone == "Europe/Berlin"
    assert declared.guardrails.max_backups_deleted is None


def test_the_checked_in_schema_is_current():
    assert CHECKED_IN.read_text() == render(json_schema()), "run `make schemas`"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_the_schema_and_load(path):
    jsonschema.Draft202012Validator(json.loads(CHECKED_IN.read_text())).validate(
        parse(read_source(path)).value
    )
    assert load(path).suite.tests


def test_the_schema_refuses_what_loading_refuses():
    validator = jsonschema.Draft202012Validator(json.loads(CHECKED_IN.read_text()))
    case = {"start": "2027-05-01", "span": "10d", "expect": [{"rpo": "26h"}]}
    assert validator.is_valid({"tests": {"it": case}})
    assert not validator.is_valid({"tests": {"it": case | {"span": "ten days"}}})
    assert not validator.is_valid({"tests": {"it": case | {"expect": [{"rpoo": "26h"}]}}})
    assert not validator.is_valid({"tests": {"it": case | {"start": "tomorrow"}}})
