from __future__ import annotations

from dataclasses import replace

import pytest

from csbsctl.engine import Planner, fail_on
from csbsctl.errors import GuardrailRefusal, UsageError
from csbsctl.model.plan import ChangeClass
from csbsctl.provider import Quota

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
WEB = {"policy": "gold", "servers": ["web-01", "web-02"]}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": WEB}}


def gold(**changes):
    return {**SHOP, "policies": {"gold": {**GOLD, **changes}}}


def change_of(world, declared, address="policy.gold"):
    return next(c for c in world.plan(declared).plan.changes if c.address == address)


def told(change, kind):
    return [c.message for c in change.consequences if c.kind == kind]


def test_a_shorter_retention_tells_the_fate_of_every_backup(world):
    world.apply(SHOP)
    for name in ("web-01", "web-02"):
        world.nightly(name, 30)
    change = change_of(world, gold(retention={"count": 7}))
    assert change.change_class is ChangeClass.DESTROYS_DATA
    assert told(change, "backups-expire") == [
        "46 backups of 2 servers (46 GiB) expire at the next run; oldest recovery point 2026-10-24 -> 2026-11-16"
    ]
    (expiry,) = [c for c in change.consequences if c.kind == "backups-expire"]
    assert expiry.details["backups"] == len(expiry.details["fates"]) == 46


def test_the_dangerous_comes_first(world):
    world.apply(SHOP)
    world.nightly("web-01", 30)
    declared = {
        "policies": {"aaa": GOLD, "gold": {**GOLD, "retention": {"count": 7}}},
        "bindings": {"web": {**WEB, "servers": ["web-01"]}},
    }
    ranks = [c.change_class.rank for c in world.plan(declared).plan.changes]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == ChangeClass.DESTROYS_DATA.rank


def test_the_same_count_with_more_runs_a_day_keeps_less_history(world):
    world.apply(SHOP)
    world.nightly("web-01", 30)
    hourly = {"at": [f"{hour:02}:00" for hour in range(24)]}
    assert change_of(world, gold(schedule=hourly)).change_class is ChangeClass.DESTROYS_DATA


def test_enabling_a_long_disabled_policy_prunes_at_once(world):
    world.apply(gold(enabled=False))
    world.nightly("web-01", 40)
    change = change_of(world, SHOP)
    assert change.change_class is ChangeClass.DESTROYS_DATA
    assert told(change, "backups-expire")[0].startswith("10 backups of 1 server")


def test_creating_a_policy_again_prunes_what_it_once_made(world):
    world.nightly("web-01", 40)
    plan = world.plan(gold(retention={"count": 5})).plan
    assert plan.changes[0].change_class is ChangeClass.DESTROYS_DATA
    assert told(plan.changes[0], "backups-expire")[0].startswith("35 backups")


def test_disabling_weakens_and_says_what_stays(world):
    world.apply(SHOP)
    world.nightly("web-01", 5)
    change = change_of(world, gold(enabled=False))
    assert change.change_class is ChangeClass.WEAKENS
    assert "5 backups stay" in told(change, "backups-frozen")[0]


def test_a_longer_gap_weakens_without_any_backup(world):
    world.apply(SHOP)
    change = change_of(world, gold(schedule={"at": ["02:00"], "days": ["mon", "thu"]}))
    assert change.change_class is ChangeClass.WEAKENS


def test_more_of_everything_strengthens(world):
    world.apply(SHOP)
    change = change_of(world, gold(retention={"count": 60}))
    assert change.change_class is ChangeClass.STRENGTHENS


def test_a_description_is_neutral(world):
    world.apply(SHOP)
    assert change_of(world, gold(description="every night")).change_class is ChangeClass.NEUTRAL


def test_servers_that_lose_protection_are_named_with_the_backups_they_keep(world):
    world.apply(SHOP)
    world.nightly("web-02", 14)
    change = change_of(world, {**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01"]}}}, "binding.web")
    assert change.change_class is ChangeClass.WEAKENS
    assert told(change, "loses-protection") == ["web-02 will have no policy; its 14 backups stay"]


def test_leaving_a_provider_behind_says_which_backups_are_out_of_reach(world):
    world.apply(SHOP)
    world.nightly("web-02", 14)
    there = [replace(server, provider="main") for server in world.servers]
    situation = world.situation(inventory={"main": there})
    wish = world.wish({**SHOP, "bindings": {"web": {**WEB, "provider": "main"}}})
    (change,) = Planner(situation).plan(wish).plan.changes
    assert change.change_class is ChangeClass.WEAKENS
    assert told(change, "out-of-reach") == [
        "provider default is not configured any more: 14 backups in it can be neither restored nor deleted until it is"
    ]


def test_a_server_that_only_changes_its_binding_loses_nothing(world):
    world.apply(SHOP)
    split = {"one": {**WEB, "servers": ["web-01"]}, "two": {**WEB, "servers": ["web-02"]}}
    plan = world.plan({**SHOP, "bindings": split}).plan
    assert max(c.change_class.rank for c in plan.changes) <= ChangeClass.NEUTRAL.rank
    assert plan.protected.before == plan.protected.after == 2


def test_moving_to_a_weaker_policy_weakens(world):
    both = {"policies": {"gold": GOLD, "iron": {**GOLD, "retention": {"count": 2}}}}
    world.apply({**both, "bindings": {"web": WEB}})
    change = change_of(world, {**both, "bindings": {"web": {**WEB, "policy": "iron"}}}, "binding.web")
    assert change.change_class is ChangeClass.WEAKENS
    assert "move from policy gold to iron" in told(change, "changes-policy")[0]


def test_next_runs_are_given_in_the_policys_zone_and_in_utc(world):
    zoned = {"policies": {"gold": {**GOLD, "schedule": {"at": ["02:00"], "timezone": "Asia/Shanghai"}}}}
    (message,) = told(change_of(world, zoned), "next-runs")
    assert message.startswith("next runs: 2026-11-23 02:00 CST (18:00 UTC), ")


def test_an_objective_that_the_schedule_cannot_hold_is_told(world):
    slow = {
        "policies": {"gold": {**GOLD, "schedule": {"at": ["02:00"], "every_days": 7}}},
        "bindings": {"web": WEB},
        "objectives": {"prod": {"match": {"name": "web-*"}, "rpo": "26h"}},
    }
    (message,) = told(change_of(world, slow), "objective")
    assert message.startswith("objective prod cannot be held: recovery points are up to 7d apart")


def test_an_objective_names_who_must_be_protected_and_is_not(world):
    declared = {**SHOP, "objectives": {"prod": {"match": {"name": "*"}, "protected": "required"}}}
    change = change_of(world, declared, "objective.prod")
    assert told(change, "objective") == ["db-07 must be protected and is in no policy"]


def test_lowering_keep_last_good_weakens(world):
    world.apply({**SHOP, "guardrails": {"keep_last_good": 5}})
    change = change_of(world, {**SHOP, "guardrails": {"keep_last_good": 2}}, "guardrails")
    assert change.change_class is ChangeClass.WEAKENS


def test_renaming_a_policy_keeps_judging_the_backups_it_made(world):
    world.apply(SHOP)
    world.nightly("web-01", 30)
    renamed = {
        "policies": {"new": {**GOLD, "retention": {"count": 7}}},
        "bindings": {"web": {**WEB, "policy": "new"}},
    }
    plan = world.plan(renamed, moved={"policy.gold": "policy.new"}).plan
    assert told(plan.changes[0], "backups-expire")[0].startswith("23 backups of 1 server")


def test_fail_on_catches_the_class_and_everything_worse(world):
    world.apply(SHOP)
    changes = world.plan({**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01"]}}}).plan.changes
    fail_on(changes, ["destroys-data"])
    for word in ("weakens", "neutral"):
        with pytest.raises(GuardrailRefusal):
            fail_on(changes, [word])
    with pytest.raises(UsageError, match="not a class of change"):
        fail_on(changes, ["weaken"])


def test_the_quota_line_tells_the_peak(world):
    world.quotas = {"default": Quota(backups=100, backups_used=3)}
    assert (
        world.plan(gold(retention={"count": 7})).plan.quota
        == "Quota: backups peak at 17 of 100 on 2026-11-29."
    )
    world.apply(SHOP)
    assert world.plan(SHOP).plan.quota == "Quota: 3 of 100 backups."


def test_an_empty_plan_reads_no_backups(world):
    class Untouchable:
        """A catalogue that nobody may look into."""

        def __getattr__(self, name):
            raise AssertionError(f"{name} was read")

    from csbsctl.engine import Planner

    world.apply(SHOP)
    assert Planner(world.situation(catalogue=Untouchable())).plan(world.wish(SHOP)).plan.empty
