"""Live edits (``policy disable``, the console): a commit that changes what is in force and not what was applied.

The difference is what ``plan`` and ``drift`` then show, with who did it, where and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from csbsctl.clock import Clock, format_instant
from csbsctl.engine.addresses import Canonical, look_up, put, same, split
from csbsctl.engine.commit import ControlStore
from csbsctl.engine.succession import fresh, reconsider
from csbsctl.errors import Conflict, NotFound, UsageError
from csbsctl.model.base import Model
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.declared import Binding, Guardrails, Objective
from csbsctl.model.policy import Policy

_MODELS: dict[str, type[Model]] = {
    "policy": Policy,
    "binding": Binding,
    "objective": Objective,
    "guardrails": Guardrails,
}
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Editor:
    """Edits live objects of one vault, in somebody's name. ``via`` says from where: ``console``, ``command line``."""

    control: ControlStore
    clock: Clock
    by: str
    via: str

    def set(self, stack: str, address: str, path: Sequence[str], value: Any) -> ControlDocument:
        """Set one attribute of a live object and return the document in force; setting what it is commits nothing.

        Raises:
            NotFound: the object is not live.
            UsageError: the object would not be valid.
        """

        def change(live: Canonical) -> Canonical:
            found = look_up(live, address)
            if found is None:
                raise NotFound(f"there is no {address} in stack {stack}", code="address.unknown")
            return put(live, address, valid(address, _with(found, list(path), value)))

        return self._commit(stack, address, ".".join(path), change)

    def put(self, stack: str, address: str, value: Canonical | None) -> ControlDocument:
        """Create or replace a live object, or (None) remove it, and return the document in force.

        Raises:
            UsageError: the object would not be valid.
        """
        checked = None if value is None else valid(address, value)
        return self._commit(stack, address, "", lambda live: put(live, address, checked))

    def _commit(self, stack: str, address: str, path: str, change: Any) -> ControlDocument:
        split(address)
        for _ in range(_ATTEMPTS):
            head = self.control.head()
            state = head.stacks.get(stack) or fresh()
            live = change(state.live)
            if same(look_up(live, address), look_up(state.live, address)):
                return head
            now = self.clock.now()
            record = {
                "by": self.by,
                "at": format_instant(now),
                "generation": head.generation + 1,
                "via": self.via,
            }
            document = ControlDocument(
                generation=head.generation + 1,
                stacks={**head.stacks, stack: _edited(state, live, address, path, record, now)},
                stack=stack,
                at=now,
                by=self.by,
                summary=f"{self.via}: {address}{'.' if path else ''}{path}",
            )
            try:
                return self.control.commit(document)
            except Conflict:
                continue
        raise Conflict("others kept changing the control document first", hint="run the same command again")


def valid(address: str, value: Canonical) -> Canonical:
    """Return the canonical form of an object. Raises UsageError when it is not valid."""
    kind, _ = split(address)
    if kind not in _MODELS:
        return value
    try:
        return _MODELS[kind].model_validate(value).canonical()
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join([address, *map(str, problem["loc"])])
        raise UsageError(f"{place}: {problem['msg'].removeprefix('Value error, ')}") from error


def _with(value: Canonical, path: list[str], new: Any) -> Canonical:
    key, *rest = path
    if rest:
        return {**value, key: _with(value.get(key) or {}, rest, new)}
    without = {name: item for name, item in value.items() if name != key}
    return without if new is None else {**without, key: new}


def _edited(  # noqa: PLR0917
    state: StackState, live: Canonical, address: str, path: str, record: dict[str, Any], now: datetime
) -> StackState:
    edits = {key: kept for key, kept in state.edits.items() if key != address}
    if not same(look_up(live, address), look_up(state.applied, address)):
        edits[address] = {**state.edits.get(address, {}), path: record}
    return replace(reconsider(state, live, now), edits=edits)
