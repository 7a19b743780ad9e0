"""What one part of a configuration says about another: names that must exist, sections that must wait.

Works on plain values, so that these problems are found together with wrong types, not after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from csbsctl.config.evaluation import FAILED
from csbsctl.config.gathering import Gathered
from csbsctl.diagnostics import Diagnostic, did_you_mean

_SECTIONS = {"policy": "policies", "binding": "bindings", "objective": "objectives"}


def cross_check(document: Mapping[str, Any], gathered: Gathered) -> Iterator[Diagnostic]:
    """Yield every reference to something that is not declared, and every use of what this version does not have."""
    yield from _bindings(document, gathered)
    yield from _moved(document, gathered)
    if document.get("access"):
        yield Diagnostic(
            "access rules need the service, which this version does not have",
            gathered.locate(("access",), key=True),
            hint="remove `access`: nothing would enforce it",
            address="access",
        )


def _names(document: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    names = document.get(section)
    return names if isinstance(names, dict) else {}


def _bindings(document: Mapping[str, Any], gathered: Gathered) -> Iterator[Diagnostic]:
    policies, providers = _names(document, "policies"), _names(document, "providers")
    for name, binding in _names(document, "bindings").items():
        if not isinstance(binding, dict):
            continue
        policy, provider = binding.get("policy"), binding.get("provider", "default")
        if isinstance(policy, str) and policy not in policies and policy != FAILED:
            yield _undeclared("policy", name, policy, policies, gathered)
        if isinstance(provider, str) and provider not in providers and provider != FAILED:
            yield _undeclared("provider", name, provider, providers, gathered)


def _undeclared(
    kind: str, binding: str, wanted: str, known: Mapping[str, Any], gathered: Gathered
) -> Diagnostic:
    names = ", ".join(known) or "none"
    plural = "policies" if kind == "policy" else "providers"
    return Diagnostic(
        f"binding {binding!r} names the {kind} {wanted!r}, which is not declared",
        gathered.locate(("bindings", binding, kind)),
        hint=did_you_mean(wanted, known) or f"declared {plural}: {names}",
        address=f"binding.{binding}",
    )


def _moved(document: Mapping[str, Any], gathered: Gathered) -> Iterator[Diagnostic]:
    moves = document.get("moved")
    sources: set[str] = set()
    targets: set[str] = set()
    for number, move in enumerate(moves if isinstance(moves, list) else []):
        if not isinstance(move, dict):
            continue
        old, new = move.get("from"), move.get("to")
        if not isinstance(old, str) or not isinstance(new, str):
            continue
        for summary, key in _move_problems(document, old, new):
            yield Diagnostic(summary, gathered.locate(("moved", number, key)), address=new)
        for address, seen, key in ((old, sources, "from"), (new, targets, "to")):
            if address in seen:
                place = gathered.locate(("moved", number, key))
                yield Diagnostic(f"{address} is moved {key} twice", place, address=new)
            seen.add(address)


def _move_problems(document: Mapping[str, Any], old: str, new: str) -> Iterator[tuple[str, str]]:
    old_kind, _, old_name = old.partition(".")
    new_kind, _, new_name = new.partition(".")
    if old_kind not in _SECTIONS or new_kind not in _SECTIONS:
        return  # the pattern of addresses reports it
    if old_kind != new_kind:
        yield f"a {old_kind} cannot become a {new_kind}", "to"
        return
    if old_name in _names(document, _SECTIONS[old_kind]):
        yield f"{old} is still declared: a move says that it is called {new} now", "from"
    if new_name not in _names(document, _SECTIONS[new_kind]):
        yield f"{new} is not declared: a move leads to something that exists", "to"
