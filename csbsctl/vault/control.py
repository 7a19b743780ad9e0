"""The control document: every policy, binding and objective of every stack, one generation per commit.

Plain JSON all the way: with ten thousand bindings a validating model would cost more than the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from csbsctl.clock import Clock, format_instant, parse_instant
from csbsctl.errors import Conflict, NotFound
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.vault.series import Generation, Series


class Control:
    """Reads and commits the control document."""

    def __init__(
        self, series: Series, *, clock: Clock, actor: str, anchors: Callable[[], dict[str, str]]
    ) -> None:
        self._series = series
        self._clock = clock
        self._actor = actor
        self._anchors = anchors
        self._known: Generation | None = None

    def head(self) -> ControlDocument:
        """Return the newest generation; number 0 and empty when nothing was ever applied."""
        self._known = self._series.head(self._known)
        return _decode(self._known)

    def at(self, generation: int) -> ControlDocument:
        """Return one generation; 0 is the empty one. Raises NotFound."""
        if generation == 0:
            return ControlDocument(0)
        try:
            return _decode(self._series.at(generation))
        except NotFound:
            kept = self._series.numbers()
            span = f"{kept[0]} to {kept[-1]} are kept" if kept else "nothing was applied yet"
            raise NotFound(
                f"there is no generation {generation} of the control document",
                hint=f"generations {span}; see `csbsctl history`" if kept else span,
                code="vault.no-generation",
            ) from None

    def history(self) -> Iterator[ControlDocument]:
        """Yield the generations that are kept, newest first."""
        return (_decode(generation) for generation in self._series.history())

    def commit(self, document: ControlDocument) -> ControlDocument:
        """Make a document the newest generation; ``at``, ``by`` and the audit's heads are filled in where empty.

        Raises:
            Conflict: ``document.generation`` is not the number after the head, or somebody else took it.
        """
        base = self._base(document.generation - 1)
        filled = ControlDocument(
            generation=document.generation,
            stacks=document.stacks,
            stack=document.stack,
            at=document.at or self._clock.now(),
            by=document.by or self._actor,
            commit=document.commit,
            summary=document.summary,
            audit_heads=document.audit_heads or self._anchors(),
        )
        self._known = self._series.commit(base, _encode(filled))
        return filled

    def _base(self, number: int) -> Generation:
        known = self._known
        if known is None or known.number != number:
            known = self._series.head()
        if known.number != number:
            raise Conflict(
                f"the control document is at generation {known.number}, not at {number}",
                hint="somebody else applied in between; plan again",
            )
        return known


def _encode(document: ControlDocument) -> dict[str, Any]:
    return {
        "stack": document.stack,
        "at": format_instant(document.at) if document.at else None,
        "by": document.by,
        "commit": document.commit,
        "summary": document.summary,
        "audit_heads": document.audit_heads,
        "stacks": {name: _encode_stack(state) for name, state in document.stacks.items()},
    }


def _decode(generation: Generation) -> ControlDocument:
    body = generation.body
    return ControlDocument(
        generation=generation.number,
        stacks={name: _decode_stack(state) for name, state in body.get("stacks", {}).items()},
        stack=body.get("stack"),
        at=parse_instant(body["at"]) if body.get("at") else None,
        by=body.get("by", ""),
        commit=body.get("commit"),
        summary=body.get("summary", ""),
        audit_heads=body.get("audit_heads", {}),
    )


def _encode_stack(state: StackState) -> dict[str, Any]:
    same = state.live == state.applied
    return {
        "live": state.live,
        "applied": None if same else state.applied,
        "since": _encode_instants(state.since),
        "anchors": _encode_instants(state.anchors),
        "members": state.members,
        "edits": state.edits,
        "former": state.former,
        "reused": _encode_instants(state.reused),
    }


def _decode_stack(stored: dict[str, Any]) -> StackState:
    live = stored["live"]
    return StackState(
        live=live,
        applied=live if stored["applied"] is None else stored["applied"],
        since=_decode_instants(stored["since"]),
        anchors=_decode_instants(stored["anchors"]),
        members=stored["members"],
        edits=stored["edits"],
        former=stored.get("former", {}),
        reused=_decode_instants(stored.get("reused", [])),
    )


def _encode_instants(instants: dict[str, datetime]) -> list[list[Any]]:
    """Group addresses by instant: ten thousand that came into force in one apply share one text."""
    grouped: dict[datetime, list[str]] = {}
    for address, instant in instants.items():
        grouped.setdefault(instant, []).append(address)
    return [[format_instant(instant), addresses] for instant, addresses in grouped.items()]


def _decode_instants(stored: list[list[Any]]) -> dict[str, datetime]:
    return {
        address: at for text, addresses in stored for at in (parse_instant(text),) for address in addresses
    }
