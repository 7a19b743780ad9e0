"""Whom the bindings reach: declared and live bindings resolved against the servers that are there.

Problems become diagnostics with their place in the files and stop the plan, all at once. Servers that are gone or
newly matched become findings. What other stacks hold is respected unless a binding says ``rebind``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from csbsctl.diagnostics import Diagnostic
from csbsctl.engine.addresses import Canonical, same
from csbsctl.engine.bonds import Bond, Bonds, bonds_of, live_bonds
from csbsctl.engine.contest import Contest, contest_finding, contests
from csbsctl.engine.desired import Desired
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.errors import ConfigError
from csbsctl.model.control import StackState
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.rules.matching import Assignment, assign

Members = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom this stack reaches, before and after; whom others hold; and what to remember of it."""

    before: Bonds
    after: Bonds
    others: Bonds
    members: Members
    joined: Members
    """Servers that a changed binding adds, by binding."""
    taken: Bonds = field(default_factory=dict)
    """Servers of others that this stack takes over, as they are bound before."""
    rebound: Mapping[str, StackState] = field(default_factory=dict)
    """Parts of other stacks that lose servers to this one."""
    findings: tuple[Finding, ...] = ()

    def touched(self, addresses: Iterable[str]) -> frozenset[ServerKey]:
        """Return every server that changed addresses reach, before or after."""
        bindings = {
            address.removeprefix("binding.") for address in addresses if address.startswith("binding.")
        }
        if not bindings:
            return frozenset()
        both = (*self.before.items(), *self.after.items())
        return frozenset(key for key, bond in both if bond.binding in bindings)


def resolve(
    desired: Desired, state: StackState, situation: Situation, handed_over: Mapping[str, StackState]
) -> Reach:
    """Return whom the wish reaches.

    Raises:
        ConfigError: with every problem of every binding.
    """
    live, wanted = state.live.get("bindings", {}), desired.canonical["bindings"]
    stacks = {**situation.document.stacks, **handed_over}
    others = {name: part for name, part in stacks.items() if name != desired.stack}
    held = _held_by_others(others, situation)
    if situation.inventory is None:
        return _unrefreshed(desired.stack, state, wanted, held)
    assignment = assign(desired.declared.bindings, situation.inventory, members=state.members)
    after = bonds_of(assignment, desired.stack)
    contested = {key: held[key] for key in after.keys() & held.keys()}
    found = _contested(desired.stack, state, stacks, contested, situation)
    ours = {each.key for each in found if each.won and not wanted[after[each.key].binding]["rebind"]}
    taken = {key: bond for key, bond in contested.items() if key not in ours}
    _raise_problems(desired, assignment, after, taken)
    members = _members(assignment, after, wanted, state.members)
    before = after if live == wanted else _live_bonds(desired.stack, state, wanted, after, situation)
    return Reach(
        before=before,
        after=after,
        others={key: bond for key, bond in held.items() if key not in contested},
        members=members,
        joined=_joined(live, wanted, before, after),
        taken=taken,
        rebound=_release(others, taken, desired.stack),
        findings=(
            *assignment_findings(assignment),
            *(contest_finding(each) for each in found if each.key in ours),
        ),
    )


def _contested(
    stack: str,
    state: StackState,
    stacks: Mapping[str, StackState],
    held: Bonds,
    situation: Situation,
) -> list[Contest]:
    """Return the contests over servers that the wish reaches and others hold; none for what is not bound live yet."""
    if not held:
        return []
    live = live_bonds(stack, state, situation)
    return list(contests({**stacks, stack: state}, live, sorted(held.items())))


def _held_by_others(stacks: Mapping[str, StackState], situation: Situation) -> dict[ServerKey, Bond]:
    held: dict[ServerKey, Bond] = {}
    for name, state in stacks.items():
        held.update(live_bonds(name, state, situation))
    return held


def _live_bonds(
    stack: str, state: StackState, wanted: Canonical, after: Bonds, situation: Situation
) -> dict[ServerKey, Bond]:
    """Return whom live bindings reach: resolved anew where they differ from the wanted ones, copied where not."""
    live = state.live.get("bindings", {})
    unchanged = {name for name, binding in live.items() if same(binding, wanted.get(name))}
    bonds = {key: bond for key, bond in after.items() if bond.binding in unchanged}
    changed = {name: binding for name, binding in live.items() if name not in unchanged}
    part = replace(state, live={"bindings": changed})
    for key, bond in live_bonds(stack, part, situation).items():
        bonds.setdefault(key, bond)
    return bonds


def _raise_problems(
    desired: Desired, assignment: Assignment, after: Bonds, taken: Mapping[ServerKey, Bond]
) -> None:
    problems = [
        Diagnostic(
            summary=f"{problem.address}: {problem.message}",
            place=desired.place(problem.address, *problem.path),
            hint=problem.hint,
            address=problem.address,
            related=tuple(filter(None, [desired.place(problem.also)])) if problem.also else (),
        )
        for problem in assignment.problems
    ]
    bindings = desired.canonical["bindings"]
    for key, theirs in sorted(taken.items()):
        ours = after[key]
        if not bindings[ours.binding]["rebind"]:
            address = f"binding.{ours.binding}"
            problems.append(
                Diagnostic(
                    summary=f"{address}: server {ours.name} is bound by stack {theirs.stack} (binding.{theirs.binding})",
                    place=desired.place(address),
                    hint="add `rebind: true` to take it over, or leave it to the other stack",
                    address=address,
                )
            )
    problems += _unknown_policies(desired)
    if problems:
        raise ConfigError(problems)


def _unknown_policies(desired: Desired) -> Iterator[Diagnostic]:
    policies = desired.canonical["policies"]
    for name, binding in desired.canonical["bindings"].items():
        if binding["policy"] not in policies:
            yield Diagnostic(
                summary=f"binding.{name}: there is no policy {binding['policy']!r}",
                place=desired.place(f"binding.{name}", "policy"),
                address=f"binding.{name}",
            )


def _members(
    assignment: Assignment, after: Bonds, wanted: Canonical, former: Members
) -> dict[str, dict[str, str]]:
    members: dict[str, dict[str, str]] = {name: {} for name in wanted}
    for (_, server), bond in after.items():
        members[bond.binding][server] = bond.name
    # What the files still call by its old name is remembered under it, or the next plan would take it for a server
    # that never existed.
    for departed in assignment.gone:
        if departed.named and departed.successor is None:
            name = former.get(departed.binding, {}).get(departed.server_id, departed.server_name)
            members[departed.binding].setdefault(departed.server_id, name)
    for renamed in assignment.renamed:
        if renamed.before in wanted[renamed.binding]["servers"]:
            members[renamed.binding][renamed.server_id] = renamed.before
    return members


def _joined(live: Canonical, wanted: Canonical, before: Bonds, after: Bonds) -> dict[str, dict[str, str]]:
    joined: dict[str, dict[str, str]] = {}
    if before is after:
        return joined
    for key, bond in after.items():
        old = before.get(key)
        if (old is None or old.binding != bond.binding) and live.get(bond.binding) != wanted[bond.binding]:
            joined.setdefault(bond.binding, {})[key[1]] = bond.name
    return joined


def _release(
    stacks: Mapping[str, StackState], taken: Mapping[ServerKey, Bond], taker: str
) -> dict[str, StackState]:
    """Return other stacks' parts without the servers they lose: excluded live, and recorded as an edit of ours."""
    changed: dict[str, StackState] = {}
    for (_, server), theirs in sorted(taken.items()):
        state = changed.get(theirs.stack) or stacks[theirs.stack]
        binding = state.live["bindings"][theirs.binding]
        if server in binding.get("exclude", ()):
            continue
        shorter = {**binding, "exclude": sorted({*binding.get("exclude", ()), server})}
        address = f"binding.{theirs.binding}"
        edit = {"by": f"stack {taker}", "via": "rebind", "at": None, "generation": None}
        left = {k: v for k, v in state.members.get(theirs.binding, {}).items() if k != server}
        changed[theirs.stack] = replace(
            state,
            live={**state.live, "bindings": {**state.live["bindings"], theirs.binding: shorter}},
            edits={**state.edits, address: {**state.edits.get(address, {}), "exclude": edit}},
            members={**state.members, theirs.binding: left},
        )
    return changed


def assignment_findings(assignment: Assignment) -> Iterator[Finding]:
    """Yield what happened to bound servers: gone, renamed, not to be backed up; and rules that fit nobody, as notes."""
    for departed in assignment.gone:
        if departed.successor:
            message = f"{departed.server_name} is another server now: {departed.successor}, once {departed.server_id}"
            yield _finding(
                departed.binding, message, "the next apply records it; the backups of the old one stay"
            )
            continue
        hint = "take it out of the configuration; its backups stay" if departed.named else "its backups stay"
        yield _finding(
            departed.binding, f"server {departed.server_name} ({departed.server_id}) is gone", hint
        )
    for renamed in assignment.renamed:
        message = f"server {renamed.before} is called {renamed.after} now; it stays bound"
        yield _finding(renamed.binding, message, "write the new name, or the ID")
    for server, refusal in assignment.refused.items():
        binding = assignment.bound[server].binding
        yield _finding(
            binding, f"cannot be backed up: {refusal.reason}", "its slots will fail until that is mended"
        )
    for note in assignment.notes:
        yield Finding(
            finding_class=FindingClass.BINDING,
            severity="note",
            address=note.address,
            message=note.message,
            hint=note.hint,
        )


def _finding(binding: str, message: str, hint: str) -> Finding:
    return Finding(
        finding_class=FindingClass.BINDING,
        severity="warning",
        address=f"binding.{binding}",
        message=message,
        hint=hint,
    )


def _unrefreshed(stack: str, state: StackState, wanted: Canonical, held: Bonds) -> Reach:
    """Return whom the last apply reached: all that can be said when the clouds were not asked."""
    live = state.live.get("bindings", {})
    before: dict[ServerKey, Bond] = {}
    after: dict[ServerKey, Bond] = {}
    for source, bonds in ((live, before), (wanted, after)):
        for name, binding in source.items():
            for server, known in state.members.get(name, {}).items():
                bonds[binding["provider"], server] = Bond(known, stack, name, binding["policy"])
    members = {name: dict(state.members.get(name, {})) for name in wanted}
    return Reach(before=before, after=after, others=held, members=members, joined={})
