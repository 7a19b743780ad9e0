"""Which earlier data a new backup may be taken against, disk by disk. Pure: decides from the catalogue alone."""

from __future__ import annotations

from collections.abc import Sequence

from csbsctl.model.backup import Backup, BackupState, Kind, StoredVolume, Verification
from csbsctl.model.server import Volume
from csbsctl.provider import Capabilities
from csbsctl.rules.eligibility import enables

_USABLE = (BackupState.AVAILABLE, BackupState.WAITING_RESTORE, BackupState.RESTORING)


class Lineage:
    """What the next backup of a server builds on; nothing, when it is to be a full one."""

    def __init__(self, newest: Backup | None = None, root: Backup | None = None) -> None:
        self._stored = {volume.volume_id: volume for volume in newest.volumes} if newest else {}
        self.stands_on_enabling = root is not None and enables(root)
        """Whether the full backup behind it makes increments fit for an instant restore (csbs.md 1.4)."""

    def parent(self, volume: Volume) -> StoredVolume | None:
        """Return the data to compare a disk with; None when it is new or has another size than then."""
        parent = self._stored.get(volume.id)
        return parent if parent and parent.size == volume.size else None


def choose_lineage(
    backups: Sequence[Backup], capabilities: Capabilities, *, full: bool, full_every: int | None
) -> Lineage:
    """Decide between full (as the user may wish) and incremental; ``backups`` are all of the server, oldest first."""
    usable = [backup for backup in backups if backup.state in _USABLE]
    if full or not usable or not capabilities.incremental:
        return Lineage()
    newest = usable[-1]
    since_full = _since_full(usable)
    bound = full_every or capabilities.full_every
    if newest.verification is Verification.FAILED or (bound is not None and len(since_full) >= bound):
        return Lineage()
    root = since_full[0] if since_full[0].kind is Kind.FULL else None
    return Lineage(newest, root)


def _since_full(usable: Sequence[Backup]) -> Sequence[Backup]:
    """Return the newest full backup and the increments after it, oldest first."""
    for position in range(len(usable) - 1, -1, -1):
        if usable[position].kind is Kind.FULL:
            return usable[position:]
    return usable
