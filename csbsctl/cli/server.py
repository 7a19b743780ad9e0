"""``server``: what is there, what protects it, and why something cannot be protected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command, group
from csbsctl.cli.damage import end_with_damage
from csbsctl.cli.output import minute, plain
from csbsctl.cli.session import Session
from csbsctl.units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csbsctl.errors import Damaged

app = group("List servers and say whether they can be protected.")


@command(app, "list", examples=["csbsctl server list", "csbsctl server list --unprotected"])
def list_(
    session: Session,
    unprotected: Annotated[bool, typer.Option("--unprotected", help="Only those in no policy.")] = False,
) -> None:
    """List the servers of every configured cloud: their policy, whether they can be protected, and why not."""
    damaged: dict[tuple[str, str], Damaged] = {}
    views = [view for view in _views(session, damaged) if not unprotected or view["policy"] is None]
    session.result(views)
    session.out.table(
        ("NAME", "PROVIDER", "STATE", "DISKS", "SIZE", "POLICY", "LAST BACKUP", "PROTECTABLE"),
        [
            (
                v["name"],
                v["provider"],
                v["state"],
                len(v["volumes"]),
                format_size(sum(disk["size"] for disk in v["volumes"])),
                v["policy"],
                minute(v["last_backup"]),
                v["protectable"] or f"no: {v['reason']}",
            )
            for v in views
        ],
        empty="Every server is in a policy." if unprotected else "There are no servers.",
    )
    end_with_damage(session, damaged)


@command(app, examples=["csbsctl server show web-01"])
def show(
    session: Session,
    server: Annotated[str, typer.Argument(help="Name or ID.", autocompletion=completion.servers)],
) -> None:
    """Show a server with its disks."""
    found = session.find_server(server)
    damaged: dict[tuple[str, str], Damaged] = {}
    views = _views(session, damaged)
    view = next(v for v in views if (v["provider"], v["id"]) == (found.provider, found.id))
    session.result(view)
    for key, value in view.items():
        if key != "volumes" and value not in (None, "", [], {}):
            session.say(f"{key.replace('_', ' '):<18} {plain(value)}")
    for number, disk in enumerate(view["volumes"]):
        words = ", ".join(word for word in ("bootable", "shared", "encrypted") if disk[word])
        session.say(
            f"disk {number:<13} {disk['name']} ({disk['id']}): {format_size(disk['size'])} {words}".rstrip()
        )
    end_with_damage(session, {k: e for k, e in damaged.items() if k == (found.provider, found.id)})


def _views(session: Session, damaged: dict[tuple[str, str], Damaged]) -> Sequence[dict[str, Any]]:
    """Return the servers; before anything was applied there is no vault, and so no policy and no backup of any."""
    from csbsctl.protection.status import server_view, server_views

    if session.vault_if_any():
        return server_views(session.reading_site(), damaged.__setitem__)
    return [server_view(server) for servers in session.inventory().values() for server in servers]
