"""``plan``: what would change, what drifted, what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command
from csbsctl.cli.planning import propose
from csbsctl.cli.session import Session

if TYPE_CHECKING:
    from csbsctl.engine import Proposal
    from csbsctl.engine.prospect import Prospect

app = typer.Typer()


@command(
    app,
    examples=[
        "csbsctl plan",
        "csbsctl plan -o tonight.plan && csbsctl apply tonight.plan",
        "csbsctl plan --detailed-exitcode --fail-on destroys-data",
        "csbsctl plan --format markdown >> $GITHUB_STEP_SUMMARY",
    ],
)
def plan(
    session: Session,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Save the plan for apply.", show_default=False),
    ] = None,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Do not ask the clouds.")] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDR",
            help="Only this address, such as policy.gold.",
            show_default=False,
            autocompletion=completion.addresses,
        ),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when there are changes.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="Exit 4 for changes of this class or a worse one.", show_default=False
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="text, json, markdown, html, github, junit, sarif, terraform.")
    ] = "text",
    verbose: Annotated[bool, typer.Option("--verbose", help="Fold nothing away.")] = False,
) -> None:
    """Show what would change, what drifted and what it costs; changes nothing."""
    from csbsctl.engine import fail_on as refuse_classes
    from csbsctl.report import render_plan

    proposal = propose(session, refresh=not no_refresh, targets=target or ())
    if out:
        from csbsctl.engine import planfile

        planfile.save(session.directory / out, proposal, providers=session.provider_versions)
    shown = "json" if session.as_json else format
    words = render_plan(
        proposal.plan,
        shown,
        color=session.out.color and shown == "text",
        width=session.out.width,
        verbose=verbose,
        place=session.configuration.place,
        forecast=_forecast(proposal) if shown == "html" else None,
    )
    session.out.raw(words)
    if out and shown == "text":
        session.say(
            f"\nSaved the plan to: {out}\n\nTo perform exactly these actions, run:\n    csbsctl apply {out}"
        )
    refuse_classes(proposal.plan.changes, fail_on or ())
    if detailed_exitcode and not proposal.plan.empty:
        raise typer.Exit(2)


def _forecast(proposal: Proposal) -> Prospect | None:
    """Return what the plan leads to; None where the clouds were not asked."""
    from csbsctl.engine.forecasting import look_ahead_after

    return look_ahead_after(proposal) if proposal.situation.inventory is not None else None
