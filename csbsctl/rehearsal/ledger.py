"""How many bytes backups take, by what guests are said to write: a model, since a test moves only a few real bytes.

The oldest backup of a disk holds all that was used; each later one what changed since the one before it that is still
there. Full backups of a cloud with chains hold all that was used again. Before compression and across no two servers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from csbsctl.model.backup import Backup, BackupState, Kind
from csbsctl.rehearsal.suite import Where
from csbsctl.rehearsal.world import Member

_DAY = 86400.0


def stored_bytes(member: Member, backups: Sequence[Backup], sizes: Mapping[str, int], *, chains: bool) -> int:
    """Return the bytes of a server's backups, oldest first, hidden ones included; ``sizes`` are those of disks."""
    total = 0.0
    last: dict[str, datetime] = {}
    for backup in backups:
        if backup.state is BackupState.ERROR:
            continue
        for volume in backup.volumes:
            before, size = last.get(volume.volume_id), sizes[volume.volume_id]
            if before is None or (chains and volume.kind is Kind.FULL):
                total += _used(member, size, backup.instant)
            else:
                total += _changed(member, size, before, backup.instant)
            last[volume.volume_id] = backup.instant
    return round(total)


def _used(member: Member, disk: int, at: datetime) -> float:
    used = disk * float(member.fleet.used.rstrip("%")) / 100
    if member.fleet.where is Where.APPEND:
        used += _written(member, disk, member.created, at)
    return min(used, disk)


def _changed(member: Member, disk: int, since: datetime, until: datetime) -> float:
    """Return how many different bytes were written: random writes hit the same place again and again."""
    written = _written(member, disk, since, until)
    used = _used(member, disk, until)
    if member.fleet.where is Where.APPEND or used == 0:
        return min(written, disk)
    return used * -math.expm1(-written / used)


def _written(member: Member, disk: int, since: datetime, until: datetime) -> float:
    """Return the bytes written to a disk; a server's writes go to its disks by their sizes."""
    fleet = member.fleet
    share = disk / max(sum(fleet.disks), disk)
    if isinstance(fleet.writes, str):
        daily = sum(fleet.disks) * float(fleet.used.rstrip("%")) / 100 * float(fleet.writes.rstrip("%")) / 100
    else:
        daily = fleet.writes
    days = (until - since).total_seconds() / _DAY
    bursts = sum(size for at, size in member.bursts if since < at <= until)
    attacked = sum(disk for at in member.attacks if since < at <= until)
    return (daily * days + bursts) * share + attacked
