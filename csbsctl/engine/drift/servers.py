"""Servers that are not protected as they should be: in no policy, gone, renamed, newly matched, recovery point too old."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from csbsctl.clock import format_instant
from csbsctl.engine.bonds import Bond, parse_bindings
from csbsctl.engine.contest import contest_finding
from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.engine.reach import assignment_findings
from csbsctl.engine.situation import ServerKey
from csbsctl.model.declared import Objective
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.server import Server
from csbsctl.model.slots import not_ahead
from csbsctl.rules.matching import assign, matches
from csbsctl.units import format_duration


def unprotected_findings(scene: Scene) -> Iterator[Finding]:
    """Yield the servers that an objective requires to be protected and that are in no policy of any stack."""
    for name, objective in _objectives(scene):
        if objective.protected != "required":
            continue
        for key, server in scene.situation.servers().items():
            if key not in scene.all_bonds and matches(objective.match, server):
                yield finding(
                    FindingClass.UNPROTECTED,
                    "error",
                    f"server.{server.name}",
                    f"server {server.name} ({server.id}) is in no policy; objective {name} requires protection",
                    since=server.created_at,
                    hint="bind it, or narrow the objective",
                )


def binding_findings(scene: Scene, disks: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what happened to bound servers since the last apply; problems that would stop a plan are errors.

    ``disks`` are the findings about their disks.
    """
    if scene.situation.inventory is None:
        return
    live = scene.state.live.get("bindings", {})
    declared = scene.desired.canonical["bindings"] if scene.desired else {}
    typed = scene.desired.declared.bindings if scene.desired and live == declared else parse_bindings(live)
    assignment = assign(typed, scene.situation.inventory, members=scene.state.members)
    for problem in assignment.problems:
        yield finding(FindingClass.BINDING, "error", problem.address, problem.message, hint=problem.hint)
    yield from (found for found in assignment_findings(assignment) if found.severity != "note")
    told = {departed.successor for departed in assignment.gone}
    for bound in assignment.bound.values():
        known = scene.state.members.get(bound.binding)
        if known is not None and bound.server.id not in known and bound.server.id not in told:
            yield finding(
                FindingClass.BINDING,
                "note",
                f"binding.{bound.binding}",
                f"server {bound.server.name} ({bound.server.id}) newly fits its rule "
                f"and is protected by policy {bound.policy}",
                since=bound.server.created_at,
                hint="nothing to do; the next apply records it",
            )
    yield from disks
    yield from (contest_finding(contest) for contest in scene.contests)


def objective_findings(
    scene: Scene, newest_good: Mapping[ServerKey, datetime], unread: Collection[ServerKey] = ()
) -> Iterator[Finding]:
    """Yield the servers whose newest good backup, given for each that has one, is older than an objective allows.

    Nothing is said of those whose backups could not be read.
    """
    for name, objective in _objectives(scene):
        if objective.rpo is None:
            continue
        for key, server in scene.situation.servers().items():
            if key in unread or not matches(objective.match, server):
                continue
            newest = newest_good.get(key)
            due_from = newest or _obliged_since(scene, name, key, server)
            if due_from is None or scene.situation.now - due_from <= objective.rpo:
                continue
            state = f"is from {format_instant(newest)}" if newest else "does not exist"
            yield finding(
                FindingClass.OBJECTIVE,
                "error",
                f"server.{server.name}",
                f"the newest good backup of {server.name} ({server.id}) {state}; "
                f"objective {name} allows {format_duration(objective.rpo)}",
                since=due_from + objective.rpo,
                hint=f"csbsctl backup create {server.name}",
            )


def bound_since(scene: Scene, key: ServerKey, bond: Bond) -> datetime | None:
    """Return since when a server is owed its policy's slots, as far as no clock that ran ahead says so."""
    since = scene.state.since
    server = scene.situation.servers().get(key)
    instants = [
        since.get(f"policy.{bond.policy}"),
        since.get(f"binding.{bond.binding}"),
        since.get(f"binding.{bond.binding}/{key[1]}"),
        server.created_at if server else None,
    ]
    return max(not_ahead(instants, scene.situation.now), default=None)


def _obliged_since(scene: Scene, objective: str, key: ServerKey, server: Server) -> datetime | None:
    bond = scene.bonds.get(key)
    instants = (
        scene.state.since.get(f"objective.{objective}"),
        server.created_at,
        bound_since(scene, key, bond) if bond else None,
    )
    return max(not_ahead(instants, scene.situation.now), default=None)


def _objectives(scene: Scene) -> Iterator[tuple[str, Objective]]:
    for name, value in scene.state.live.get("objectives", {}).items():
        yield name, Objective.model_validate(value)
