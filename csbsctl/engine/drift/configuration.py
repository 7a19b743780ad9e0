"""Configuration that is not in force as the repository says it: edited live, or declared and not applied."""

from __future__ import annotations

from collections.abc import Iterator

from csbsctl.engine.addresses import Canonical, differing, look_up, same
from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.engine.outside import instant, newest_edit, origin_of
from csbsctl.engine.paths import changed_paths
from csbsctl.engine.redaction import covered
from csbsctl.model.plan import Finding, FindingClass


def config_findings(scene: Scene) -> Iterator[Finding]:
    """Yield every address whose live value is not what is declared (or, without files, what was last applied)."""
    state = scene.state
    wanted = scene.desired.canonical if scene.desired else state.applied
    sensitive = scene.desired.sensitive if scene.desired else ()
    for address, live, declared in differing(state.live, wanted):
        edited = not same(look_up(state.applied, address), live)
        edits = state.edits.get(address)
        newest = newest_edit(edits)
        origin = origin_of(edits) if edited else None
        message = _message(live, declared, edited=edited)
        yield finding(
            FindingClass.CONFIG,
            "warning",
            address,
            covered(message + (f" ({origin})" if origin else ""), sensitive),
            since=instant(newest["at"]) if edited and newest else None,
            hint="apply puts back what is declared; to keep what is live, declare it"
            if edited
            else "apply it",
        )


def _message(live: Canonical | None, declared: Canonical | None, *, edited: bool) -> str:
    if live is None:
        return "removed outside of csbsctl" if edited else "declared and not applied"
    if declared is None:
        return "added outside of csbsctl" if edited else "live and no longer declared"
    paths = [
        f"{p.path} is {_shown(p.before)}, declared {_shown(p.after)}" for p in changed_paths(live, declared)
    ]
    return ("changed outside of csbsctl: " if edited else "not applied: ") + "; ".join(paths)


def _shown(value: object) -> str:
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
