"""Who is in which policy: names, IDs, rules, conflicts, and what happened to the cloud since the last apply."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.model.declared import Binding, Expect, Match
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.rules.inventory_index import InventoryIndex
from csbsctl.rules.matching import assign, matches


def server(name, server_id=None, *, provider="default", shared=False, **fields):
    volume = Volume(f"vol-{name}", f"{name}-root", 2**30, bootable=True, shared=shared)
    return Server(server_id or f"id-{name}", name, provider, ServerState.ACTIVE, (volume,), **fields)


WEB = [
    server(f"web-{n:02}", metadata={"tier": "web"}, tags=("prod",), availability_zone="az1")
    for n in range(1, 4)
]
DB = server("db-01", metadata={"tier": "db"}, tags=("prod", "slow"), availability_zone="az2")
INVENTORY = {"default": [*WEB, DB]}


def resolve(inventory=INVENTORY, *, members=None, **bindings):
    return assign(bindings, inventory, members=members or {})


def messages(assignment):
    return [f"{p.address}: {p.message}" for p in assignment.problems]


class TestNamed:
    def test_names_and_ids_are_found(self):
        found = resolve(b=Binding(policy="gold", servers=("web-01", "id-db-01")))
        assert list(found.bound) == ["id-web-01", "id-db-01"]
        assert found.bound["id-web-01"].binding == "b"
        assert found.bound["id-web-01"].policy == "gold"
        assert found.problems == []

    def test_an_id_wins_over_a_name_that_looks_like_it(self):
        inventory = {"default": [server("other", "web"), server("web", "id-1")]}
        assert list(resolve(inventory, b=Binding(policy="gold", servers=("web",))).bound) == ["web"]

    def test_the_same_server_named_twice_is_bound_once(self):
        found = resolve(
            b=Binding(policy="gold", servers=("web-01", "id-web-01", "web-01"), match=Match(name="web-01"))
        )
        assert list(found.bound) == ["id-web-01"]
        assert found.problems == []

    def test_a_name_of_two_servers_is_refused_with_their_ids(self):
        inventory = {"default": [server("web", "id-2"), server("web", "id-1")]}
        found = resolve(inventory, b=Binding(policy="gold", servers=("web",)))
        assert messages(found) == ["binding.b: the name 'web' fits 2 servers: id-1, id-2"]
        assert found.problems[0].path == ("servers", 0)
        assert found.bound == {}

    def test_a_server_that_never_existed_is_an_error_with_a_suggestion(self):
        found = resolve(b=Binding(policy="gold", servers=("web-01", "web-1")))
        assert messages(found) == ["binding.b: there is no server 'web-1' in provider 'default'"]
        assert found.problems[0].path == ("servers", 1)
        assert "did you mean 'web-0" in found.problems[0].hint

    def test_a_provider_without_inventory_is_an_error(self):
        found = resolve(b=Binding(policy="gold", provider="beijing", servers=("web-01",)))
        assert messages(found) == ["binding.b: provider 'beijing' has no inventory"]

    def test_bindings_look_only_at_their_own_provider(self):
        inventory = {"default": [server("a", "id-1")], "beijing": [server("a", "id-2", provider="beijing")]}
        found = resolve(inventory, b=Binding(policy="gold", provider="beijing", servers=("a",)))
        assert list(found.bound) == ["id-2"]

    def test_bindings_of_other_providers_can_be_left_out(self):
        bindings = {
            "here": Binding(policy="gold", servers=("web-01",)),
            "there": Binding(policy="gold", provider="beijing", servers=("x",)),
        }
        found = assign(bindings, INVENTORY, members={}, provider_filter={"default"})
        assert list(found.bound) == ["id-web-01"]
        assert found.problems == []


class TestRules:
    @pytest.mark.parametrize(
        ("match", "expected"),
        [
            (Match(name="web-*"), {"web-01", "web-02", "web-03"}),
            (Match(name="web-0[12]"), {"web-01", "web-02"}),
            (Match(name="*-01"), {"web-01", "db-01"}),
            (Match(name="db-01"), {"db-01"}),
            (Match(name="WEB-*"), set()),
            (Match(metadata={"tier": "web"}), {"web-01", "web-02", "web-03"}),
            (Match(metadata={"tier": "web", "owner": "x"}), set()),
            (Match(tags=("prod",)), {"web-01", "web-02", "web-03", "db-01"}),
            (Match(tags=("prod", "slow")), {"db-01"}),
            (Match(availability_zone="az1"), {"web-01", "web-02", "web-03"}),
            (Match(name="*", metadata={"tier": "db"}, tags=("slow",), availability_zone="az2"), {"db-01"}),
            (Match(name="web-*", tags=("slow",)), set()),
        ],
    )
    def test_every_condition_must_hold(self, match, expected):
        assert {s.name for s in INVENTORY["default"] if matches(match, s)} == expected
        assert {b.server.name for b in resolve(b=Binding(policy="g", match=match)).bound.values()} == expected

    def test_a_rule_that_fits_nobody_is_a_note(self):
        found = resolve(b=Binding(policy="gold", match=Match(name="x-*")))
        assert found.problems == []
        assert [(n.address, n.path) for n in found.notes] == [("binding.b", ("match",))]

    def test_excluded_servers_are_left_out_by_name_or_id(self):
        binding = Binding(policy="gold", match=Match(name="web-*"), exclude=("web-01", "id-web-02", "web-99"))
        assert list(resolve(b=binding).bound) == ["id-web-03"]

    def test_exclude_also_overrides_servers(self):
        assert resolve(b=Binding(policy="gold", servers=("web-01",), exclude=("web-01",))).bound == {}


class TestOnePolicyPerServer:
    def test_two_policies_for_one_server_are_an_error_that_names_all(self):
        found = resolve(
            first=Binding(policy="gold", match=Match(name="web-*")),
            second=Binding(policy="silver", servers=("db-01", "web-02")),
        )
        (message,) = messages(found)
        assert message.startswith(
            "binding.second: server web-02 (id-web-02) is also reached by binding.first: "
        )
        assert message.endswith("it cannot be in policy 'silver' and in policy 'gold'")
        assert found.problems[0].path == ("servers", 1)

    def test_two_bindings_of_one_policy_may_overlap(self):
        found = resolve(
            first=Binding(policy="gold", match=Match(name="web-*")),
            second=Binding(policy="gold", servers=("web-02",)),
        )
        assert found.problems == []
        assert found.bound["id-web-02"].binding == "first"

    def test_exclude_resolves_a_conflict(self):
        found = resolve(
            first=Binding(policy="gold", match=Match(name="web-*"), exclude=("web-02",)),
            second=Binding(policy="silver", servers=("web-02",)),
        )
        assert found.problems == []
        assert found.bound["id-web-02"].policy == "silver"


class TestExpect:
    @pytest.mark.parametrize(
        ("expect", "expected"),
        [
            (Expect(min=3, max=3), []),
            (Expect(min=4), ["binding.b: reaches 3 servers, fewer than the 4 it expects"]),
            (Expect(max=2), ["binding.b: reaches 3 servers, more than the 2 it expects"]),
            (Expect(), []),
        ],
    )
    def test_a_binding_that_reaches_too_few_or_too_many_is_an_error(self, expect, expected):
        assert messages(resolve(b=Binding(policy="g", match=Match(name="web-*"), expect=expect))) == expected


class TestSinceTheLastApply:
    def test_a_named_server_that_is_gone_is_reported_and_no_error(self):
        binding = Binding(policy="gold", servers=("web-01", "web-09"))
        found = resolve(b=binding, members={"b": {"id-web-01": "web-01", "id-web-09": "web-09"}})
        assert found.problems == []
        assert [(g.binding, g.server_id, g.server_name, g.named) for g in found.gone] == [
            ("b", "id-web-09", "web-09", True)
        ]

    def test_a_server_that_is_gone_by_id_is_reported(self):
        found = resolve(b=Binding(policy="gold", servers=("id-x",)), members={"b": {"id-x": "web-09"}})
        assert found.problems == []
        assert [g.server_name for g in found.gone] == ["web-09"]

    def test_a_server_that_is_gone_and_moved_to_another_binding_is_no_error_either(self):
        found = resolve(b=Binding(policy="gold", servers=("web-09",)), members={"old": {"id-x": "web-09"}})
        assert found.problems == []
        assert [g.server_id for g in found.gone] == ["id-x"]

    def test_a_server_that_a_rule_used_to_find_is_reported_as_such(self):
        binding = Binding(policy="gold", match=Match(name="web-*"))
        found = resolve(b=binding, members={"b": {"id-x": "web-09"}})
        assert [(g.server_name, g.named) for g in found.gone] == [("web-09", False)]

    def test_a_server_no_longer_listed_is_not_missed(self):
        binding = Binding(policy="gold", servers=("web-01",))
        assert resolve(b=binding, members={"b": {"id-x": "web-09"}}).gone == []

    def test_a_renamed_server_stays_bound_and_is_reported(self):
        binding = Binding(policy="gold", servers=("old-name",))
        found = resolve(b=binding, members={"b": {"id-web-01": "old-name"}})
        assert found.problems == []
        assert list(found.bound) == ["id-web-01"]
        assert [(r.before, r.after) for r in found.renamed] == [("old-name", "web-01")]

    def test_a_new_server_under_the_old_name_takes_the_place(self):
        found = resolve(b=Binding(policy="gold", servers=("web-01",)), members={"b": {"id-old": "web-01"}})
        assert list(found.bound) == ["id-web-01"]
        assert [g.server_id for g in found.gone] == ["id-old"]

    def test_members_are_what_the_next_apply_remembers(self):
        found = resolve(
            b=Binding(policy="gold", servers=("web-01",)), c=Binding(policy="gold", servers=("db-01",))
        )
        assert found.members() == {"b": {"id-web-01": "web-01"}, "c": {"id-db-01": "db-01"}}


def test_a_server_with_a_shared_disk_is_bound_but_refused_and_the_disk_named():
    found = resolve({"default": [server("web", shared=True)]}, b=Binding(policy="gold", servers=("web",)))
    assert found.problems == []
    assert "web-root" in found.refused["id-web"].reason
    assert found.refused["id-web"].code == "CSBS.6010"


servers = st.lists(
    st.builds(
        lambda name, meta, tags, zone: (name, meta, tags, zone),
        st.text("ab-", min_size=1, max_size=5),
        st.dictionaries(st.sampled_from("xy"), st.sampled_from("12")),
        st.lists(st.sampled_from("pq"), unique=True).map(tuple),
        st.sampled_from([None, "az1", "az2"]),
    ),
    max_size=12,
)
rules = st.builds(
    dict,
    name=st.none() | st.text("ab-*?", min_size=1, max_size=5),
    metadata=st.dictionaries(st.sampled_from("xy"), st.sampled_from("12")),
    tags=st.lists(st.sampled_from("pq"), unique=True).map(tuple),
    availability_zone=st.sampled_from([None, "az1", "az2"]),
).filter(lambda rule: any(rule.values()))


@settings(max_examples=150, deadline=None)
@given(servers, rules)
def test_the_index_finds_exactly_what_looking_at_every_server_finds(facts, rule):
    everyone = [
        server(name, f"id-{n}", metadata=meta, tags=tags, availability_zone=zone)
        for n, (name, meta, tags, zone) in enumerate(facts)
    ]
    match = Match(**rule)
    expected = [
        s
        for s in everyone
        if (match.name is None or fnmatch.fnmatchcase(s.name, match.name))
        and all(s.metadata.get(k) == v for k, v in match.metadata.items())
        and all(tag in s.tags for tag in match.tags)
        and match.availability_zone in (None, s.availability_zone)
    ]
    assert InventoryIndex(everyone).fitting(match) == expected


def test_a_rule_that_bindings_share_reaches_the_same_servers_for_each_and_conflicts_in_another_policy():
    rule = Match(metadata={"tier": "web"})
    found = resolve(
        first=Binding(policy="gold", match=rule),
        again=Binding(policy="gold", match=rule, expect=Expect(min=4)),
        less=Binding(policy="gold", match=rule, exclude=("web-01",), expect=Expect(max=1)),
        other=Binding(policy="iron", match=rule),
    )
    assert {bound.binding for bound in found.bound.values()} == {"first"}
    assert messages(found)[:2] == [
        "binding.again: reaches 3 servers, fewer than the 4 it expects",
        "binding.less: reaches 2 servers, more than the 1 it expects",
    ]
    assert [p.address for p in found.problems[2:]] == ["binding.other"] * 3


class TestImageBacked:
    INVENTORY: ClassVar = {"default": [replace(WEB[0], image_backed_root=True)]}
    ASKING = Binding(policy="gold", match=Match(name="web-*"), image_backed_root="snapshot")
    SILENT = Binding(policy="gold", match=Match(name="web-*"))

    def test_it_is_refused_with_what_to_write_unless_its_binding_takes_an_image(self):
        (refusal,) = resolve(self.INVENTORY, b=self.SILENT).refused.values()
        assert refusal.code == "CSBS.6003"
        assert "`image_backed_root: snapshot`" in refusal.reason
        assert resolve(self.INVENTORY, b=self.ASKING).refused == {}

    @pytest.mark.parametrize("order", [("ASKING", "SILENT"), ("SILENT", "ASKING")])
    def test_one_binding_of_its_policy_that_takes_an_image_is_enough(self, order):
        found = resolve(self.INVENTORY, **{f"b{n}": getattr(self, name) for n, name in enumerate(order)})
        assert (found.problems, found.refused) == ([], {})
        assert not found.bound["id-web-01"].server.image_backed_root
        assert found.bound["id-web-01"].binding == "b0"
