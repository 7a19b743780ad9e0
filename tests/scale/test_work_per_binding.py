"""What a plan does for one more binding, counted in calls of functions: a figure that no busy machine changes."""

from __future__ import annotations

import json
import sys

import pytest

FEW, MANY = 20, 220

CALLS = 500
"""More than a new binding takes (130 to 140), less than with its policy's future lived for it once more (2,000)."""


def configuration(bindings: int) -> str:
    head = ["version: 1", "stack: shop", "vault: ./vault", "providers: {default: {type: local}}", "policies:"]
    policies = [f'  p{n}: {{schedule: {{at: ["02:00"]}}, retention: {{count: 7}}}}' for n in range(10)]
    bound = [f"  b{n}: {{policy: p{n % 10}, servers: [s{n}]}}" for n in range(bindings)]
    return "\n".join([*head, *policies, "bindings:", *bound, ""])


def calls_of(csbsctl, *words: str) -> int:
    """Return how many Python functions a command calls."""
    count = 0

    def counting(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    earlier = sys.getprofile()
    sys.setprofile(counting)
    try:
        csbsctl(*words)
    finally:
        sys.setprofile(earlier)
    return count


@pytest.mark.parametrize("command", [("plan",), ("apply", "--yes")])
def test_a_further_binding_of_a_known_policy_costs_little(csbsctl, command):
    servers = csbsctl.folder / "servers.jsonl"
    servers.write_text("".join(json.dumps({"name": f"s{n}", "disks": ["1M"]}) + "\n" for n in range(MANY)))
    csbsctl.write(configuration(FEW))
    csbsctl("sim", "server", "load", str(servers))
    csbsctl("vault", "init")
    csbsctl("plan")  # imports, caches
    few = calls_of(csbsctl, *command)
    csbsctl.write(configuration(MANY))
    many = calls_of(csbsctl, *command)
    assert FEW < few < many
    assert (many - few) / (MANY - FEW) < CALLS
