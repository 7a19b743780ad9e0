"""``csbsctl sim server``: make, look at and change servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.diagnostics import Place, did_you_mean
from csbsctl.errors import UsageError
from csbsctl.model.server import ServerState
from csbsctl.units import format_size
from csbsctl_local.commands.session import (
    JsonFlag,
    ProviderName,
    ServerArgument,
    local,
    pairs,
    server_json,
    size,
)

if TYPE_CHECKING:
    from csbsctl.model.server import Server
    from csbsctl_local.cloud.machines import Wanted
    from csbsctl_local.provider import LocalProvider

app = typer.Typer(
    name="server", no_args_is_help=True, help="Servers: create, list, start, stop, delete, load many."
)
_KEYS = ("name", "disks", "metadata", "tags", "availability_zone")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The server's name; names need not be unique.")],
    disk: Annotated[
        list[str] | None,
        typer.Option("--disk", metavar="SIZE", help="A disk; repeat it. The first is the system disk."),
    ] = None,
    az: Annotated[str | None, typer.Option("--az", metavar="ZONE", help="Availability zone.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="K=V", help="Repeat it.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Repeat it.")] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="Boot from an image that was made from a backup."),
    ] = None,
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Create a running server. Its disks are empty and take no space until something is written.

    Example: `csbsctl sim server create db-01 --disk 10G --disk 50G --az az1 --tag prod`
    """
    if not disk and not image:
        raise UsageError("a server needs a disk", hint="--disk 10G, or --image IMAGE")
    sizes = tuple(size(text) for text in disk or [])
    with local(context, provider, as_json=as_json) as (session, opened):
        made = _make(opened, name, sizes, az, pairs(metadata or []), tuple(tag or []), image)
        session.say(f"Created server {made.name} ({made.id}) with {_disks(made)}.")
        session.result(server_json(made))


@app.command("list")
def list_servers(context: typer.Context, provider: ProviderName = None, as_json: JsonFlag = False) -> None:
    """List all servers and their disks.

    Example: `csbsctl sim server list`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        servers = list(opened.cloud.inventory.servers())
        if session.as_json:
            session.result([server_json(server) for server in servers])
            return
        if not servers:
            session.say(
                "The simulated cloud has no servers; make one: csbsctl sim server create web-01 --disk 10G"
            )
        for server in servers:
            session.say(f"{server.name:<24} {server.state.value:<8} {_disks(server):<28} {server.id}")


@app.command()
def delete(
    context: typer.Context, server: ServerArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Delete a server and its disks at once, without asking: it is a simulation. Backups stay.

    Example: `csbsctl sim server delete db-01`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        opened.cloud.machines.delete(found.id)
        session.say(f"Deleted server {found.name} ({found.id}).")
        session.result({"id": found.id, "name": found.name, "deleted": True})


@app.command()
def start(
    context: typer.Context, server: ServerArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Start a server.

    Example: `csbsctl sim server start db-01`
    """
    _switch(context, server, provider, ServerState.ACTIVE, as_json=as_json)


@app.command()
def stop(
    context: typer.Context, server: ServerArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Stop a server; its disks cannot be written until it is started again.

    Example: `csbsctl sim server stop db-01`
    """
    _switch(context, server, provider, ServerState.STOPPED, as_json=as_json)


@app.command()
def load(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, one server each.")],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Create many servers at once, for tests of scale: all of them, or none when a line is wrong.

    A line: `{"name": "web-01", "disks": ["10G", 1048576], "metadata": {"tier": "web"}, "tags": ["prod"], "availability_zone": "az1"}`

    Example: `csbsctl sim server load fleet.jsonl`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        ids = opened.cloud.machines.load(list(_wanted(file)))
        session.say(f"Created {len(ids)} servers.")
        session.result({"created": len(ids)})


def _make(
    opened: LocalProvider,
    name: str,
    sizes: tuple[int, ...],
    zone: str | None,
    metadata: dict[str, str],
    tags: tuple[str, ...],
    image: str | None,
) -> Server:
    from csbsctl_local.cloud.machines import Wanted

    inventory = opened.cloud.inventory
    if image is None:
        return inventory.server(opened.cloud.machines.create(Wanted(name, sizes, zone, metadata, tags)))
    server = opened.boot(image, name, zone=zone, metadata=metadata, tags=tags)
    for each in sizes:
        opened.cloud.machines.attach(inventory.server(server.id), each)
    return inventory.server(server.id)


def _switch(
    context: typer.Context, server: str, provider: str | None, state: ServerState, *, as_json: bool
) -> None:
    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        opened.cloud.machines.set_state(found.id, state)
        session.say(f"Server {found.name} is {state.value}.")
        session.result(server_json(opened.cloud.inventory.server(found.id)))


def _wanted(file: Path) -> Iterator[Wanted]:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _line(file, number, line)
    except FileNotFoundError:
        raise UsageError(f"{file} does not exist") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None


def _line(file: Path, number: int, line: str) -> Wanted:
    from csbsctl_local.cloud.machines import Wanted

    where = Place(str(file), number, 1, line.rstrip("\n"))
    try:
        document: dict[str, Any] = json.loads(line)
        for key in document.keys() - set(_KEYS):
            raise UsageError(f"{where}: unknown key {key!r}", hint=did_you_mean(key, _KEYS), where=where)
        return Wanted(
            name=_text(document["name"]),
            disks=tuple(size(str(disk)) for disk in document.get("disks", [])),
            zone=document.get("availability_zone"),
            metadata={str(key): str(value) for key, value in document.get("metadata", {}).items()},
            tags=tuple(str(tag) for tag in document.get("tags", [])),
        )
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON: {error.msg}", where=where) from None
    except KeyError:
        raise UsageError(f"{where}: a server needs a name", where=where) from None
    except (AttributeError, TypeError):
        raise UsageError(
            f"{where}: not a server",
            hint='{"name": TEXT, "disks": [SIZE], "metadata": {}, "tags": []}',
            where=where,
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _disks(server: Server) -> str:
    count = len(server.volumes)
    total = format_size(sum(volume.size for volume in server.volumes))
    return f"{count} disk{'' if count == 1 else 's'}, {total}"
