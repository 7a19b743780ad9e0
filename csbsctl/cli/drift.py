"""``drift``: findings about what is live, for CI and alerting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.planning import gather
from csbsctl.cli.session import Session

if TYPE_CHECKING:
    from csbsctl.engine.drift import DriftReport, Evidence

app = typer.Typer()


@command(
    app,
    examples=[
        "csbsctl drift",
        "csbsctl drift --only config --only unprotected",
        "csbsctl drift --format junit",
    ],
)
def drift(
    session: Session,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="Only findings of this class; may be given again.", show_default=False
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="text, json, markdown, html, github, junit, sarif.")
    ] = "text",
) -> None:
    """Compare what is live with what is declared; exits 2 when there are findings, 0 when there are none.

    Classes: config, unprotected, binding, missed, objective, backup, chain, orphan, quota.
    """
    from csbsctl.report import render_drift

    report = find_drift(session, only or ())
    shown = "json" if session.as_json else format
    color = session.out.color and shown == "text"
    session.out.raw(
        render_drift(
            report.findings, shown, color=color, stack=session.stack, place=session.configuration.place
        )
    )
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def find_drift(session: Session, only: Sequence[str] = ()) -> DriftReport:
    """Return the findings about this stack, of all classes or of some."""
    from csbsctl.engine import Desired
    from csbsctl.engine.drift import Detector

    desired = Desired.of(session.configuration, commit=session.commit)
    return Detector(gather(session), _evidence(session)).detect(desired, only=only)


def _evidence(session: Session) -> Evidence:
    from csbsctl.engine.drift import Evidence

    vault = session.vault_if_any()
    if vault is None:
        return Evidence()
    marked = {name: provider.marked(vault.id) for name, provider in session.providers.items()}
    return Evidence(vault.jobs.running(), vault.jobs.state, marked)
