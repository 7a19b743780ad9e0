from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from csbsctl.config import load
from csbsctl.config.source import Source
from csbsctl.config.tree import parse
from csbsctl.errors import ConfigError

MINIMAL = """\
version: 1
vault: ./vault
providers: {default: {type: local, path: ./cloud}}
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: 3}
"""


def test_the_smallest_configuration_gets_every_default(folder):
    loaded = folder.load(MINIMAL)
    gold = loaded.declared.policies["gold"]
    assert (loaded.stack, loaded.vault.url, loaded.moved) == ("default", "./vault", ())
    assert loaded.providers["default"].type == "local"
    assert loaded.providers["default"].settings == {"path": "./cloud"}
    assert gold.schedule.start_within == timedelta(hours=4)
    assert loaded.declared.guardrails.keep_last_good == 1
    assert loaded.canonical == loaded.declared.canonical()
    assert loaded.root == folder.path
    assert loaded.files == (Path("csbs.yaml"),)


def test_a_vault_is_a_text_or_a_mapping(folder):
    text = MINIMAL.replace("./vault", "{url: s3://b/p, encryption: {key_file: k}}")
    vault = folder.load(text).vault
    assert vault.url == "s3://b/p"
    assert vault.encryption is not None
    assert vault.encryption.key_file == "k"


def test_words_of_yaml_1_1_are_text(folder):
    text = MINIMAL + "bindings:\n  b: {policy: gold, match: {metadata: {backup: on, rack: no, 1: y}}}\n"
    match = folder.load(text).declared.bindings["b"].match
    assert match is not None
    assert match.metadata == {"backup": "on", "rack": "no", "1": "y"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None), ("", None), ("true", True), ("False", False), ("yes", "yes"), ("0o17", 15), ("0x1F", 31),
        ("017", 17), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), (".inf", float("inf")), ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"), ("'1'", "1"), ("!!str 1", "1"), ("-", [None]),
    ],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_2_says(text, value):
    assert parse(Source(Path("x"), "x", f"a: {text}\n" if text != "-" else "a:\n  -\n")).value == {"a": value}


def test_anchors_and_merge_keys_work_and_own_keys_win(folder):
    text = """\
x-common: &common {timezone: Europe/Berlin, start_within: 1h}
policies:
  gold:
    schedule: {at: ["02:00"], <<: *common, start_within: 2h}
    retention: &keep {count: 3}
  silver:
    schedule: {<<: [{spread: 5m}, *common], at: ["03:00"]}
    retention: *keep
"""
    policies = folder.load(text).declared.policies
    assert policies["gold"].schedule.timezone == "Europe/Berlin"
    assert policies["gold"].schedule.start_within == timedelta(hours=2)
    assert policies["silver"].schedule.spread == timedelta(minutes=5)
    assert policies["silver"].retention.count == 3


def test_keys_that_start_with_x_are_ignored_where_keys_have_meaning(folder):
    text = MINIMAL.replace("  gold:\n", "  x-base: [anything]\n  gold:\n    x-note: {a: 1}\n")
    text += "bindings:\n  b: {policy: gold, match: {metadata: {x-tier: web}}}\nx-more: 1\n"
    loaded = folder.load(text)
    assert list(loaded.declared.policies) == ["gold"]
    match = loaded.declared.bindings["b"].match
    assert match is not None
    assert match.metadata == {"x-tier": "web"}


def test_included_files_merge_and_lists_join(folder):
    folder.write("policies: {silver: {schedule: {at: ['03:00']}, retention: {days: 1}}}\n", "conf.d/b.yaml")
    folder.write(
        "bindings: {b: {policy: silver, servers: [a]}}\nmoved: [{from: policy.old, to: policy.gold}]\n",
        "conf.d/a.yaml",
    )
    folder.write("not: read\n", "conf.d/c.txt")
    loaded = folder.load(
        MINIMAL + "include: [conf.d/*.yaml]\nmoved: [{from: policy.older, to: policy.silver}]\n"
    )
    assert set(loaded.declared.policies) == {"gold", "silver"}
    assert [move.from_address for move in loaded.moved] == ["policy.older", "policy.old"]
    assert [str(path) for path in loaded.files] == ["csbs.yaml", "conf.d/a.yaml", "conf.d/b.yaml"]
    assert str(loaded.place("policy.silver")) == "conf.d/b.yaml:1:12"


def test_a_name_declared_in_two_files_shows_both_places(folder):
    folder.write("policies:\n  gold: {schedule: {at: ['03:00']}, retention: {days: 1}}\n", "more.yaml")
    [problem] = folder.problems(MINIMAL + "include: more.yaml\n")
    assert str(problem.place) == "more.yaml:2:3"
    assert [str(place) for place in problem.related] == ["csbs.yaml:5:3"]


def test_problems_of_all_files_come_together_in_order(folder):
    folder.write("bindings:\n  b: {policy: gould, servers: [a]}\n", "a.yaml")
    folder.write("objectives:\n  o: {rpo: 1h}\n", "b.yaml")
    assert folder.said(MINIMAL.replace("count: 3", "count: many") + "include: ['?.yaml']\n") == [
        "csbs.yaml:7:24 policies.gold.retention.count: expected a whole number, got 'many'",
        "a.yaml:2:15 binding 'b' names the policy 'gould', which is not declared",
        "b.yaml:2:3 objectives.o needs `match`",
    ]


def test_an_unreadable_include_hides_no_problem_and_invents_none(folder):
    folder.write("a: [\n", "a.yaml")
    said = folder.said(MINIMAL + "bindings: {b: {policy: elsewhere, servers: [a]}}\ninclude: a.yaml\n")
    assert len(said) == 1
    assert said[0].startswith("a.yaml:2:1 not valid YAML")


def test_places_are_found_for_addresses_and_paths(folder):
    loaded = folder.load(MINIMAL + "guardrails: {weakens: deny}\n")

    def at(*path):
        place = loaded.place(*path)
        return place and (place.line, place.column)

    assert at("policy.gold") == (5, 3)
    assert at("policy.gold", "retention", "count") == (7, 24)
    assert at("policy.gold", "schedule", "at", 0) == (6, 21)
    assert at("policy.gold", "schedule", "timezone") == (6, 5)
    assert at("guardrails", "weakens") == (8, 23)
    assert at("provider.default", "path") == (3, 42)
    assert at("policy.none") is None
    assert at("nonsense") is None


def test_the_digest_follows_the_meaning_and_not_the_spelling(folder):
    digest = folder.load(MINIMAL).digest
    assert folder.load("# note\n" + MINIMAL.replace('"02:00"', "'02:00'")).digest == digest
    assert folder.load(MINIMAL.replace("count: 3", "count: 4")).digest != digest
    assert folder.load(MINIMAL.replace("./cloud", "./other")).digest != digest


def test_paths_are_shown_as_the_user_would_type_them(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "csbs.yaml").write_text("stak: x\n")
    for here, typed, shown in (
        (tmp_path, Path("deep"), "deep/csbs.yaml"),
        (tmp_path, tmp_path / "deep", "deep/csbs.yaml"),
        (tmp_path / "deep" / "er", Path(".."), "../csbs.yaml"),
    ):
        monkeypatch.chdir(here)
        with pytest.raises(ConfigError) as raised:
            load(typed, environ={})
        assert raised.value.diagnostics[0].place.file == shown


def test_moves_lead_from_what_is_gone_to_what_is_declared(folder):
    loaded = folder.load(MINIMAL + "moved: [{from: policy.old, to: policy.gold}]\n")
    assert (loaded.moved[0].from_address, loaded.moved[0].to_address) == ("policy.old", "policy.gold")
