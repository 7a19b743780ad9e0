"""``restore``: bring a server, some of its disks, a copy of it, or single files back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command
from csbsctl.cli.destination import Destination, destination_of
from csbsctl.cli.session import Session, instant_of
from csbsctl.errors import UsageError
from csbsctl.units import format_size

if TYPE_CHECKING:
    from csbsctl.model.backup import Backup
    from csbsctl.protection.jobs.restore import Restored
    from csbsctl.protection.preflight import Preflight, RestoreRequest
    from csbsctl.protection.site import Site

app = typer.Typer()


@command(
    app,
    examples=[
        "csbsctl restore autobk_3f9a --in-place --dry-run",
        "csbsctl restore --server web-01 --as-of 2026-11-21T12:00:00Z --in-place",
        "csbsctl restore --server web-01 --as web-01-copy --instant",
        "csbsctl restore autobk_3f9a --in-place --volume data",
        "csbsctl restore autobk_3f9a --as web-02 --set flavor=m1.large --set metadata=tier=test",
        "csbsctl restore autobk_3f9a --no-server",
        "csbsctl restore autobk_3f9a --path /etc/fstab --path '/etc/ssh/*.conf' --to out",
        "csbsctl restore autobk_3f9a --to images",
    ],
)
def restore(
    session: Session,
    backup: Annotated[
        str | None,
        typer.Argument(
            help="ID or name of a backup, or NAME@SERVER.",
            show_default=False,
            autocompletion=completion.backups,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="Restore the newest good backup of this server.",
            show_default=False,
            autocompletion=completion.servers,
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --server: as it was at this time.", show_default=False),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Overwrite the server's disks.")] = False,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Build a new server.", show_default=False)
    ] = None,
    no_server: Annotated[
        bool, typer.Option("--no-server", help="Restore the volumes alone, named after --as or the server.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the disks as raw images, or the files of --path.", show_default=False
        ),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            help="With --to: only this file or folder (*, ? and [] match); may be given again.",
            show_default=False,
        ),
    ] = None,
    onto: Annotated[
        str | None,
        typer.Option(
            metavar="SERVER",
            help="With --in-place: onto this other server.",
            show_default=False,
            autocompletion=completion.servers,
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this disk of the backup (with --path also DISK:PARTITION); may be given again.",
            show_default=False,
        ),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DISK=DISK", help="Send a disk of the backup to another disk.", show_default=False
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="With --as: what the new server shall have otherwise; a key may be given again.",
            show_default=False,
        ),
    ] = None,
    instant: Annotated[
        bool, typer.Option("--instant", help="Usable at once; fills from the vault behind.")
    ] = False,
    no_power_on: Annotated[bool, typer.Option("--no-power-on", help="Leave the server stopped.")] = False,
    no_safety_backup: Annotated[
        bool, typer.Option("--no-safety-backup", help="Do not back up the present state first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every check and every disk; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go ahead without asking.")] = False,
) -> None:
    """Bring data back: onto the server (--in-place), as a new one (--as), as volumes, disk images or single files.

    An interrupted restore is continued by the same command. With --to, neither the server nor its cloud need be there.
    """
    from csbsctl.cli import fetch
    from csbsctl.protection.preflight import RestoreRequest

    destination = destination_of(
        {
            "--in-place": in_place,
            "--as": as_name is not None,
            "--no-server": no_server,
            "--to": to is not None,
            "--path": path,
            "--onto": onto,
            "--map": map,
            "--instant": instant,
            "--no-power-on": no_power_on,
            "--no-safety-backup": no_safety_backup,
            "--set": set,
            "--dry-run": dry_run,
        }
    )
    with session.site() as site:
        if destination is Destination.FILES:
            chosen = _chosen(site, backup, server, as_of)
            fetch.files(session, site, chosen, path or [], volume or [], to, dry_run=dry_run)
            return
        if destination is Destination.DISKS:
            assert to is not None
            fetch.disks(
                session, site, _chosen(site, backup, server, as_of), volume or [], to, dry_run=dry_run
            )
            return
        request = RestoreRequest(
            backup=_chosen(site, backup, server, as_of),
            server=site.find_server(onto).id if onto else None,
            name=as_name,
            volumes_only=no_server,
            volumes=tuple(volume or ()),
            mapping=_mapping(map or []),
            instant=instant,
            power_on=not no_power_on,
            safety=not no_safety_backup,
            overrides=_settings(set or []),
        )
        _restore(session, site, request, dry_run=dry_run, yes=yes)


def _restore(session: Session, site: Site, request: RestoreRequest, *, dry_run: bool, yes: bool) -> None:
    from csbsctl.protection.preflight import check_restore
    from csbsctl.protection.restore import earlier_try
    from csbsctl.protection.restore import restore as carry_out

    if dry_run or not earlier_try(site, request):
        _preflight(session, check_restore(site, request), request, dry_run=dry_run, yes=yes)
    if dry_run:
        return
    restored = carry_out(site, request)
    safety = None
    if restored.server:
        former = restored.replaced or restored.server["id"]
        backups = site.vault.catalogue.backups(request.backup.provider, former)
        safety = next((b for b in backups if b.id == restored.safety), None)
    _tell(session, request, restored, safety)


def _chosen(site: Site, wanted: str | None, server: str | None, as_of: str | None) -> Backup:
    from csbsctl.protection.restore import backup_as_of
    from csbsctl.protection.status import find_backed_up_server

    if wanted is not None:
        if server or as_of:
            raise UsageError("a backup was named: leave out --server and --as-of")
        return site.vault.catalogue.find(wanted)
    if server is None:
        raise UsageError("name a backup, or a server with --server", hint="csbsctl backup list shows them")
    provider, server_id = find_backed_up_server(site, server)
    return backup_as_of(
        site, provider, server_id, instant_of("--as-of", as_of) if as_of else site.clock.now()
    )


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        source, found, target = pair.partition("=")
        if not (source and found and target):
            raise UsageError(
                f"--map {pair!r} is not DISK=DISK", hint="a disk of the backup, then one of the server"
            )
        mapping[source] = target
    return mapping


def _settings(words: list[str]) -> dict[str, list[str]]:
    """Return every key with all its values, in the order given."""
    settings: dict[str, list[str]] = {}
    for word in words:
        key, found, value = word.partition("=")
        if not (key and found):
            raise UsageError(f"--set {word!r} is not KEY=VALUE", hint="such as --set flavor=m1.large")
        settings.setdefault(key, []).append(value)
    return settings


def _preflight(
    session: Session, checked: Preflight, request: RestoreRequest, *, dry_run: bool, yes: bool
) -> None:
    """Show what would happen, refuse what is forbidden, and ask before anything is overwritten."""
    plan = checked.plan
    there = plan.server.name if plan.server else f"{plan.backup.server.name}, which is not there any more"
    goal = f"a new server {plan.name}" if plan.name else f"server {there}"
    goal = "new volumes that no server has" if plan.volumes_only else goal
    session.say(
        f"Backup {plan.backup.name} of {plan.backup.server.name}, taken {plan.backup.instant:%Y-%m-%d %H:%M:%S} UTC"
    )
    session.say(f"will be restored onto {goal}:")
    for mapping in plan.mappings:
        onto = f"-> {mapping.target.name}" if mapping.target else "-> new disk"
        session.say(f"  {mapping.stored.name} ({format_size(mapping.stored.size)}) {onto}")
    for disk in checked.left_alone:
        session.say(f"  {disk.name} was attached since and is left alone")
    for gone in checked.gone:
        session.say(f"  {gone.name} is no longer attached and is not restored")
    for note in checked.notes if dry_run else ():
        session.say(f"  {note}")
    for refusal in checked.refusals:
        session.say(f"  refused: {refusal.reason} ({refusal.code})")
    if dry_run:
        session.result(checked.to_json())
    checked.insist()
    if dry_run:
        session.say(f"Nothing speaks against it. {_course(checked)}")
    if plan.server and not dry_run:
        data = "its present data is backed up first" if request.safety else "its present data is lost"
        session.out.confirm(
            f"Server {plan.server.name} will be stopped and its disks overwritten; {data}.",
            yes=yes,
            expect=plan.server.name,
        )


def _course(checked: Preflight) -> str:
    """Say what a restore would do beside bringing the disks back."""
    plan = checked.plan
    if plan.volumes_only:
        return "Nothing else is touched."
    if plan.server is None:
        after = "" if plan.power_on else ", and left stopped"
        return f"A new server is built{after}; nothing else is touched."
    before = "The present state is backed up first, then" if checked.safety else "Nothing is backed up first:"
    after = "started again if it ran" if plan.power_on else "left stopped"
    return f"{before} the server is stopped, its disks are overwritten, and it is {after}."


def _tell(session: Session, request: RestoreRequest, restored: Restored, safety: Backup | None) -> None:
    session.result(
        {
            "server": restored.server,
            "replaced_server": restored.replaced,
            "backup": request.backup.id,
            "volumes": [volume.volume_id for volume in restored.volumes],
            "new_volumes": list(restored.kept),
            "safety_backup": restored.safety,
            "job": restored.job,
            "notes": list(restored.notes),
        }
    )
    if restored.server is None:
        session.say(f"Restored from {request.backup.name}, attached to no server:")
        for volume in restored.kept:
            session.say(f"  {volume['id']}  {volume['name']} ({format_size(volume['size'])})")
        return
    session.say(f"Server {restored.server['name']} is restored from {request.backup.name}.")
    if restored.replaced:
        session.say(
            f"It is a new server, {restored.server['id']}; the old one, {restored.replaced}, stays, stopped."
        )
    if safety:
        session.say(f"Its former state is backup {safety.name} ({safety.id[:8]}).")
