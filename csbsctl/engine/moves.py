"""Renames (``moved:``): the same object under another name, so that it is neither deleted nor created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from csbsctl.engine.addresses import Canonical, look_up, put, split
from csbsctl.errors import UsageError
from csbsctl.model.control import StackState


def effective_moves(live: Canonical, wanted: Canonical, moved: Mapping[str, str]) -> dict[str, str]:
    """Return the moves that still have something to do: the old address is live, the new one wanted and free.

    Raises:
        UsageError: a move changes the type of an address.
    """
    moves = {}
    for old, new in moved.items():
        if split(old)[0] != split(new)[0]:
            raise UsageError(f"{old} cannot move to {new}: a {split(old)[0]} stays a {split(old)[0]}")
        if look_up(live, old) is not None and look_up(live, new) is None and look_up(wanted, new) is not None:
            moves[old] = new
    return moves


def move(state: StackState, moves: Mapping[str, str]) -> StackState:
    """Return a stack's state as it would be had its objects always had their new names."""
    for old, new in moves.items():
        state = _move_one(state, old, new)
    return state


def _move_one(state: StackState, old: str, new: str) -> StackState:
    kind, old_name = split(old)
    new_name = split(new)[1]
    state = replace(
        state,
        live=_move_in(state.live, old, new),
        applied=_move_in(state.applied, old, new),
        since=_rekey(state.since, lambda key: _moved_address(key, old, new)),
        edits=_rekey(state.edits, lambda key: new if key == old else key),
    )
    if kind == "policy":
        earlier = [*state.former.get(old_name, []), old_name]
        former = {**{key: names for key, names in state.former.items() if key != old_name}, new_name: earlier}
        anchors = _rekey(state.anchors, lambda key: new_name if key == old_name else key)
        return replace(state, anchors=anchors, former=former)
    if kind == "binding":
        members = _rekey(state.members, lambda key: new_name if key == old_name else key)
        return replace(state, members=members)
    return state


def _move_in(form: Canonical, old: str, new: str) -> Canonical:
    value = look_up(form, old)
    if value is None:
        return form
    form = put(put(form, old, None), new, value)
    kind, old_name = split(old)
    if kind != "policy":
        return form
    name = split(new)[1]
    bindings = {
        key: {**binding, "policy": name} if binding["policy"] == old_name else binding
        for key, binding in form.get("bindings", {}).items()
    }
    return {**form, "bindings": bindings}


def _moved_address(address: str, old: str, new: str) -> str:
    return new + address.removeprefix(old) if address == old or address.startswith(old + "/") else address


def _rekey(mapping: Mapping[str, Any], key: Callable[[str], str]) -> dict[str, Any]:
    return {key(name): value for name, value in mapping.items()}
