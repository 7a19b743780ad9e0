from __future__ import annotations

from datetime import timedelta

import pytest

from csbsctl.engine import Desired, Executor
from csbsctl.engine.histories import Histories
from csbsctl.engine.rollback import at_generation
from csbsctl.errors import Conflict, GuardrailRefusal, NotFound, Refused, Stale, UsageError
from csbsctl.model.plan import Action

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
WEB = {"policy": "gold", "servers": ["web-01", "web-02"]}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": WEB}}
LAB = {"policies": {"bronze": GOLD}, "bindings": {"db": {"policy": "bronze", "servers": ["db-07"]}}}


def test_a_commit_says_who_when_and_what(world):
    document = world.apply(SHOP).document
    assert (document.generation, document.by, document.stack) == (1, "ann@laptop", "shop")
    assert document.at == world.clock.now()
    assert document.summary == "2 added"


def test_two_plans_on_one_generation_one_wins_and_the_other_is_stale(world):
    first, second = (
        world.plan(SHOP),
        world.plan({**SHOP, "policies": {"gold": {**GOLD, "retention": {"count": 9}}}}),
    )
    world.apply(first)
    with pytest.raises(Stale, match="stack shop changed since"):
        world.apply(second)


def test_what_another_stack_commits_in_between_is_kept(world):
    mine = world.plan(SHOP)
    world.apply(LAB, stack="lab")
    document = world.apply(mine).document
    assert set(document.stacks) == {"shop", "lab"}
    assert document.generation == 2


def test_a_server_that_another_stack_took_in_between_stops_the_apply(world):
    mine = world.plan(SHOP)
    taken = {"policies": {"bronze": GOLD}, "bindings": {"w": {"policy": "bronze", "servers": ["web-01"]}}}
    world.apply(taken, stack="lab")
    with pytest.raises(Exception, match="bound by stack lab"):
        world.apply(mine)


def test_a_race_lost_at_the_commit_is_run_again(world):
    class Slow:
        """A store in which somebody else always commits first, a few times."""

        def __init__(self, control):
            self.control, self.times = control, 3

        def head(self):
            return self.control.head()

        def commit(self, document):
            if self.times:
                self.times -= 1
                stack = f"other-{self.times}"
                world.apply({"policies": {"p": GOLD}}, stack=stack)
                raise Conflict("somebody was first")
            return self.control.commit(document)

    executor = Executor(Slow(world.vault.control), world.clock, "ann")
    applied = executor.apply(world.plan(SHOP))
    assert applied.generation == 4
    assert len(applied.document.stacks) == 4


def test_destroying_a_stack_leaves_no_trace_of_it(world):
    world.apply(SHOP)
    world.apply(LAB, stack="lab")
    proposal = world.plan(Desired.nothing("shop"))
    assert {c.action for c in proposal.plan.changes} == {Action.DELETE}
    assert set(world.apply(proposal).document.stacks) == {"lab"}


def test_since_is_kept_where_nothing_changed_and_starts_anew_where_something_came_into_force(world):
    world.apply(SHOP)
    started = world.clock.now()
    world.clock.advance(timedelta(days=1))
    off = {**SHOP, "policies": {"gold": {**GOLD, "enabled": False}}}
    assert world.apply(off).document.stacks["shop"].since["policy.gold"] == started
    world.clock.advance(timedelta(days=1))
    wider = {**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01", "web-02", "db-07"]}}}
    since = world.apply(wider).document.stacks["shop"].since
    assert since["policy.gold"] == world.clock.now()
    assert since["binding.web"] == started
    assert since["binding.web/id-db-07"] == world.clock.now()
    assert "binding.web/id-web-01" not in since


def test_a_server_that_leaves_a_binding_leaves_its_instant_too(world):
    world.apply(SHOP)
    world.apply({**SHOP, "bindings": {"web": {**WEB, "servers": ["web-01", "web-02", "db-07"]}}})
    since = world.apply(SHOP).document.stacks["shop"].since
    assert "binding.web/id-db-07" not in since


def test_an_edited_cadence_keeps_its_anchor_and_a_new_one_starts_now(world):
    weekly = {"schedule": {"at": ["02:00"], "every_days": 7}, "retention": {"count": 5}}
    first = world.apply({"policies": {"p": weekly}}).document.stacks["shop"].anchors["p"]
    world.clock.advance(timedelta(days=3))
    faster = {**weekly, "schedule": {"at": ["02:00"], "every_days": 5}}
    assert world.apply({"policies": {"p": faster}}).document.stacks["shop"].anchors["p"] == first
    daily = {**weekly, "schedule": {"at": ["02:00"]}}
    world.apply({"policies": {"p": daily}})
    world.clock.advance(timedelta(days=3))
    assert world.apply({"policies": {"p": weekly}}).document.stacks["shop"].anchors["p"] == world.clock.now()


@pytest.mark.parametrize(
    ("schedule", "anew"),
    [
        ({"at": ["03:00"]}, True),
        ({"at": ["02:00"], "timezone": "Asia/Shanghai"}, True),
        ({"at": ["02:00"], "start_within": "8h"}, False),
        ({"at": ["02:00"], "spread": "30m"}, False),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_policy_whose_slots_are_edited_owes_none_from_before_the_edit(world, schedule, anew, live):
    before = world.apply({"policies": {"gold": GOLD}}).document.stacks["shop"].since["policy.gold"]
    world.clock.advance(timedelta(hours=15, minutes=30))
    edited = {**GOLD, "schedule": schedule}
    if live:
        document = world.editor.put("shop", "policy.gold", edited)
    else:
        document = world.apply({"policies": {"gold": edited}}).document
    expected = world.clock.now() if anew else before
    assert document.stacks["shop"].since["policy.gold"] == expected


def test_a_newly_matched_server_is_recorded_by_the_next_apply(world):
    ruled = {**SHOP, "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}}}
    world.apply(ruled)
    world.servers.append(world.server("web-03"))
    proposal = world.plan(ruled)
    assert proposal.plan.empty
    applied = world.apply(proposal)
    assert applied.committed
    assert "id-web-03" in applied.document.stacks["shop"].members["web"]
    # Under a rule a server counts from its own creation, not from the apply that happened to notice it.
    assert "binding.web/id-web-03" not in applied.document.stacks["shop"].since


def test_rolling_back_is_a_plan_toward_an_earlier_generation(world):
    world.apply(SHOP)
    world.apply({"policies": {"gold": {**GOLD, "retention": {"count": 9}}}})
    proposal = world.plan(at_generation(world.vault.control, "shop", 1))
    assert {c.address: c.action for c in proposal.plan.changes} == {
        "policy.gold": Action.UPDATE,
        "binding.web": Action.CREATE,
    }
    world.apply(proposal)
    assert world.plan(SHOP).plan.empty


def test_a_generation_without_the_stack_or_that_is_not_kept_is_no_place_to_go_back_to(world):
    world.apply(LAB, stack="lab")
    with pytest.raises(NotFound, match="did not exist at generation 1"):
        at_generation(world.vault.control, "shop", 1)
    with pytest.raises(NotFound):
        at_generation(world.vault.control, "shop", 7)


def test_a_generation_that_no_longer_validates_is_refused_in_words(world):
    from dataclasses import replace

    world.apply(SHOP)
    head = world.vault.control.head()
    state = head.stacks["shop"]
    bad = {**state.live, "policies": {"gold": {**state.live["policies"]["gold"], "enabled": "perhaps"}}}
    stacks = {"shop": replace(state, live=bad)}
    world.vault.control.commit(replace(head, generation=2, stacks=stacks))
    with pytest.raises(Refused, match=r"generation 2 is not valid.*enabled"):
        at_generation(world.vault.control, "shop", 2)


def test_a_live_edit_changes_what_is_in_force_and_remembers_who(world):
    world.apply(SHOP)
    document = world.editor.set("shop", "policy.gold", ["enabled"], False)
    assert document.generation == 2
    state = document.stacks["shop"]
    assert state.live["policies"]["gold"]["enabled"] is False
    assert state.applied["policies"]["gold"]["enabled"] is True
    (drift,) = world.plan(SHOP).plan.drift
    assert drift.origin == "console: ops, generation 2, 2026-11-22 12:00 UTC"
    (change,) = world.plan(SHOP).plan.changes
    assert (change.paths[0].before, change.paths[0].after) == (False, True)
    world.apply(SHOP)
    assert world.plan(SHOP).plan.drift == ()
    assert world.vault.control.head().stacks["shop"].edits == {}


def test_setting_what_is_set_already_commits_nothing_and_setting_it_back_leaves_no_drift(world):
    world.apply(SHOP)
    assert world.editor.set("shop", "policy.gold", ["enabled"], True).generation == 1
    world.editor.set("shop", "policy.gold", ["enabled"], False)
    world.editor.set("shop", "policy.gold", ["enabled"], True)
    assert world.plan(SHOP).plan.drift == ()
    assert world.vault.control.head().stacks["shop"].edits == {}


def test_an_edit_that_makes_no_sense_is_refused(world):
    world.apply(SHOP)
    with pytest.raises(UsageError, match=r"policy\.gold\.retention"):
        world.editor.set("shop", "policy.gold", ["retention", "count"], 0)
    with pytest.raises(NotFound):
        world.editor.set("shop", "policy.iron", ["enabled"], False)


def test_importing_takes_an_object_over_with_its_history(world):
    world.apply(LAB, stack="lab")
    since = world.vault.control.head().stacks["lab"].since["policy.bronze"]
    world.clock.advance(timedelta(days=5))
    proposal = world.plan(LAB, adopt=["policy.bronze", "binding.db"])
    assert {c.action for c in proposal.plan.changes} == {Action.IMPORT}
    document = world.apply(proposal).document
    assert set(document.stacks) == {"shop"}
    assert document.stacks["shop"].since["policy.bronze"] == since
    assert world.plan(LAB).plan.empty


def test_backups_follow_an_imported_policy_and_no_other_of_the_same_name(world):
    made = {"stack": "lab", "policy": "iron"}
    world.keep(world.backup("db-07", world.clock.now(), **made))
    iron = {"policies": {"iron": LAB["policies"]["bronze"]}}
    bound = {"bindings": {"db": {**LAB["bindings"]["db"], "policy": "iron"}}}
    world.apply({**iron, **bound}, stack="lab")
    key = ("default", "id-db-07")

    def owner(state):
        histories = Histories(world.vault.catalogue, state, "shop")
        return [b.policy for _, backups in histories.each([key]) for b in backups]

    world.apply(iron)
    assert owner(world.vault.control.head().stacks["shop"]) == ["lab/iron"]
    world.apply({"policies": {}})
    proposal = world.plan({**iron, **bound}, adopt=["policy.iron", "binding.db"])
    assert owner(world.apply(proposal).document.stacks["shop"]) == ["iron"]


def test_a_policy_is_not_taken_from_under_its_bindings(world):
    world.apply(LAB, stack="lab")
    with pytest.raises(Refused, match=r"import them as well|no policy"):
        world.plan({"policies": LAB["policies"]}, adopt=["policy.bronze"])


def test_importing_what_is_not_there_or_not_declared_is_refused(world):
    world.apply(LAB, stack="lab")
    with pytest.raises(NotFound):
        world.plan(SHOP, adopt=["policy.iron"])
    with pytest.raises(UsageError, match="not declared"):
        world.plan(SHOP, adopt=["policy.bronze"])


def test_importing_ones_own_edited_object_accepts_what_is_live(world):
    world.apply(SHOP)
    world.editor.set("shop", "policy.gold", ["enabled"], False)
    off = {**SHOP, "policies": {"gold": {**GOLD, "enabled": False}}}
    proposal = world.plan(off, adopt=["policy.gold"])
    assert proposal.plan.drift == ()
    world.apply(proposal)
    assert world.plan(off).plan.drift == ()


def test_guardrails_refuse_unless_allowed_by_name(world):
    guarded = {**SHOP, "guardrails": {"weakens": "deny"}}
    world.apply(guarded)
    less = {**guarded, "bindings": {"web": {**WEB, "servers": ["web-01"]}}}
    with pytest.raises(GuardrailRefusal, match="weakens") as caught:
        world.apply(less)
    assert caught.value.exit_code == 4
    assert "--allow weakens" in caught.value.hint
    assert world.apply(less, allow=("weakens",)).committed


def test_taking_the_guardrail_away_in_the_same_plan_does_not_open_the_door(world):
    world.apply({**SHOP, "guardrails": {"weakens": "deny"}})
    with pytest.raises(GuardrailRefusal):
        world.apply({"policies": {"gold": GOLD}})


def test_a_warning_guardrail_lets_pass_and_says_so(world):
    guarded = {**SHOP, "guardrails": {"weakens": "warn"}}
    world.apply(guarded)
    proposal = world.plan({**guarded, "bindings": {"web": {**WEB, "servers": ["web-01"]}}})
    assert any("guardrail weakens" in note for note in proposal.plan.notes)
    assert world.apply(proposal).committed


@pytest.mark.parametrize("name", ["keep_last_good", "max_backup_deleted", "everything"])
def test_only_guardrails_that_exist_and_may_be_overridden_can_be_allowed(world, name):
    with pytest.raises(UsageError):
        world.apply(SHOP, allow=(name,))


def test_guardrails_are_judged_on_the_backups_of_the_moment(world):
    guarded = {**SHOP, "guardrails": {"max_backups_deleted": 0}}
    world.apply(guarded)
    world.nightly("web-01", 5)
    proposal = world.plan({**guarded, "policies": {"gold": {**GOLD, "retention": {"count": 7}}}})
    assert proposal.verdicts == ()
    world.nightly("web-02", 20)
    with pytest.raises(GuardrailRefusal, match="condemns 13 backups"):
        world.apply(proposal)
