"""``show`` and ``history``: what is in force, what a saved plan says, who changed what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command
from csbsctl.cli.session import Session
from csbsctl.errors import NotFound

if TYPE_CHECKING:
    from csbsctl.model.control import StackState

app = typer.Typer()

_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}")


@command(
    app, examples=["csbsctl show", "csbsctl show policy.gold", "csbsctl show tonight.plan --format html"]
)
def show(
    session: Session,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLANFILE|ADDR]",
            help="A saved plan or an address.",
            show_default=False,
            autocompletion=completion.addresses,
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="Of a saved plan; see csbsctl plan.")] = "text",
    verbose: Annotated[bool, typer.Option("--verbose", help="Fold nothing away.")] = False,
) -> None:
    """Show what is in force in this stack, one address of it, or a saved plan."""
    path = session.directory / what if what else None
    if path and path.is_file():
        _show_plan(session, str(path), format, verbose=verbose)
        return
    vault = session.vault_if_any()
    state = vault.control.head().stacks.get(session.stack) if vault else None
    if state is None:
        if what:
            raise NotFound(
                f"{what} is neither a file nor an address in force", hint="nothing has been applied yet"
            )
        session.result({})
        session.say("Nothing has been applied yet: see csbsctl plan.")
        return
    _show_live(session, state, what)


@command(app, examples=["csbsctl history", "csbsctl history --limit 5"])
def history(
    session: Session,
    limit: Annotated[int | None, typer.Option(help="Only the newest N.", min=1, show_default=False)] = None,
) -> None:
    """List the generations of the control document, newest first: who, when, from which commit."""
    from itertools import islice

    from csbsctl.report import history_json, render_history

    vault = session.vault_if_any()
    documents = list(islice(vault.control.history(), limit)) if vault else []
    session.result(history_json(documents))
    if documents:
        session.say(render_history(documents, color=session.out.color).rstrip("\n"))
    else:
        session.say("Nothing has been applied yet: see csbsctl plan.")


def _show_plan(session: Session, path: str, format: str, *, verbose: bool) -> None:
    from pathlib import Path

    from csbsctl.engine import planfile
    from csbsctl.report import render_plan

    saved = planfile.load(Path(path))
    shown = "json" if session.as_json else format
    session.out.raw(
        render_plan(saved.plan, shown, color=session.out.color, width=session.out.width, verbose=verbose)
    )


def _show_live(session: Session, state: StackState, address: str | None) -> None:
    from csbsctl.engine.addresses import look_up

    value: Any = look_up(state.live, address) if address else state.live
    if value is None:
        from csbsctl.diagnostics import did_you_mean
        from csbsctl.engine.addresses import addresses

        raise NotFound(f"{address} is not in force", hint=did_you_mean(address or "", addresses(state.live)))
    session.result(value)
    session.say(as_yaml(value))


def as_yaml(value: Any) -> str:
    """Return a value as YAML that can be pasted into a configuration: times of day stay quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what YAML 1.1 would read as a number of base 60."""

    def text(dumper: yaml.SafeDumper, content: str) -> yaml.ScalarNode:
        style = '"' if _TIME.fullmatch(content) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", content, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True).rstrip()
