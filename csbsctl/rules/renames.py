"""Backups made while their policy had another name (``moved:``) are still that policy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from csbsctl.model.backup import Backup


def under_present_names(backups: Sequence[Backup], former: Mapping[str, Sequence[str]]) -> tuple[Backup, ...]:
    """Return the backups with the present name of their policy; ``former`` maps it to those it had before."""
    names = {old: new for new, olds in former.items() for old in olds}
    if not names:
        return tuple(backups)
    return tuple(
        backup.model_copy(update={"policy": names[backup.policy]}) if backup.policy in names else backup
        for backup in backups
    )
