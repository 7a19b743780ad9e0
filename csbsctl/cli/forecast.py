"""``forecast``: what the policies in force will hold, how much that is, and whether it fits."""

from __future__ import annotations

from typing import Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.completion import policies, servers
from csbsctl.cli.damage import end_with_damage
from csbsctl.cli.planning import gather
from csbsctl.cli.session import Session

app = typer.Typer()


@command(
    app,
    examples=[
        "csbsctl forecast",
        "csbsctl forecast --days 365 --policy gold",
        "csbsctl forecast --format svg > forecast.svg",
    ],
)
def forecast(
    session: Session,
    days: Annotated[int, typer.Option(help="How far to look.", min=1, max=3650)] = 90,
    policy: Annotated[
        str | None, typer.Option(help="Only this policy.", show_default=False, autocompletion=policies)
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Only this server.", show_default=False, autocompletion=servers)
    ] = None,
    format: Annotated[str, typer.Option("--format", help="text, json or svg.")] = "text",
) -> None:
    """Show how many backups and bytes the policies in force will hold, day by day, and the worst recovery point.

    Reckons with the real schedules and retention rules and with what each server's backups have stored so far.
    """
    from csbsctl.engine.forecasting import look_ahead
    from csbsctl.report.forecast import render_forecast

    situation = gather(session)
    prospect = look_ahead(situation, session.stack, days=days, policy=policy, server=server)
    session.out.raw(render_forecast(prospect, "json" if session.as_json else format, color=session.out.color))
    end_with_damage(session, situation.backups.damaged)
