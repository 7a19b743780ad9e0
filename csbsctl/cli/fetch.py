"""``restore --to``: disks and files out of a backup, into a folder of this machine. The words around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from csbsctl.units import format_size

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.model.backup import Backup
    from csbsctl.protection.site import Site


def disks(
    session: Session, site: Site, backup: Backup, volumes: Sequence[str], to: Path, *, dry_run: bool
) -> None:
    """Write disks of a backup as raw images into a folder and print their digests; a dry run says which."""
    from csbsctl.protection.disks import fetch_disks, plan_disks

    folder = (session.directory / to).resolve()
    done = plan_disks(backup, folder, volumes) if dry_run else fetch_disks(site, backup, folder, volumes)
    session.result(done.to_json())
    taken = f"{backup.name} of {backup.server.name}, taken {backup.instant:%Y-%m-%d %H:%M:%S} UTC"
    session.say(f"Disks of {taken}, {'would be written to' if dry_run else 'in'} {folder}:")
    for each in done.disks:
        state = "there already" if each.kept else ""
        digest = f"sha256 {each.disk.sha256}" if each.disk.sha256 else ""
        words = ", ".join(word for word in (format_size(each.disk.size), digest, state) if word)
        session.say(f"  {each.disk.file} ({words})")


def files(
    session: Session,
    site: Site,
    backup: Backup,
    paths: Sequence[str],
    volumes: Sequence[str],
    to: Path | None,
    *,
    dry_run: bool,
) -> None:
    """Put files of a backup into a folder, or list what would be; exit 1 when something is damaged."""
    from csbsctl.protection.files import fetch_files, list_files
    from csbsctl.protection.survey import FilesRequest

    request = FilesRequest(backup, tuple(paths), tuple(volumes))
    folder = (session.directory / to).resolve() if to else None
    if dry_run or folder is None:
        done = list_files(site, request, folder)
        for each in done.files:
            document = each.to_json()
            session.say(f"{document['modified'] or '-':20.20}  {each.node.size:>12}  {document['path']}")
    else:
        done = fetch_files(site, request, folder)
    session.result(done.to_json())
    for note in done.notes:
        session.say(f"Note: {note}")
    for each in done.skipped:
        session.say(f"Left out {each.to_json()['path']}: {each.reason}")
    count = f"{len(done.files)} of {backup.name} ({format_size(done.size)})"
    session.say(f"Would fetch {count}." if done.job is None else f"Fetched {count} into {folder}.")
    if done.damaged:
        raise typer.Exit(1)
