from __future__ import annotations

from datetime import timedelta

import pytest

from csbsctl.engine.histories import Histories
from csbsctl.errors import ConfigError, NotFound, UsageError
from csbsctl.model.plan import Action

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
WEB = {"policy": "gold", "servers": ["web-01", "web-02"]}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": WEB}}


def actions(proposal):
    return {change.address: change.action.value for change in proposal.plan.changes}


def test_a_first_plan_creates_everything_and_counts_who_becomes_protected(world):
    plan = world.plan(SHOP).plan
    assert {c.address: c.action for c in plan.changes} == {
        "policy.gold": Action.CREATE,
        "binding.web": Action.CREATE,
    }
    assert plan.protected.to_json() == {"before": 0, "after": 2, "servers": 3}
    assert plan.base_generation == 0


def test_planning_writes_nothing(world):
    world.plan(SHOP)
    assert world.vault.control.head().generation == 0


def test_after_an_apply_the_plan_is_empty_and_a_second_apply_commits_nothing(world):
    assert world.apply(SHOP).committed
    assert world.plan(SHOP).plan.empty
    again = world.apply(SHOP)
    assert not again.committed
    assert again.generation == 1


def test_an_update_names_the_paths_that_differ(world):
    world.apply(SHOP)
    gold = {"schedule": {"at": ["02:00", "14:00"]}, "retention": {"days": 90}, "tags": {"team": "shop"}}
    (change,) = world.plan({**SHOP, "policies": {"gold": gold}}).plan.changes
    assert {p.path: (p.before, p.after) for p in change.paths} == {
        "schedule.at": (["02:00"], ["02:00", "14:00"]),
        "retention.count": (30, None),
        "retention.days": (None, 90),
        "tags.team": (None, "shop"),
    }


def test_the_order_of_a_list_that_is_a_set_is_no_change(world):
    world.apply(SHOP)
    turned = {**SHOP, "bindings": {"web": {**WEB, "servers": ["web-02", "web-01"]}}}
    assert world.plan(turned).plan.empty


def test_defaults_written_out_are_no_change(world):
    world.apply(SHOP)
    spelled = {
        **GOLD,
        "enabled": True,
        "schedule": {"at": ["02:00"], "start_within": "4h", "timezone": "UTC"},
    }
    assert world.plan({**SHOP, "policies": {"gold": spelled}}).plan.empty


def test_guardrails_that_say_nothing_have_no_address(world):
    assert "guardrails" not in actions(world.plan({**SHOP, "guardrails": {"keep_last_good": 1}}))
    assert actions(world.plan({**SHOP, "guardrails": {"weakens": "deny"}}))["guardrails"] == "create"


def test_a_renamed_policy_is_moved_and_keeps_its_instants(world):
    world.apply(SHOP)
    before = world.vault.control.head().stacks["shop"]
    world.clock.advance(timedelta(days=3))
    renamed = {"policies": {"platinum": GOLD}, "bindings": {"web": {**WEB, "policy": "platinum"}}}
    proposal = world.plan(renamed, moved={"policy.gold": "policy.platinum"})
    (change,) = proposal.plan.changes
    assert (change.action, change.origin) == (Action.NO_OP, "policy.gold")
    assert not proposal.plan.empty
    after = world.apply(proposal).document.stacks["shop"]
    assert after.since["policy.platinum"] == before.since["policy.gold"]
    assert after.anchors["platinum"] == before.anchors["gold"]
    assert after.former == {"platinum": ["gold"]}
    assert world.plan(renamed, moved={"policy.gold": "policy.platinum"}).plan.empty


def test_a_policy_that_gets_the_former_name_of_another_one_does_not_get_its_backups(world):
    world.apply(SHOP)
    world.nightly("web-01", 3)
    renamed = {"policies": {"platinum": GOLD}, "bindings": {"web": {**WEB, "policy": "platinum"}}}
    world.apply(world.plan(renamed, moved={"policy.gold": "policy.platinum"}))
    world.clock.advance(timedelta(days=1))
    at = world.clock.now()
    db = {"policy": "gold", "servers": ["db-07"]}
    anew = {"policies": {"platinum": GOLD, "gold": GOLD}, "bindings": {**renamed["bindings"], "db": db}}
    world.apply(anew)
    world.clock.advance(timedelta(days=1))
    world.keep(world.backup("db-07", world.clock.now()))
    off = {**anew, "policies": {"platinum": GOLD, "gold": {**GOLD, "enabled": False}}}
    state = world.apply(off).document.stacks["shop"]
    assert state.reused == {"gold": at}
    histories = Histories(world.vault.catalogue, state, "shop")
    owners = {server: {b.policy for b in backups} for (_, server), backups in histories.each()}
    assert owners == {"id-web-01": {"platinum"}, "id-db-07": {"gold"}}


def test_without_moved_a_rename_is_a_destruction_and_a_creation(world):
    world.apply(SHOP)
    renamed = {"policies": {"platinum": GOLD}, "bindings": {"web": {**WEB, "policy": "platinum"}}}
    assert actions(world.plan(renamed)) == {
        "policy.gold": "delete",
        "policy.platinum": "create",
        "binding.web": "update",
    }


def test_a_move_cannot_change_the_type(world):
    world.apply(SHOP)
    with pytest.raises(UsageError, match="a policy stays a policy"):
        world.plan(SHOP, moved={"policy.gold": "binding.gold"})


def test_a_target_brings_its_policy_and_leaves_the_rest_alone(world):
    declared = {
        "policies": {"gold": GOLD, "silver": GOLD},
        "bindings": {"web": WEB, "db": {"policy": "silver", "servers": ["db-07"]}},
    }
    assert actions(world.plan(declared, targets=["binding.db"])) == {
        "policy.silver": "create",
        "binding.db": "create",
    }
    world.apply(declared, targets=["binding.db"])
    assert actions(world.plan(declared)) == {"policy.gold": "create", "binding.web": "create"}


def test_an_unknown_target_is_named(world):
    with pytest.raises(NotFound, match=r"policy\.bronze is neither declared nor live"):
        world.plan(SHOP, targets=["policy.bronze"])


def test_a_server_that_never_existed_is_an_error_and_one_that_is_gone_a_finding(world):
    with pytest.raises(ConfigError, match="web-77"):
        world.plan({**SHOP, "bindings": {"web": {**WEB, "servers": ["web-77"]}}})
    world.apply(SHOP)
    world.servers = [each for each in world.servers if each.name != "web-02"]
    for _ in range(2):  # and it stays one after the next apply
        (finding,) = world.plan(SHOP).plan.findings
        assert "web-02" in finding.message
        assert "gone" in finding.message
        world.apply(SHOP)


def test_all_problems_of_all_bindings_are_told_at_once(world):
    declared = {
        "policies": {"gold": GOLD, "silver": GOLD},
        "bindings": {
            "web": {**WEB, "servers": ["web-77"]},
            "one": {"policy": "gold", "servers": ["db-07"]},
            "two": {"policy": "silver", "servers": ["db-07"]},
        },
    }
    with pytest.raises(ConfigError) as caught:
        world.plan(declared)
    assert len(caught.value.diagnostics) == 2


def test_a_server_of_another_stack_needs_rebind(world):
    world.apply(SHOP)
    other = {"policies": {"bronze": GOLD}, "bindings": {"mine": {"policy": "bronze", "servers": ["web-02"]}}}
    with pytest.raises(ConfigError, match="bound by stack shop"):
        world.plan(other, stack="lab")
    other["bindings"]["mine"]["rebind"] = True
    plan = world.plan(other, stack="lab").plan
    assert plan.protected.before == plan.protected.after, "it is protected there now, and here then"
    (binding,) = (change for change in plan.changes if change.address == "binding.mine")
    (told,) = binding.consequences
    assert (told.kind, told.message) == (
        "changes-stack",
        "web-02 moves from policy gold of stack shop to bronze",
    )
    world.apply(other, stack="lab")
    assert world.plan(other, stack="lab").plan.empty
    (drift,) = world.plan({**SHOP, "bindings": {"web": {**WEB, "rebind": True}}}).plan.drift
    assert drift.address == "binding.web"
    assert "rebind" in drift.origin


def test_of_two_stacks_whose_rules_find_one_new_server_the_first_plans_on_and_the_second_is_told(world):
    def ruled(name, glob):
        return {
            "policies": {name: GOLD},
            "bindings": {name: {"policy": name, "match": {"name": glob}}},
        }

    world.apply(ruled("ours", "web-*"))
    world.clock.advance(timedelta(minutes=1))
    world.apply(ruled("theirs", "*-09"), stack="lab")
    world.servers.append(world.server("web-09"))
    (found,) = world.plan(ruled("ours", "web-*")).plan.findings
    assert (found.severity, found.address) == ("warning", "binding.ours")
    assert "also reached by binding.theirs of stack lab; this stack has it" in found.message
    with pytest.raises(ConfigError, match=r"web-09 is bound by stack shop \(binding.ours\)"):
        world.plan(ruled("theirs", "*-09"), stack="lab")
    # Once the first stack's apply has recorded it, nothing about that changes.
    assert "id-web-09" in world.apply(ruled("ours", "web-*")).document.stacks["shop"].members["ours"]
    with pytest.raises(ConfigError, match="bound by stack shop"):
        world.plan(ruled("theirs", "*-09"), stack="lab")


def test_a_rule_that_fits_nobody_is_a_note(world):
    plan = world.plan({**SHOP, "bindings": {"none": {"policy": "gold", "match": {"name": "x-*"}}}}).plan
    assert [f.severity for f in plan.findings] == ["note"]


def test_without_asking_the_clouds_the_plan_goes_by_the_last_apply(world):
    world.apply(SHOP)
    from csbsctl.engine import Planner

    plan = Planner(world.situation(inventory=None)).plan(world.wish(SHOP)).plan
    assert plan.empty
    assert plan.protected.after == 2
    assert any("--no-refresh" in note for note in plan.notes)


def test_a_clock_that_stands_before_the_last_generation_is_told(world):
    world.apply(SHOP)
    world.clock.advance(timedelta(days=-2))
    assert any("clock" in note for note in world.plan(SHOP).plan.notes)


def test_sensitive_values_are_covered_in_the_plan_and_not_in_the_vault(world):
    from dataclasses import replace

    declared = {**SHOP, "policies": {"gold": {**GOLD, "description": "key hunter2!"}}}
    wish = replace(world.wish(declared), sensitive=frozenset({"hunter2!"}))
    proposal = world.plan(wish)
    assert "hunter2!" not in proposal.plan.model_dump_json()
    state = world.apply(proposal).document.stacks["shop"]
    assert state.live["policies"]["gold"]["description"] == "key hunter2!"
    assert world.plan(wish).plan.empty


def test_entries_of_access_are_paired_whatever_their_order(world):
    ann, bob = {"principal": "user:ann", "role": "operator"}, {"principal": "user:bob", "role": "viewer"}
    world.apply({**SHOP, "access": [ann, bob]})
    assert world.plan({**SHOP, "access": [ann, bob]}).plan.empty
    assert world.plan({**SHOP, "access": [bob, ann]}).plan.empty
    (change,) = world.plan({**SHOP, "access": [bob, {**ann, "role": "administrator"}]}).plan.changes
    assert change.address == "access"
    assert change.change_class.value == "weakens"
    assert [(p.before, p.after) for p in change.paths] == [("operator", "administrator")]
    (gone,) = world.plan({**SHOP, "access": [bob]}).plan.changes
    assert [(p.before, p.after) for p in gone.paths] == [(ann, None)]
