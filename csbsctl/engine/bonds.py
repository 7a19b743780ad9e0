"""Bonds: which server is under which policy, by which binding of which stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.model.control import StackState
from csbsctl.model.declared import Binding
from csbsctl.rules.matching import Assignment, assign


@dataclass(frozen=True, slots=True)
class Bond:
    """One server under one policy by one binding of one stack."""

    name: str
    stack: str
    binding: str
    policy: str


Bonds = Mapping[ServerKey, Bond]


def parse_bindings(bindings: Mapping[str, Any]) -> dict[str, Binding]:
    """Return the typed form of canonical bindings."""
    return {name: Binding.model_validate(value) for name, value in bindings.items()}


def live_bonds(stack: str, state: StackState, situation: Situation) -> dict[ServerKey, Bond]:
    """Return whom a stack's live bindings reach now.

    A binding of named servers reaches whom it did at the last apply, as long as they are all still there.
    """
    bindings = state.live.get("bindings", {})
    servers = situation.servers()
    ruled = {
        n: b
        for n, b in bindings.items()
        if "match" in b
        or n not in state.members
        or f"binding.{n}" in state.edits
        or (
            situation.inventory is not None
            and any((b["provider"], s) not in servers for s in state.members[n])
        )
    }
    bonds: dict[ServerKey, Bond] = {}
    for name, binding in bindings.items():
        if name not in ruled:
            provider, policy = binding["provider"], binding["policy"]
            for server, known in state.members[name].items():
                key = (provider, server)
                if situation.inventory is None or key in servers:
                    bonds[key] = Bond(servers[key].name if key in servers else known, stack, name, policy)
    if ruled and situation.inventory is not None:
        found = assign(parse_bindings(ruled), situation.inventory, members=state.members)
        for key, bond in bonds_of(found, stack).items():
            bonds.setdefault(key, bond)  # a server that two bindings of one policy reach is the named one's
    return bonds


def bonds_of(assignment: Assignment, stack: str) -> dict[ServerKey, Bond]:
    """Return the bonds of an assignment."""
    return {
        (bound.server.provider, bound.server.id): Bond(bound.server.name, stack, bound.binding, bound.policy)
        for bound in assignment.bound.values()
    }
