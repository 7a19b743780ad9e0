from __future__ import annotations

from csbsctl.engine import Desired
from csbsctl.engine.traces import traces

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
SHOP = {
    "policies": {"gold": GOLD},
    "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}},
    "guardrails": {"weakens": "warn"},
}


def test_every_change_leaves_an_event_under_its_trace_name(world):
    names = {trace.resource_id: trace.name for trace in traces(world.plan(SHOP).plan, 1)}
    assert names == {
        "policy.gold": "createBackupPolicy",
        "binding.web": "bindResources",
        "guardrails": "updateBackupPolicy",
    }
    world.apply(SHOP)
    gone = {trace.name for trace in traces(world.plan(Desired.nothing("shop")).plan, 2)}
    assert gone == {"deleteBackupPolicy", "bindResources", "updateBackupPolicy"}


def test_an_update_says_what_changed(world):
    world.apply(SHOP)
    less = {**SHOP, "policies": {"gold": {**GOLD, "retention": {"count": 7}}}}
    (trace,) = traces(world.plan(less).plan, 2)
    assert trace.name == "updateBackupPolicy"
    assert trace.details["paths"] == ["retention.count"]
    assert trace.details["generation"] == 2
