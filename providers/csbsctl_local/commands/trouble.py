"""``csbsctl sim fail|latency|steps``: let the cloud misbehave, and find the places where a process can be made to die."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.boundaries import declared_anywhere
from csbsctl.errors import ResourceNotFound, UsageError
from csbsctl_local.commands.session import JsonFlag, ProviderName, local

if TYPE_CHECKING:
    from csbsctl_local.provider import LocalProvider


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    for command in (fail, latency, steps):
        app.command()(command)


def fail(
    context: typer.Context,
    step: Annotated[str, typer.Argument(metavar="STEP|list|clear", help="A step of the provider.")],
    error: Annotated[
        str | None,
        typer.Option("--error", metavar="KIND", help="not-found, conflict, quota, unavailable or refused."),
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="SERVER", help="Only for this server.")
    ] = None,
    times: Annotated[
        int | None, typer.Option("--times", min=1, help="So many times; without it, always.")
    ] = None,
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a step of the provider fail from now on; `list` shows what is to come, `clear` ends it, delays too.

    Steps: servers, server, snapshot, store, release, delete, verify, collect, stop, start, restore, swap, build,
    image, images, delete-image, marked, remove.

    Example: `csbsctl sim fail store --server db-01 --times 2 --error unavailable`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        faults = opened.cloud.faults
        if step == "clear":
            faults.clear()
            session.say("All steps work again, without delay.")
        elif step != "list":
            if error is None:
                raise UsageError("say how it shall fail", hint="--error unavailable")
            faults.add(step, error, server=_existing(opened, server), times=times)
            session.say(
                f"Step {step} fails with {error} {f'{times} times' if times else 'until sim fail clear'}."
            )
        else:
            for fault in faults.list():
                whom = f" for server {fault.server}" if fault.server else ""
                left = f"{fault.remaining} times more" if fault.remaining else "always"
                session.say(f"{fault.step}{whom} fails with {fault.error}, {left}")
            for name, seconds in faults.delays().items():
                session.say(f"{name} takes {seconds:g} s longer")
        session.result({"faults": [asdict(fault) for fault in faults.list()], "latencies": faults.delays()})


def latency(
    context: typer.Context,
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step of the provider; see sim fail --help.")],
    seconds: Annotated[
        float, typer.Argument(metavar="SECONDS", min=0, help="How much longer it takes; 0 ends it.")
    ],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a step of the provider take longer.

    Example: `csbsctl sim latency store 0.5`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        opened.cloud.faults.delay(step, seconds)
        session.say(f"Step {step} takes {seconds:g} s longer." if seconds else f"Step {step} has no delay.")
        session.result({"latencies": opened.cloud.faults.delays()})


def steps(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List the named step boundaries at which `CSBSCTL_FAULT=kill:STEP[:N]` makes a process kill itself.

    Example: `CSBSCTL_FAULT=kill:cloud.snapshot.taken csbsctl run`
    """
    session = context.obj
    if as_json:
        session.as_json = True
    found = declared_anywhere()
    for name, meaning in found.items():
        session.say(f"{name:<32} {meaning}")
    session.result([{"name": name, "meaning": meaning} for name, meaning in found.items()])


def _existing(opened: LocalProvider, server: str | None) -> str | None:
    """Return a server's id; a name that does not exist yet is kept, for a server still to be made."""
    if server is None:
        return None
    try:
        return opened.cloud.inventory.find(server).id
    except ResourceNotFound:
        return server
