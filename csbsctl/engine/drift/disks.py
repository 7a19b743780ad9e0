"""Disks that came to or went from a protected server since its newest good backup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from csbsctl.engine.drift.evidence import finding
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.server import Server
from csbsctl.units import format_size


def disk_findings(server: Server, backups: Iterable[Backup]) -> Iterator[Finding]:
    """Yield each disk of a server that no backup has yet, and each that the next backup will not have any more."""
    newest = max((backup for backup in backups if backup.good), key=_age, default=None)
    if newest is not None:
        yield from _attached(server, newest)
        yield from _detached(server, newest)


def _attached(server: Server, newest: Backup) -> Iterator[Finding]:
    known = {i for stored in newest.volumes for i in (stored.volume_id, *stored.successors)}
    for volume in server.volumes:
        if volume.id not in known:
            yield finding(
                FindingClass.BINDING,
                "warning",
                f"server.{server.name}",
                f"disk {volume.name} ({volume.id}, {format_size(volume.size)}) was attached to {server.name} "
                f"after its newest good backup {newest.name}, which does not have it",
                since=newest.instant,
                hint=f"the next backup has it; to have one now: csbsctl backup create {server.name}",
            )


def _detached(server: Server, newest: Backup) -> Iterator[Finding]:
    attached = {volume.id for volume in server.volumes}
    for stored in newest.volumes:
        if attached.isdisjoint((stored.volume_id, *stored.successors)):
            yield finding(
                FindingClass.BINDING,
                "warning",
                f"server.{server.name}",
                f"disk {stored.name} ({stored.volume_id}, {format_size(stored.size)}) is no longer attached to "
                f"{server.name}: backup {newest.name} has it, later ones will not",
                since=newest.instant,
                hint=f"attach it again, or keep what there is: csbsctl backup protect {newest.id}",
            )


def _age(backup: Backup) -> float:
    return backup.instant.timestamp()
