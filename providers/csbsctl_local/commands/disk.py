"""``csbsctl sim disk``: disks as an operator of a cloud handles them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csbsctl.errors import UsageError
from csbsctl.units import format_size
from csbsctl_local.commands.session import (
    DiskArgument,
    JsonFlag,
    ProviderName,
    ServerArgument,
    local,
    server_json,
    size,
)

app = typer.Typer(
    name="disk", no_args_is_help=True, help="Disks: attach, detach, share, resize, import, export, digest."
)


@app.command()
def attach(
    context: typer.Context,
    server: ServerArgument,
    new_size: Annotated[str | None, typer.Argument(metavar="SIZE", help="Size of a new, empty disk.")] = None,
    volume: Annotated[
        str | None,
        typer.Option("--volume", metavar="ID", help="Attach a detached volume instead of a new one."),
    ] = None,
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Attach a disk to a server, behind those it has.

    Example: `csbsctl sim disk attach db-01 50G`
    """
    if (new_size is None) == (volume is None):
        raise UsageError("give either the size of a new disk or --volume ID")
    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        if volume is not None:
            opened.cloud.machines.attach_existing(found, volume)
        else:
            opened.cloud.machines.attach(found, size(new_size or ""))
        now = opened.cloud.inventory.server(found.id)
        session.say(f"Attached {now.volumes[-1].name} as {now.name}:{len(now.volumes) - 1}.")
        session.result(server_json(now))


@app.command()
def detach(
    context: typer.Context, disk: DiskArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Detach a data disk. It stays in the cloud; those behind it move up one number.

    Example: `csbsctl sim disk detach db-01:1`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        server, volume = opened.cloud.inventory.find_disk(disk)
        opened.cloud.machines.detach(server, volume)
        session.say(f"Detached {volume.name} ({volume.id}) from {server.name}.")
        session.result(server_json(opened.cloud.inventory.server(server.id)) | {"detached": volume.id})


@app.command()
def share(
    context: typer.Context,
    disk: DiskArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The server that gets it too.")],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Attach a disk to a second server as well; servers with shared disks cannot be protected.

    Example: `csbsctl sim disk share db-01:1 db-02`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        server, volume = opened.cloud.inventory.find_disk(disk)
        target = opened.cloud.inventory.find(other)
        opened.cloud.machines.attach_existing(target, volume.id)
        session.say(f"{volume.name} of {server.name} is now shared with {target.name}.")
        session.result(server_json(opened.cloud.inventory.server(target.id)))


@app.command()
def resize(
    context: typer.Context,
    disk: DiskArgument,
    new_size: Annotated[str, typer.Argument(metavar="SIZE", help="The new size; disks never shrink.")],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Enlarge a disk; the new part reads as zeros.

    Example: `csbsctl sim disk resize db-01:1 60G`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        server, volume = opened.cloud.inventory.find_disk(disk)
        opened.cloud.machines.resize(volume, size(new_size))
        session.say(f"{volume.name} has {format_size(size(new_size))}.")
        session.result(server_json(opened.cloud.inventory.server(server.id)))


@app.command("import")
def import_(
    context: typer.Context,
    disk: DiskArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A raw image, not larger than the disk.")],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Replace a disk's bytes by a raw image; the rest of the disk becomes zeros.

    Example: `csbsctl sim disk import web-01:0 debian.raw`
    """
    from csbsctl_local.cloud.transfer import import_image

    with local(context, provider, as_json=as_json) as (session, opened):
        server, volume = opened.cloud.inventory.find_disk(disk)
        done = import_image(opened.cloud.volumes, server, volume, file)
        session.say(f"Imported {format_size(done)} into {volume.name}.")
        session.result({"volume": volume.id, "imported": done})


@app.command()
def export(
    context: typer.Context,
    disk: DiskArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write the raw image; must not exist.")
    ],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a disk's bytes to a raw image, sparse.

    Example: `csbsctl sim disk export web-01:0 web-01.raw`
    """
    from csbsctl_local.cloud.transfer import export_image

    with local(context, provider, as_json=as_json) as (session, opened):
        _, volume = opened.cloud.inventory.find_disk(disk)
        with opened.cloud.disk(volume.id) as source:
            done = export_image(source, file)
        session.say(f"Exported {format_size(done)} to {file}.")
        session.result({"volume": volume.id, "exported": done, "file": str(file)})


@app.command()
def sha256(
    context: typer.Context, disk: DiskArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Print the SHA-256 of a disk's bytes, holes as zeros: what sha256sum says of its export.

    Example: `csbsctl sim disk sha256 web-01:0`
    """
    from csbsctl_local.cloud.transfer import sha256 as digest_of

    with local(context, provider, as_json=as_json) as (session, opened):
        _, volume = opened.cloud.inventory.find_disk(disk)
        with opened.cloud.disk(volume.id) as source:
            digest = digest_of(source)
        session.say(digest)
        session.result({"volume": volume.id, "sha256": digest})
