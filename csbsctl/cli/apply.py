"""``apply``, ``destroy``: one commit, or none at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command
from csbsctl.cli.planning import propose
from csbsctl.cli.session import Session
from csbsctl.model.plan import Action

if TYPE_CHECKING:
    from csbsctl.engine import Applied, Proposal

app = typer.Typer()

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Go ahead without asking.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="GUARDRAIL", help="Go past this guardrail.", show_default=False),
]


@command(app, examples=["csbsctl apply", "csbsctl apply --yes", "csbsctl apply tonight.plan"])
def apply(
    session: Session,
    planfile: Annotated[
        Path | None, typer.Argument(help="A plan saved by plan -o.", show_default=False)
    ] = None,
    yes: Yes = False,
    allow: Allow = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDR", help="Only this address.", show_default=False, autocompletion=completion.addresses
        ),
    ] = None,
) -> None:
    """Make it so, in one atomic step; asks first."""
    if planfile:
        proposal = _reopen(session, session.directory / planfile)
    else:
        proposal = propose(session, targets=target or ())
    carry_out(session, proposal, allow=allow or (), yes=yes, saved=planfile is not None)


def _reopen(session: Session, path: Path) -> Proposal:
    from csbsctl.cli.planning import gather
    from csbsctl.engine import Desired, planfile

    saved = planfile.load(path)
    return planfile.reopen(
        saved,
        gather(session),
        configuration=Desired.of(session.configuration),
        providers=session.provider_versions,
    )


@command(app, examples=["csbsctl destroy"])
def destroy(session: Session, yes: Yes = False, allow: Allow = None) -> None:
    """Remove this stack's policies and bindings; backups stay."""
    from csbsctl.engine import Desired

    proposal = propose(session, Desired.nothing(session.stack))
    carry_out(session, proposal, allow=allow or (), yes=yes, verb="Destroy")


def carry_out(
    session: Session,
    proposal: Proposal,
    *,
    allow: Sequence[str],
    yes: bool,
    saved: bool = False,
    verb: str = "Apply",
) -> None:
    """Show a proposal, refuse what guardrails refuse, ask, commit, and say what came of it."""
    from csbsctl.engine import Executor, refuse
    from csbsctl.report import render_plan

    if not saved:
        text = render_plan(proposal.plan, "text", color=session.out.color, width=session.out.width)
        session.say(text.rstrip("\n"))
    refuse(proposal.verdicts, allow)
    proposal.check_readable()
    if not proposal.plan.empty and not saved:
        session.out.confirm("Do you want to perform these actions?", yes=yes)
    vault = session.vault(create=True)
    applied = Executor(vault.control, session.clock, session.actor).apply(
        proposal, allow=allow, heads=vault.audit.heads()
    )
    if applied.committed:
        _record(session, applied)
    _tell(session, applied, verb)


def _record(session: Session, applied: Applied) -> None:
    from csbsctl.engine.traces import traces

    audit = session.vault().audit
    for trace in traces(applied.plan, applied.generation):
        audit.record(
            trace.name,
            resource_type=trace.resource_type,
            resource_id=trace.resource_id,
            details=trace.details,
        )
    audit.flush()


def _tell(session: Session, applied: Applied, verb: str) -> None:
    from csbsctl.report.plan_json import plan_json

    plan = applied.plan
    imported = plan.count(Action.IMPORT)
    counts = ", ".join(
        [
            *([f"{imported} imported"] if imported else []),
            f"{plan.count(Action.CREATE)} added",
            f"{plan.count(Action.UPDATE)} changed",
            f"{plan.count(Action.DELETE)} destroyed",
        ]
    )
    session.say(f"\n{verb} complete! Resources: {counts}.")
    session.say(f"Generation {applied.generation} is in force.")
    for writer, head in session.vault().audit.heads().items():
        session.say(f"Audit head: {writer} {head}")
    session.result({**plan_json(plan), "generation": applied.generation, "applied": applied.committed})
