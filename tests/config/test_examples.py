from __future__ import annotations

from pathlib import Path

import pytest

from csbsctl.config import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("folder", "stack", "policies"),
    [
        ("small-team", "shop", {"nightly", "database"}),
        ("platform-team/network", "network-production", {"gateways"}),
        ("platform-team/shop", "shop-production", {"standard", "critical"}),
        ("monorepo", "monorepo", {"standard", "checkout-hourly"}),
    ],
)
def test_every_example_loads(folder, stack, policies):
    shared = [EXAMPLES / "platform-team" / "production.vars.yaml"] if "platform" in folder else []
    loaded = load(EXAMPLES / folder, var_files=shared, environ={})
    assert loaded.stack == stack
    assert set(loaded.declared.policies) == policies
