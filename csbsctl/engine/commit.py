"""Carrying a proposal out: one commit of the control document, or none at all.

The commit is the only step. Killed before it, nothing happened; after it, everything did. What other stacks committed
in between stays (their parts are carried over and conflicts are looked for again); when this stack's own part moved,
the proposal is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock, format_instant
from csbsctl.engine.addresses import addresses
from csbsctl.engine.planner import Planner, Proposal
from csbsctl.engine.verdicts import refuse
from csbsctl.errors import Conflict, Stale
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.plan import Action, Plan

BEFORE_COMMIT = Boundary("apply.before-commit", "everything is decided, nothing is written")
COMMITTED = Boundary("apply.committed", "the new generation is in force, nobody was told yet")

_ATTEMPTS = 50


class ControlStore(Protocol):
    """The part of the vault that holds the control document."""

    def head(self) -> ControlDocument:
        """Return the newest generation; number 0, empty, where there is none."""
        ...

    def commit(self, document: ControlDocument) -> ControlDocument:
        """Write the generation after the head. Raises Conflict when somebody else did."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """How an apply ended: the plan that was carried out and the generation now in force."""

    plan: Plan
    document: ControlDocument
    committed: bool

    @property
    def generation(self) -> int:
        """Return the number of the generation in force."""
        return self.document.generation


@dataclass(frozen=True, slots=True)
class Executor:
    """Applies proposals to one vault, in somebody's name."""

    control: ControlStore
    clock: Clock
    by: str

    def apply(
        self, proposal: Proposal, *, allow: Sequence[str] = (), heads: dict[str, str] | None = None
    ) -> Applied:
        """Commit a proposal; without anything to record, nothing is written.

        Raises:
            Stale: this stack's part of the control document changed since the proposal was made.
            GuardrailRefusal: it goes past a guardrail that ``allow`` does not name.
            Damaged: it changes the rules of a server whose backups cannot be read.
            Conflict: others kept committing first.
        """
        for _ in range(_ATTEMPTS):
            head = self.control.head()
            proposal = rebase(proposal, head)
            refuse(proposal.verdicts, allow)
            proposal.check_readable()
            document = self._document(proposal, head, heads or {})
            if document.stacks == head.stacks:
                return Applied(proposal.plan, head, committed=False)
            BEFORE_COMMIT()
            try:
                committed = self.control.commit(document)
            except Conflict:
                continue
            COMMITTED()
            return Applied(proposal.plan, committed, committed=True)
        raise Conflict("others kept changing the control document first", hint="run the same command again")

    def _document(self, proposal: Proposal, head: ControlDocument, heads: dict[str, str]) -> ControlDocument:
        now = self.clock.now()
        state = proposal.outcome(now)
        others = {
            name: _stamped(part, head.generation + 1, now, self.by) for name, part in proposal.others.items()
        }
        stacks = {**head.stacks, **others}
        stacks[proposal.desired.stack] = state
        stacks = {name: part for name, part in stacks.items() if state_matters(part)}
        return ControlDocument(
            generation=head.generation + 1,
            stacks=stacks,
            stack=proposal.desired.stack,
            at=now,
            by=self.by,
            commit=proposal.desired.commit,
            summary=proposal.summary or summarise(proposal.plan),
            audit_heads=heads,
        )


def rebase(proposal: Proposal, head: ControlDocument) -> Proposal:
    """Return the proposal as it is on top of a newer head and, where guardrails look at backups, on those of now.

    Raises:
        Stale: this stack's part changed, or the plan comes out differently now.
    """
    moved = head.generation != proposal.situation.document.generation
    if not moved and not proposal.guarded:
        return proposal
    stack = proposal.desired.stack
    if head.stacks.get(stack) != proposal.situation.document.stacks.get(stack):
        who = f"generation {head.generation}"
        if head.stack == stack:
            who += f" by {head.by}"
        message = f"stack {stack} changed since the plan was made on generation {proposal.plan.base_generation}: {who}"
        raise Stale(message, hint="plan again, look at it, and apply that")
    situation = replace(proposal.situation, document=head)
    again = Planner(situation).plan(proposal.wish, targets=proposal.targets, adopt=proposal.adopt)
    if moved and not same_actions(again.plan, proposal.plan):
        raise Stale(
            "what other stacks changed since changes this plan", hint="plan again, look at it, and apply that"
        )
    return replace(again, summary=proposal.summary)


def same_actions(one: Plan, other: Plan) -> bool:
    """Tell whether two plans do the same to the same addresses."""
    return [(c.address, c.action, c.before, c.after) for c in _in_order(one)] == [
        (c.address, c.action, c.before, c.after) for c in _in_order(other)
    ]


def summarise(plan: Plan) -> str:
    """Return a generation's summary in a few words: ``1 added, 2 changed``."""
    words = (
        (Action.IMPORT, "imported"),
        (Action.CREATE, "added"),
        (Action.UPDATE, "changed"),
        (Action.DELETE, "destroyed"),
    )
    parts = [f"{plan.count(action)} {word}" for action, word in words if plan.count(action)]
    moved = sum(change.action is Action.NO_OP and change.origin is not None for change in plan.changes)
    if moved:
        parts.append(f"{moved} moved")
    return ", ".join(parts) or "record brought up to date"


def state_matters(state: StackState) -> bool:
    """Tell whether anything is left of a stack; one that was destroyed leaves no trace in the document."""
    return any(next(addresses(form), None) for form in (state.live, state.applied))


def _stamped(state: StackState, generation: int, now: datetime, by: str) -> StackState:
    """Return another stack's part with the edits this commit makes to it dated and signed."""
    edits = {
        address: {
            path: edit | {"at": format_instant(now), "generation": generation, "by": f"{by}, {edit['by']}"}
            if edit["generation"] is None
            else edit
            for path, edit in paths.items()
        }
        for address, paths in state.edits.items()
    }
    return replace(state, edits=edits)


def _in_order(plan: Plan) -> list:  # type: ignore[type-arg]
    return sorted(plan.changes, key=lambda change: change.address)
