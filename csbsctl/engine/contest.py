"""Servers that live bindings of two stacks reach, which neither plan could foresee: a rule found them since.

``rules.contention`` says who has them; here that is looked up for every such server and put into words, the same in
``plan`` and in ``drift``. ``run`` goes by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from csbsctl.engine.bonds import Bond, Bonds
from csbsctl.engine.situation import ServerKey
from csbsctl.model.control import StackState
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.rules.contention import claim, first


@dataclass(frozen=True, slots=True)
class Contest:
    """A server that a live binding of ours and one of another stack reach, and whether it is ours."""

    key: ServerKey
    ours: Bond
    theirs: Bond
    won: bool


def contests(
    stacks: Mapping[str, StackState], ours: Bonds, theirs: Iterable[tuple[ServerKey, Bond]]
) -> Iterator[Contest]:
    """Yield every contest between live bonds of ours and those of other stacks."""
    for key, rival in theirs:
        bond = ours.get(key)
        if bond is None:
            continue
        mine = claim(bond.stack, stacks[bond.stack], bond.binding, key[1])
        other = claim(rival.stack, stacks[rival.stack], rival.binding, key[1])
        yield Contest(key, bond, rival, first((mine, other)) is mine)


def contest_finding(contest: Contest) -> Finding:
    """Return what there is to say about a contest: a warning to the stack that has the server, an error to the other."""
    ours, theirs = contest.ours, contest.theirs
    who = "this stack has it" if contest.won else "that stack has it, and this one leaves it alone"
    return Finding(
        finding_class=FindingClass.BINDING,
        severity="warning" if contest.won else "error",
        address=f"binding.{ours.binding}",
        message=f"server {ours.name} ({contest.key[1]}) is also reached by binding.{theirs.binding} "
        f"of stack {theirs.stack}; {who}",
        hint="exclude it in one of the two, or take it over with `rebind: true` and apply",
    )
