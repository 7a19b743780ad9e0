"""Going back, and taking over what another stack has, through the real command line."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SHOP = """
version: 1
stack: {stack}
vault: ../vault
providers:
  default: {{type: local, path: ../cloud}}
policies:
  gold:
    schedule: {{at: ["02:00"]}}
    retention: {{count: {count}}}
bindings:
  web: {{policy: gold, servers: [{server}]}}
"""


@pytest.fixture
def shop(csbsctl):
    """Return a command line in a stack folder of its own, with one server bound."""
    root = csbsctl.folder
    csbsctl.write(SHOP.format(stack="shop", count=30, server="web-01"), "shop/csbs.yaml")
    csbsctl.folder = root / "shop"
    csbsctl("sim", "server", "create", "web-01", "--disk", "64M")
    csbsctl("apply", "--yes")
    return csbsctl


def retention(csbsctl) -> int:
    return csbsctl("show", "policy.gold", "--json").json["retention"]["count"]


def test_a_rollback_puts_an_earlier_generation_back_in_force(shop):
    shop.write(SHOP.format(stack="shop", count=90, server="web-01"))
    shop("apply", "--yes")
    said = shop("rollback", "1", "--yes")
    assert "Rollback complete! Resources: 0 added, 1 changed, 0 destroyed." in said.out
    assert retention(shop) == 30
    assert shop("history", "--json").json[0]["summary"] == "rolled back to generation 1"
    assert "~ retention.count = 30 -> 90" in shop("plan").out


def test_a_rollback_asks_and_without_an_answer_does_nothing(shop):
    shop.write(SHOP.format(stack="shop", count=90, server="web-01"))
    shop("apply", "--yes")
    assert "no terminal to ask on" in shop("rollback", "1", expect=1).err
    assert retention(shop) == 90


def test_a_rollback_is_held_by_guardrails(shop):
    shop.write(SHOP.format(stack="shop", count=90, server="web-01") + "guardrails: {weakens: deny}\n")
    shop("apply", "--yes")
    assert "weakens" in shop("rollback", "1", "--yes", expect=4).err
    shop("rollback", "1", "--yes", "--allow", "weakens")
    assert retention(shop) == 30


def test_a_rollback_to_a_generation_that_is_not_there_says_which_are(shop):
    said = shop("rollback", "99", "--yes", expect=1)
    assert "generations 1 to 1 are kept" in said.err


def test_a_rollback_to_where_nothing_changed_commits_nothing(shop):
    said = shop("rollback", "1", "--yes", "--json")
    assert said.json["applied"] is False
    assert said.json["generation"] == 1


def test_an_import_moves_objects_between_stacks_in_one_commit(shop):
    other = shop.folder.parent / "web"
    shop.write(SHOP.format(stack="web", count=30, server="web-01"), "../web/csbs.yaml")
    shop.folder = other
    said = shop("import", "policy.gold", "binding.web", "--yes")
    assert "Import complete! Resources: 2 imported, 0 added, 0 changed, 0 destroyed." in said.out
    assert shop("plan", "--detailed-exitcode").code == 0
    shop.folder = other.parent / "shop"
    assert "Plan: 2 to add" in _unbound(shop).out


def _unbound(shop):
    shop.write(SHOP.format(stack="shop", count=30, server="web-02"))
    shop("sim", "server", "create", "web-02", "--disk", "64M")
    return shop("plan")


def test_an_import_of_what_is_not_declared_here_says_to_declare_it(shop):
    shop.write(
        SHOP.format(stack="web", count=30, server="web-01").partition("policies")[0], "../web/csbs.yaml"
    )
    shop.folder = shop.folder.parent / "web"
    assert "declare it first" in shop("import", "policy.gold", "--yes", expect=1).err


def test_an_import_of_ones_own_object_accepts_the_live_edit(shop):
    shop("policy", "disable", "gold")
    shop("import", "policy.gold", "--yes")
    assert shop("show", "policy.gold", "--json").json["enabled"] is False
    assert shop("history", "--json").json[0]["summary"] == "accepted as live: policy.gold"
    assert "~ enabled = false -> true" in shop("plan").out
    assert "changed outside" not in shop("plan").out


def test_a_rollback_past_a_rename_moves_the_policy_back(shop):
    renamed = SHOP.format(stack="shop", count=30, server="web-01").replace("gold", "platinum")
    shop.write(renamed + "moved: [{from: policy.gold, to: policy.platinum}]\n")
    shop("apply", "--yes")
    said = shop("rollback", "1", "--yes")
    assert "policy.platinum has moved to policy.gold" in said.out
    assert "0 added, 0 changed, 0 destroyed" in said.out
    assert retention(shop) == 30
