from __future__ import annotations

import pytest

from csbsctl.config.starter import starter, starter_from_live
from csbsctl.model.server import Server, ServerState


def server(name, identity=None, **metadata):
    return Server(identity or f"id-{name}", name, "default", ServerState.ACTIVE, metadata=metadata)


@pytest.mark.parametrize("provider", ["local", "openstack"])
def test_a_starter_loads_as_it_is(folder, provider):
    loaded = folder.load(starter(provider))
    assert loaded.providers["default"].type == provider
    assert loaded.declared.policies["daily"].retention.count == 30


def test_servers_are_bound_by_the_metadata_that_groups_them(folder):
    servers = [
        server("web-1", tier="web", serial="1"), server("web-2", tier="web", serial="2"), server("db", tier="db", serial="3"),
        server("lonely"),
    ]  # fmt: skip
    bindings = folder.load(starter_from_live("local", servers)).declared.bindings
    assert {name: binding.match and binding.match.metadata for name, binding in bindings.items()} == {
        "web": {"tier": "web"}, "db": {"tier": "db"}, "servers": None,
    }  # fmt: skip
    assert bindings["servers"].servers == ("lonely",)


def test_names_that_several_servers_have_are_replaced_by_ids(folder):
    servers = [server("twin", "id-1"), server("twin", "id-2"), server("other")]
    assert folder.load(starter_from_live("local", servers)).declared.bindings["servers"].servers == (
        "other", "id-1", "id-2",
    )  # fmt: skip


def test_odd_names_survive_quoting(folder):
    names = ["02:00", "no", "{{ x }}", "a: b # c", 'q"q', "naïve", "- x", "7", "line\nbreak"]
    servers = [*map(server, names), server("m1", **{"x y": "a b"}), server("m2", **{"x y": "a b"})]
    bindings = folder.load(starter_from_live("openstack", servers)).declared.bindings
    assert sorted(bindings["servers"].servers) == sorted(names)
    assert bindings["a-b"].match.metadata == {"x y": "a b"}


def test_a_cloud_without_servers_gives_the_plain_starter():
    assert starter_from_live("local", []) == starter("local")


def test_the_cloud_that_was_looked_at_is_written_down(folder):
    text = starter_from_live("openstack", [server("web-01")], "prod: east")
    assert folder.load(text).providers["default"].settings["cloud"] == "prod: east"
