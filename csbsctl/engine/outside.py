"""Configuration drift: what was changed live since the last apply, by whom, where and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from csbsctl.clock import parse_instant
from csbsctl.engine.addresses import differing
from csbsctl.engine.paths import changed_paths
from csbsctl.model.control import StackState
from csbsctl.model.plan import Action, Change


def drift_of(state: StackState) -> Iterator[Change]:
    """Yield a change from applied to live for every address that was edited outside of csbsctl."""
    for address, before, after in differing(state.applied, state.live):
        action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
        yield Change(
            address=address,
            action=action,
            before=before,
            after=after,
            paths=changed_paths(before, after),
            origin=origin_of(state.edits.get(address)),
        )


def origin_of(edits: Mapping[str, Any] | None) -> str | None:
    """Return the newest edit in words: ``console: ops, generation 41, 2026-11-22 10:12 UTC``."""
    newest = newest_edit(edits)
    if newest is None:
        return None
    at = instant(newest["at"])
    return f"{newest['via']}: {newest['by']}, generation {newest['generation']}, {at:%Y-%m-%d %H:%M} UTC"


def newest_edit(edits: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the newest record of who edited an address, or None where nobody was recorded."""
    if not edits:
        return None
    newest: Mapping[str, Any] = max(edits.values(), key=lambda edit: edit["generation"])
    return newest


def instant(value: str | datetime) -> datetime:
    """Return an instant that may be stored as text."""
    return value if isinstance(value, datetime) else parse_instant(value)
