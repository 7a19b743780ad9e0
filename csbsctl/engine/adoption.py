"""``import``: taking over objects that another stack owns, in the same commit in which that stack lets go of them.

An object keeps its history: since when it is in force, the anchor of its cadence, whom it reached. A policy comes only
with every binding that uses it, and a binding only into a stack that has its policy; anything else would leave a stack
with bindings to nothing. An address that this stack itself holds, edited outside of csbsctl, is adopted by taking what
is live as what was applied: the drift is gone, and the next plan compares with the files as always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from csbsctl.engine.addresses import look_up, put, split
from csbsctl.engine.desired import Desired
from csbsctl.engine.succession import fresh
from csbsctl.errors import NotFound, Refused, UsageError
from csbsctl.model.control import ControlDocument, StackState


@dataclass(frozen=True, slots=True)
class Adoption:
    """This stack's state with what it took over, the stacks it took from, and address -> stack it came from."""

    state: StackState
    others: Mapping[str, StackState] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


def adopt_objects(document: ControlDocument, wish: Desired, wanted: tuple[str, ...]) -> Adoption:
    """Return the state of affairs once every address of ``wanted`` belongs to the wishing stack.

    An address is written ``binding.web``, or ``STACK/binding.web`` where several other stacks have one of that name.

    Raises:
        NotFound: nobody has it.
        UsageError: several stacks have it, or it is not declared here.
        Refused: it would leave bindings without their policy.
    """
    own = document.stacks.get(wish.stack) or fresh()
    others: dict[str, StackState] = {}
    origins: dict[str, str] = {}
    for text in wanted:
        stack, slash, address = text.rpartition("/")
        source = _owner(document, wish.stack, address, stack if slash else None)
        if source == wish.stack:
            own = _accept(own, address)
            continue
        if look_up(wish.canonical, address) is None:
            hint = "declare it first (csbsctl show prints it as YAML), then import it"
            raise UsageError(f"{address} is not declared by stack {wish.stack}", hint=hint)
        giver = others.get(source) or document.stacks[source]
        own, others[source] = _hand_over(giver, own, address, source)
        origins[address] = source
    for name, state in others.items():
        _check_policies(name, state)
    return Adoption(own, others, origins)


def _owner(document: ControlDocument, own: str, address: str, named: str | None) -> str:
    split(address)
    holders = [name for name, state in document.stacks.items() if look_up(state.live, address) is not None]
    if named is not None:
        holders = [name for name in holders if name == named]
    elif own in holders:
        return own
    if not holders:
        where = f"stack {named}" if named else "any stack"
        raise NotFound(f"{address} is not live in {where}", code="address.unknown")
    if len(holders) > 1:
        hint = f"say which: {', '.join(f'{name}/{address}' for name in holders)}"
        raise UsageError(f"several stacks have {address}", hint=hint)
    return holders[0]


def _accept(state: StackState, address: str) -> StackState:
    edits = {edited: edit for edited, edit in state.edits.items() if edited != address}
    return replace(state, applied=put(state.applied, address, look_up(state.live, address)), edits=edits)


def _hand_over(
    giver: StackState, taker: StackState, address: str, source: str
) -> tuple[StackState, StackState]:
    kind, name = split(address)
    value = look_up(giver.live, address)
    stays, goes = _divide(giver.since, lambda key: key == address or key.startswith(address + "/"))
    left = replace(
        giver,
        live=put(giver.live, address, None),
        applied=put(giver.applied, address, None),
        since=stays,
        edits={key: edit for key, edit in giver.edits.items() if key != address},
    )
    taken = replace(
        taker,
        live=put(taker.live, address, value),
        applied=put(taker.applied, address, value),
        since={**taker.since, **goes},
    )
    if kind == "policy":
        taken, left = _hand_over_backups(taken, left, name, source)
    if kind == "policy" and name in giver.anchors:
        left = replace(left, anchors={key: at for key, at in giver.anchors.items() if key != name})
        taken = replace(taken, anchors={**taken.anchors, name: giver.anchors[name]})
    if kind == "binding" and name in giver.members:
        left = replace(left, members={key: who for key, who in giver.members.items() if key != name})
        taken = replace(taken, members={**taken.members, name: giver.members[name]})
    return taken, left


def _hand_over_backups(
    taker: StackState, giver: StackState, policy: str, source: str
) -> tuple[StackState, StackState]:
    """Let the backups that a policy made follow it, under all the names it had."""
    names = [*giver.former.get(policy, []), policy]
    qualified = {name: name if "/" in name else f"{source}/{name}" for name in names}
    taken = replace(
        taker,
        former={**taker.former, policy: [*taker.former.get(policy, []), *qualified.values()]},
        reused=taker.reused
        | {qualified[n]: at for n, at in giver.reused.items() if n in names and n != policy},
    )
    return taken, replace(giver, former={n: olds for n, olds in giver.former.items() if n != policy})


def _divide(
    mapping: Mapping[str, datetime], goes: Callable[[str], bool]
) -> tuple[dict[str, datetime], dict[str, datetime]]:
    stay = {key: value for key, value in mapping.items() if not goes(key)}
    return stay, {key: value for key, value in mapping.items() if goes(key)}


def _check_policies(stack: str, state: StackState) -> None:
    policies = state.live.get("policies", {})
    orphaned = [
        name for name, binding in state.live.get("bindings", {}).items() if binding["policy"] not in policies
    ]
    if orphaned:
        needed = ", ".join(f"binding.{name}" for name in orphaned[:5])
        raise Refused(
            f"stack {stack} would be left with bindings that have no policy: {needed}",
            hint="import them as well",
        )
