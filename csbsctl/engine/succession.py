"""The state of a stack after an apply: what is in force, since when, and whom each binding reached.

A slot is due only after the commit that brought its policy and its server together; ``since`` is that memory. It is
kept where nothing changed, and starts anew where a policy was created, enabled or given other slots, a binding got
another policy, or a server was added to a binding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from csbsctl.engine.addresses import Canonical, differing, empty, look_up, put
from csbsctl.model.control import StackState

Members = Mapping[str, Mapping[str, str]]
"""Binding -> server id -> server name."""


def fresh() -> StackState:
    """Return the state of a stack that has never been applied."""
    return StackState(live=empty(), applied=empty())


def succeed(
    state: StackState,
    wanted: Canonical,
    *,
    members: Members,
    joined: Members,
    now: datetime,
    targets: tuple[str, ...] = (),
) -> StackState:
    """Return the state after wanted came into force at ``now``; ``state`` has its objects moved already.

    ``members`` is whom each binding reaches from now on, ``joined`` those of them that a changed binding added.
    With ``targets`` only these addresses count as applied; elsewhere live edits and their record stay.
    """
    return replace(
        state,
        live=wanted,
        applied=_applied(state.applied, wanted, targets),
        since=_still_bound(_since(state, wanted, joined, now), members),
        anchors=_anchors(state, wanted, now),
        members={name: dict(reached) for name, reached in members.items()},
        edits={address: edit for address, edit in state.edits.items() if targets and address not in targets},
        former={name: names for name, names in state.former.items() if name in wanted["policies"]},
        reused=_reused(state, wanted, now),
    )


def reconsider(state: StackState, live: Canonical, now: datetime) -> StackState:
    """Return the state with another live form, for a live edit: instants follow, what was applied stays."""
    since = _since(state, live, {}, now)
    return replace(
        state,
        live=live,
        since=since,
        anchors=_anchors(state, live, now),
        reused=_reused(state, live, now),
    )


def _reused(state: StackState, wanted: Canonical, now: datetime) -> dict[str, datetime]:
    """Return since when the former names of policies are those of others."""
    again = {
        old: now
        for name, olds in state.former.items()
        for old in olds
        if old != name and old in wanted["policies"]
    }
    return again | state.reused


def _applied(applied: Canonical, wanted: Canonical, targets: tuple[str, ...]) -> Canonical:
    if not targets:
        return wanted
    for address in targets:
        applied = put(applied, address, look_up(wanted, address))
    return applied


def _since(state: StackState, wanted: Canonical, joined: Members, now: datetime) -> dict[str, datetime]:
    gone = set()
    started = {}
    for address, before, after in differing(state.live, wanted):
        if after is None:
            gone.add(address)
        elif _starts_anew(address, before, after):
            started[address] = now
    since = {
        key: instant for key, instant in state.since.items() if key.partition("/")[0] not in gone
    } | started
    for binding, servers in joined.items():
        if binding in state.live.get("bindings", {}):
            since.update({f"binding.{binding}/{server}": now for server in servers})
    return since


def _still_bound(since: dict[str, datetime], members: Members) -> dict[str, datetime]:
    kept = {}
    for key, instant in since.items():
        binding, slash, server = key.removeprefix("binding.").partition("/")
        if not slash or server in members.get(binding, ()):
            kept[key] = instant
    return kept


def _starts_anew(address: str, before: Canonical | None, after: Canonical) -> bool:
    if before is None:
        return True
    if address.startswith("policy."):
        return bool(after["enabled"] and not before["enabled"]) or _slots(before) != _slots(after)
    if address.startswith("binding."):
        return bool(before["policy"] != after["policy"] or before["provider"] != after["provider"])
    return False


def _anchors(state: StackState, wanted: Canonical, now: datetime) -> dict[str, datetime]:
    anchors = {}
    for name, policy in wanted["policies"].items():
        before = state.live.get("policies", {}).get(name)
        counted = before is not None and _cadence(before) == _cadence(policy)
        anchors[name] = state.anchors.get(name, now) if counted else now
    return anchors


def _slots(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides when a policy's slots are; how late and how staggered they start changes none of them."""
    return {key: value for key, value in policy["schedule"].items() if key not in {"start_within", "spread"}}


def _cadence(policy: Mapping[str, Any]) -> str:
    """Return what kind of counting a schedule does: an edited count keeps its anchor, a new kind starts one."""
    schedule = policy["schedule"]
    return "days" if "every_days" in schedule else "rule" if "rrule" in schedule else "week"
