"""Every rule of the table of attributes, both ways."""

from __future__ import annotations

import pytest

from csbsctl.model.declared import Binding, Expect, Guardrails, Match, Objective
from csbsctl.model.plan import ChangeClass
from csbsctl.model.policy import Policy, Retention, Schedule
from csbsctl.rules.classes import RULES, classify, classify_members, worst


def policy(**changes):
    schedule = Schedule(
        at=("02:00",), **{k: changes.pop(k) for k in ("start_within", "spread") if k in changes}
    )
    retention = changes.pop("retention", Retention(count=7))
    return Policy(schedule=schedule, retention=retention, **changes).canonical()


def binding(**changes):
    return Binding(**({"policy": "gold", "servers": ("a",)} | changes)).canonical()


def objective(**changes):
    return Objective(**({"match": Match(name="web-*")} | changes)).canonical()


def guardrails(**changes):
    return Guardrails.model_validate(changes).canonical()


def access(*grants):
    return {"access": [dict(zip(("principal", "role"), grant, strict=True)) for grant in grants]}


WEAKENINGS = [
    ("policy", "enabled", policy(), policy(enabled=False)),
    ("policy", "consistency", policy(consistency="application"), policy(consistency="crash")),
    ("policy", "consistency", policy(), policy(consistency="none")),
    ("policy", "instant_restore", policy(instant_restore=True), policy()),
    ("policy", "start_within", policy(start_within="4h"), policy(start_within="30m")),
    ("policy", "permanent", policy(retention=Retention(permanent=True)), policy()),
    ("binding", "servers", binding(servers=("a", "b")), binding(servers=("a",))),
    ("binding", "exclude", binding(), binding(exclude=("x",))),
    ("binding", "match", binding(match=Match(name="web-*")), binding()),
    ("binding", "match", binding(match=Match(name="web-*")), binding(match=Match(name="web-0*"))),
    ("binding", "match", binding(match=Match(tags=("a",))), binding(match=Match(tags=("a", "b")))),
    (
        "binding",
        "match",
        binding(match=Match(name="*")),
        binding(match=Match(name="*", availability_zone="z")),
    ),
    ("binding", "provider", binding(), None),
    ("binding", "expect", binding(expect=Expect(min=3)), binding(expect=Expect(min=1))),
    ("binding", "expect", binding(expect=Expect(max=3)), binding()),
    ("binding", "image_backed_root", {**binding(), "image_backed_root": "snapshot"}, binding()),
    ("objective", "rpo", objective(rpo="26h"), objective(rpo="48h")),
    ("objective", "rpo", objective(rpo="26h"), objective()),
    ("objective", "protected", objective(protected="required"), objective()),
    ("objective", "match", objective(), objective(match=Match(name="web-*", tags=("x",)))),
    (
        "guardrails",
        "max_backups_deleted",
        guardrails(max_backups_deleted=0),
        guardrails(max_backups_deleted=5),
    ),
    ("guardrails", "max_backups_deleted", guardrails(max_backups_deleted=0), guardrails()),
    ("guardrails", "limits_on_classes", guardrails(weakens="deny"), guardrails(weakens="warn")),
    ("guardrails", "limits_on_classes", guardrails(**{"destroys-data": "deny"}), guardrails()),
    ("guardrails", "keep_last_good", guardrails(keep_last_good=3), guardrails()),
    ("access", "grants", access(), access(("user:eve", "administrator"))),
    ("access", "grants", access(), access(("user:eve", "custom"))),
]
WEAKENINGS = [
    (kind, rule, before, after if after is not None else binding(provider="beijing"))
    for kind, rule, before, after in WEAKENINGS
]


@pytest.mark.parametrize(("kind", "rule", "before", "after"), WEAKENINGS)
def test_a_weakening_is_seen_and_named(kind, rule, before, after):
    found = classify(f"{kind}.x", before, after)
    assert found.change_class is ChangeClass.WEAKENS
    assert [j.rule for j in found.judgements] == [f"{kind}.{rule}"]
    assert all(found.reasons)


@pytest.mark.parametrize(
    ("kind", "rule", "before", "after"), [case for case in WEAKENINGS if case[1] != "provider"]
)
def test_the_way_back_strengthens(kind, rule, before, after):
    found = classify(f"{kind}.x", after, before)
    assert found.change_class is ChangeClass.STRENGTHENS
    assert [j.rule for j in found.judgements] == [f"{kind}.{rule}"]


def test_every_rule_of_the_table_is_tested():
    rules = {(kind, rule.__name__.strip("_")) for kind, found in RULES.items() for rule in found}
    assert rules == {(kind, rule) for kind, rule, _, _ in WEAKENINGS}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("policy", policy(), "policy x goes: it takes no more backups; those it made stay"),
        ("binding", binding(), "binding x goes: its servers lose their policy; their backups stay"),
        ("objective", objective(), "objective x goes: nobody is told any more when it is not met"),
    ],
)
def test_what_comes_strengthens_and_what_goes_weakens(kind, value, reason):
    assert classify(f"{kind}.x", None, value).change_class is ChangeClass.STRENGTHENS
    gone = classify(f"{kind}.x", value, None)
    assert gone.change_class is ChangeClass.WEAKENS
    assert gone.reasons == (reason,)


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        ("policy.x", policy(), policy(description="words", tags={"a": "b"}, spread="10m", full_every=7)),
        ("policy.x", policy(), policy(retention=Retention(count=3))),
        ("binding.x", binding(), binding(policy="silver")),
        ("binding.x", binding(), binding(rebind=True)),
        ("access", access(), access(("user:ann", "viewer"), ("user:bob", "operator"))),
        ("guardrails", None, guardrails()),
        ("policy.x", None, None),
    ],
)
def test_what_no_rule_looks_at_is_neutral(address, before, after):
    assert classify(address, before, after).change_class is ChangeClass.NEUTRAL


def test_a_match_that_cannot_be_compared_counts_as_weaker():
    found = classify("binding.x", binding(match=Match(name="web-*")), binding(match=Match(name="*-web")))
    assert found.change_class is ChangeClass.WEAKENS
    assert "may not fit" in found.reasons[0]


def test_a_match_with_every_server_is_wider_than_any_pattern():
    found = classify("binding.x", binding(match=Match(name="web-[12]")), binding(match=Match(name="*")))
    assert found.change_class is ChangeClass.STRENGTHENS


def test_losing_a_server_weakens_whatever_is_gained():
    found = classify_members({"1": "a", "2": "b"}, {"2": "b", "3": "c"})
    assert found.change_class is ChangeClass.WEAKENS
    assert found.reasons == ("a will have no policy",)
    assert classify_members({}, {"3": "c"}).change_class is ChangeClass.STRENGTHENS
    assert classify_members({"1": "a"}, {"1": "renamed"}).change_class is ChangeClass.NEUTRAL


def test_danger_counts_over_all_and_strengthening_over_no_effect():
    strengthens, neutral, weakens, destroys = ChangeClass
    assert worst([neutral, weakens, strengthens, destroys]) is destroys
    assert worst([strengthens, weakens]) is weakens
    assert worst([neutral, strengthens]) is strengthens
    assert worst([]) is neutral
