"""Addresses and the canonical form: ``policy.gold`` and the plain JSON value that stands there.

A canonical form (``Declared.canonical()``) is one mapping per section. Most of it never changes between two plans, so
sections are compared as whole mappings first and only what differs is looked at. Knows nothing of clouds or vaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from csbsctl.errors import UsageError
from csbsctl.model.declared import Guardrails

Canonical = dict[str, Any]

SECTIONS = {"policy": "policies", "binding": "bindings", "objective": "objectives"}
"""Type of an address -> key of the canonical form."""

SINGLES = ("guardrails", "access")
"""Addresses without a name."""

_SETS = frozenset({"servers", "exclude", "tags", "access"})
"""Lists whose order means nothing."""


def empty() -> Canonical:
    """Return the canonical form of a stack that declares nothing."""
    return {
        "policies": {},
        "bindings": {},
        "objectives": {},
        "guardrails": default_guardrails(),
        "access": [],
    }


@cache
def default_guardrails() -> Canonical:
    """Return the guardrails of a stack that names none; they have no address."""
    return Guardrails().canonical()


def split(address: str) -> tuple[str, str]:
    """Return type and name of an address; the name is empty for ``guardrails`` and ``access``.

    Raises:
        UsageError: it is no address.
    """
    kind, _, name = address.partition(".")
    if (kind in SECTIONS and name) or address in SINGLES:
        return kind, name
    hint = "write policy.NAME, binding.NAME, objective.NAME, guardrails or access"
    raise UsageError(f"{address!r} is not an address", hint=hint)


def look_up(form: Canonical, address: str) -> Canonical | None:
    """Return what stands at an address as a mapping, or None; defaults that nobody wrote do not stand there."""
    kind, name = split(address)
    if kind in SECTIONS:
        found: Canonical | None = form.get(SECTIONS[kind], {}).get(name)
        return found
    return _single(form, kind)


def put(form: Canonical, address: str, value: Canonical | None) -> Canonical:
    """Return the form with another value at an address (None: nothing there); the argument stays as it was."""
    kind, name = split(address)
    if kind == "guardrails":
        return {**form, kind: default_guardrails() if value is None else value}
    if kind == "access":
        return {**form, kind: [] if value is None else value["access"]}
    key = SECTIONS[kind]
    section = {other: kept for other, kept in form.get(key, {}).items() if other != name}
    if value is not None:
        section[name] = value
    return {**form, key: section}


def addresses(form: Canonical) -> Iterator[str]:
    """Yield every address at which something stands."""
    for kind, key in SECTIONS.items():
        for name in form.get(key, {}):
            yield f"{kind}.{name}"
    for single in SINGLES:
        if _single(form, single) is not None:
            yield single


def differing(
    before: Canonical, after: Canonical
) -> Iterator[tuple[str, Canonical | None, Canonical | None]]:
    """Yield address, value before and value after for every address at which two forms differ."""
    for kind, key in SECTIONS.items():
        yield from _differing_in(kind, before.get(key, {}), after.get(key, {}))
    for single in SINGLES:
        old, new = _single(before, single), _single(after, single)
        if not same(old, new):
            yield single, old, new


def same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same; lists that are sets are compared as sets."""
    return one == other or (type(one) is type(other) and settled(one) == settled(other))


def settled(value: Any, key: str = "") -> Any:
    """Return the value with the lists that are sets in one order."""
    if isinstance(value, dict):
        return {name: settled(item, name) for name, item in value.items()}
    if isinstance(value, list) and key in _SETS:
        return sorted(value, key=str)
    return value


def _differing_in(
    kind: str, before: Canonical, after: Canonical
) -> Iterator[tuple[str, Canonical | None, Canonical | None]]:
    if before == after:
        return
    for name, old in before.items():
        new = after.get(name)
        if old is not new and not same(old, new):
            yield f"{kind}.{name}", old, new
    for name, new in after.items():
        if name not in before:
            yield f"{kind}.{name}", None, new


def _single(form: Canonical, key: str) -> Canonical | None:
    value = form.get(key)
    if key == "access":
        return {"access": value} if value else None
    return None if not value or value == default_guardrails() else value
