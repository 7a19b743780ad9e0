"""Which earlier data a new backup may be taken against, disk by disk. Pure: decides from the catalogue alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csbsctl.model.backup import Backup, BackupState, Kind, StoredVolume, Verification
from csbsctl.model.server import Volume
from csbsctl.provider import Capabilities

_USABLE = (BackupState.AVAILABLE, BackupState.WAITING_RESTORE, BackupState.RESTORING)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What the next backup of a server builds on: parents by volume id (empty: a full one), and what that means."""

    parents: Mapping[str, StoredVolume]
    enhanced: bool
    """Whether the backup will allow an instant restore."""

    def parent(self, volume: Volume) -> StoredVolume | None:
        """Return the data to compare a disk with; None when it is new or has another size than then."""
        parent = self.parents.get(volume.id)
        return parent if parent and parent.size == volume.size else None


def choose_lineage(
    backups: Sequence[Backup],
    capabilities: Capabilities,
    *,
    full: bool,
    full_every: int | None,
    instant: bool,
    by_hand: bool,
) -> Lineage:
    """Decide between full and incremental, and whether an instant restore will be possible (csbs.md 1.4).

    ``backups`` are all of the server, oldest first; ``full`` is the user's wish, ``instant`` the policy's.
    """
    usable = [backup for backup in backups if backup.state in _USABLE]
    newest = usable[-1] if usable else None
    enhanced = newest is not None and newest.instant_restore
    whole = (
        full
        or newest is None
        or not capabilities.incremental
        or newest.verification is Verification.FAILED
        or _too_long(usable, full_every or capabilities.full_every)
        or (instant and capabilities.instant_restore and not enhanced)
    )
    if whole:
        first_by_hand = by_hand and (full or newest is None)
        return Lineage({}, capabilities.instant_restore and (instant or enhanced or first_by_hand))
    assert newest is not None
    return Lineage({v.volume_id: v for v in newest.volumes}, capabilities.instant_restore and enhanced)


def needed_refs(backups: Sequence[Backup]) -> frozenset[str]:
    """Return the refs of stored data without which these backups cannot be restored."""
    return frozenset(v.parent for backup in backups for v in backup.volumes if v.parent)


def _too_long(usable: Sequence[Backup], full_every: int | None) -> bool:
    """Whether one more increment would make more than ``full_every`` backups since (and with) the last full one."""
    if full_every is None:
        return False
    length = 0
    for backup in reversed(usable):
        length += 1
        if backup.kind is Kind.FULL:
            break
    return length >= full_every
