"""Two stacks whose rules reach one server: exactly one of them backs it up, and the other says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.protection.runner import Runner

if TYPE_CHECKING:
    from tests.protection.conftest import World


def ruled(policy: str, binding: str, **match: str) -> dict[str, Any]:
    return {
        "policies": {policy: {"schedule": {"at": ["02:00"]}, "retention": {"count": 1}}},
        "bindings": {binding: {"policy": policy, "match": match}},
    }


def made_for(world: World, server: Any) -> list[str | None]:
    return [backup.policy for backup in world.backups(server)]


@pytest.mark.parametrize("order", [("default", "other"), ("other", "default")])
def test_a_server_that_rules_of_two_stacks_find_is_the_older_bindings(world: World, order: tuple[str, str]):
    forms = {"default": ruled("gold", "web", name="web-*"), "other": ruled("iron", "all", name="*-01")}
    for stack in order:
        world.declare(forms[stack], stack=stack)
        world.clock.advance(timedelta(minutes=1))
    server = world.server("web-01")
    world.clock.move_to(world.night(1))
    for stack in reversed(order):  # whoever runs first, the older binding has it
        world.run(stack=stack)
    expected = "gold" if order[0] == "default" else "iron"
    assert made_for(world, server) == [expected]
    (left,) = world.events("server.left")
    assert (left.server, left.stack) == ("web-01", order[0])  # type: ignore[attr-defined]


def test_a_server_that_an_apply_recorded_stays_with_that_stack_though_its_binding_is_younger(world: World):
    server = world.server("web-01")
    world.declare(ruled("iron", "all", name="*-01"), stack="other")
    world.clock.advance(timedelta(minutes=1))
    world.declare(ruled("gold", "web", name="web-*"), members={"web": {server.id: "web-01"}})
    world.run(world.night(1), stack="other")
    world.run()
    assert made_for(world, server) == ["gold"]


def test_the_stack_that_leaves_a_server_alone_prunes_none_of_its_backups_and_says_so_once(world: World):
    server = world.server("web-01")
    world.declare(ruled("gold", "web", name="web-*"))
    for number in (0, 1):
        world.run(world.night(number))
    assert len(world.backups(server)) == 1
    world.declare(ruled("iron", "all", name="*-01"), stack="other", members={"all": {server.id: "web-01"}})
    runner = Runner(world.site)
    for number in (2, 3):
        world.clock.move_to(world.night(number))
        assert runner.once().failed == 0
    assert made_for(world, server) == ["gold"]
    assert len(world.events("server.left")) == 1
