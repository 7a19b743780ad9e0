"""``image``: bootable images of whole servers, made from backups."""

from __future__ import annotations

from typing import Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command, group
from csbsctl.cli.session import Session
from csbsctl.clock import format_instant
from csbsctl.units import format_size

app = group("Make bootable images of whole servers from backups.")


@command(app, examples=["csbsctl image create autobk_3f9a@web-01 --name golden-web"])
def create(
    session: Session,
    backup: Annotated[
        str, typer.Argument(help="ID or name of a backup; NAME@SERVER.", autocompletion=completion.backups)
    ],
    name: Annotated[str | None, typer.Option(help="What to call the image.", show_default=False)] = None,
) -> None:
    """Make an image of the whole server, data disks included. Its backup stays until the image is deleted."""
    from csbsctl.protection.byhand import create_image

    with session.site() as site:
        found = site.vault.catalogue.find(backup)
        session.say(f"Making an image of {found.server.name} from {found.name} ...")
        image = create_image(site, found, name)
    session.result({"id": image.id, "name": image.name, "backup": found.id, "size": image.size})
    session.say(f"Made image {image.name} ({image.id}).")


@command(app, "list", examples=["csbsctl image list"])
def list_(session: Session) -> None:
    """List images made from backups."""
    from csbsctl.protection.byhand import list_images

    images = list_images(session.reading_site()) if session.vault_if_any() else []
    session.result(
        [
            {
                "id": image.id,
                "name": image.name,
                "provider": provider,
                "backup": image.backup,
                "size": image.size,
                "created_at": format_instant(image.created_at),
                "state": image.state,
            }
            for provider, image in images
        ]
    )
    session.out.table(
        ("ID", "NAME", "PROVIDER", "BACKUP", "SIZE", "CREATED", "STATE"),
        [
            (
                i.id,
                i.name,
                p,
                (i.backup or "-")[:8],
                format_size(i.size),
                f"{i.created_at:%Y-%m-%d %H:%M}",
                i.state,
            )
            for p, i in images
        ],
        empty="There are no images.",
    )


@command(app, examples=["csbsctl image delete golden-web"])
def delete(
    session: Session,
    image: Annotated[str, typer.Argument(help="ID or name of an image.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go ahead without asking.")] = False,
) -> None:
    """Delete an image; its backup can then be deleted too."""
    from csbsctl.protection.byhand import delete_image

    session.out.confirm(f"Image {image} will be deleted.", yes=yes)
    with session.site() as site:
        delete_image(site, image)
    session.result({"deleted": image})
    session.say(f"Deleted image {image}.")
