"""``rollback`` and ``import``: back to what was in force, and taking over what another stack has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.apply import Allow, Yes, carry_out
from csbsctl.cli.command import command
from csbsctl.cli.planning import propose
from csbsctl.cli.session import Session

if TYPE_CHECKING:
    from csbsctl.engine import Desired

app = typer.Typer()


@command(app, examples=["csbsctl history", "csbsctl rollback 41", "csbsctl rollback 41 --yes"])
def rollback(
    session: Session,
    generation: Annotated[
        int,
        typer.Argument(help="A generation of csbsctl history.", min=1, autocompletion=completion.generations),
    ],
    yes: Yes = False,
    allow: Allow = None,
) -> None:
    """Put back in force what this stack had at an earlier generation; asks first.

    A plan like any other: consequences are shown and guardrails hold. Other stacks are left alone, and so is the
    configuration, which the next apply puts in force again.
    """
    from csbsctl.engine.rollback import at_generation, undo_renames

    control = session.vault().control
    desired = at_generation(control, session.stack, generation)
    if state := control.head().stacks.get(session.stack):
        desired = undo_renames(desired, state)
    proposal = propose(session, desired)
    if not proposal.plan.empty:
        proposal = replace(proposal, summary=f"rolled back to generation {generation}")
    carry_out(session, proposal, allow=allow or (), yes=yes, verb="Rollback")


@command(
    app,
    "import",
    examples=[
        "csbsctl import policy.gold binding.web",
        "csbsctl import lab/binding.web      # where several stacks have one of that name",
    ],
)
def import_(
    session: Session,
    address: Annotated[
        list[str],
        typer.Argument(metavar="ADDR...", help="Such as policy.gold.", autocompletion=completion.importable),
    ],
    yes: Yes = False,
    allow: Allow = None,
) -> None:
    """Take over objects that another stack owns, or accept live edits of one's own; asks first.

    An object that another stack has leaves it in the same step and keeps its history; it must be declared here, and
    takes on the values declared. A policy comes with every binding that uses it. Of an object of this stack, what is
    live is taken as applied: drift no longer shows the edit, and the next plan compares it with the files.
    """
    wish = _keeping_own(session, address)
    targets = [text.rpartition("/")[2] for text in address]
    proposal = propose(session, wish, targets=targets, adopt=address)
    if proposal.plan.empty:
        proposal = replace(proposal, summary=f"accepted as live: {', '.join(targets)}")
    carry_out(session, proposal, allow=allow or (), yes=yes, verb="Import")
    if proposal.plan.empty:
        session.say("What is live there counts as applied now; csbsctl plan compares it with the files.")


def _keeping_own(session: Session, addresses: list[str]) -> Desired:
    """Return the wish of the configuration, with the live values of what this stack owns already."""
    from csbsctl.engine import Desired
    from csbsctl.engine.addresses import look_up, put

    wish = Desired.of(session.configuration, commit=session.commit)
    vault = session.vault_if_any()
    state = vault.control.head().stacks.get(session.stack) if vault else None
    canonical = wish.canonical
    for address in addresses:
        live = None if state is None or "/" in address else look_up(state.live, address)
        if live is not None:
            canonical = put(canonical, address, live)
    return wish if canonical is wish.canonical else replace(wish, canonical=canonical)
