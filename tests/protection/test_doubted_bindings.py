"""A rule that reaches more or fewer servers than its binding expects is not believed: nothing changes for anybody."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.protection.conftest import World


def expecting(**expect: int) -> dict[str, Any]:
    return {
        "policies": {
            "gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 1}},
            "iron": {"schedule": {"at": ["02:00"]}, "retention": {"count": 1}},
        },
        "bindings": {
            "web": {"policy": "gold", "match": {"name": "web-*"}, "expect": expect},
            "db": {"policy": "iron", "match": {"name": "db-*"}},
        },
    }


def slots(world: World, server: Any) -> int:
    return sum(1 for backup in world.backups(server) if backup.policy)


def test_known_servers_go_on_new_ones_wait_and_other_bindings_are_not_held_up(world: World):
    known, recent, other = world.server("web-01"), world.server("web-02"), world.server("db-01")
    world.declare(expecting(max=2), members={"web": {known.id: "web-01"}})
    assert world.run(world.night(1)).failed == 0
    newest = world.server("web-03")
    summary = world.run(world.night(2))
    assert (summary.succeeded, summary.failed, summary.deleted) == (3, 1, 1)  # pruned: only db-01
    # The one that no apply recorded, but that a run has protected before, goes on as well.
    assert [slots(world, server) for server in (known, recent, newest, other)] == [2, 2, 0, 1]
    (event,) = world.events("binding.doubted")
    assert "more than the 2 it expects" in event.to_json()["reason"]
    assert event.to_json()["server"] is None


@pytest.mark.parametrize("recorded", [True, False])
def test_servers_that_a_rule_no_longer_finds_are_not_let_go_of_while_it_finds_too_few(
    world: World, *, recorded: bool
):
    server = world.server("web-01")
    world.declare(expecting(min=1), members={"web": {server.id: "web-01"}} if recorded else None)
    world.run(world.night(1))
    with world.cloud.cloud.database.change() as connection:
        connection.execute("UPDATE servers SET name = 'renamed' WHERE id = ?", (server.id,))
    summary = world.run(world.night(2))
    assert (summary.succeeded, summary.failed, summary.deleted) == (1, 1, 0)
    assert slots(world, server) == 2


def test_a_rule_that_reaches_what_it_expects_again_is_believed_again(world: World):
    server = world.server("web-01")
    world.declare(expecting(min=2), members={"web": {server.id: "web-01"}})
    assert world.run(world.night(1)).failed == 1
    second = world.server("web-02")
    summary = world.run(world.night(2) + timedelta(minutes=1))
    assert (summary.succeeded, summary.failed, summary.deleted) == (2, 0, 1)
    assert slots(world, second) == 1


def test_known_servers_go_on_under_a_doubted_rule_when_the_record_of_one_is_damaged(world: World):
    hurt, other = world.server("web-01"), world.server("web-02")
    world.declare(expecting(max=2))
    world.run(world.night(1))
    world.damage_record(hurt)
    world.server("web-03")
    summary = world.run(world.night(2))
    assert (summary.succeeded, summary.deleted) == (1, 0)
    assert summary.failed >= 1
    assert slots(world, other) == 2
