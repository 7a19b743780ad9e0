"""Snapshots that are kept for instant restores: those of the newest backup whose policy asks for it, no others.

Only where a cloud needs them for that (``instant_keeps_snapshots``). They cost room, so each good backup under a policy
lets go of those before it; the backups themselves stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from csbsctl.errors import ProviderError
from csbsctl.model.backup import Backup, BackupState
from csbsctl.protection.jobs.work import Work


def keeps_snapshots(work: Work) -> bool:
    """Whether a backup job keeps its snapshot."""
    return bool(work.job.intent["instant"]) and work.provider.capabilities.instant_keeps_snapshots


def retire_snapshots(work: Work, newest: Backup) -> None:
    """Let go of what older backups of the server kept. What the cloud does not let go of now, the next backup does."""
    if newest.policy is None or not work.provider.capabilities.instant_keeps_snapshots:
        return
    for backup in work.site.vault.catalogue.backups(work.job.provider, str(work.job.server)):
        idle = backup.state in (BackupState.AVAILABLE, BackupState.ERROR)
        if backup.id != newest.id and backup.instant_restore and idle:
            with suppress(ProviderError):
                _retire(work, backup)


def _retire(work: Work, backup: Backup) -> None:
    step = work.step(backup.name)
    after = tuple(work.provider.let_go(step, volume) for volume in backup.volumes)

    def change(backups: Sequence[Backup]) -> list[Backup]:
        update = {"volumes": after, "instant_restore": False}
        return [b.model_copy(update=update) if b.id == backup.id else b for b in backups]

    work.lease.check()
    work.site.vault.catalogue.update(backup.provider, backup.server.id, change, fence=work.lease.number)
