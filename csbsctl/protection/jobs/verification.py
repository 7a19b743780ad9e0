"""The verification job: read stored data, and note in the catalogue what was found.

Changes nothing but the ``verification`` of a record, so a job that was cut off is simply closed. Damage never changes
a backup's state; only a full clean reading clears earlier damage.
"""

from __future__ import annotations

from dataclasses import dataclass

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, Damaged, Interrupted, LeaseLost, ResourceNotFound
from csbsctl.model.backup import Backup, BackupState, Verification
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.provider import Damage, Depth
from csbsctl.vault.leases import Lease

JOURNALLED = Boundary("verify.journalled", "a verification is intended and written down")
READ = Boundary("verify.read", "a backup was read, the catalogue does not say so yet")
RECORDED = Boundary("verify.recorded", "the catalogue has the result, the job is still open")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: the record as it is now, and the damage of each disk by name."""

    backup: Backup
    damage: dict[str, tuple[Damage, ...]]
    gone: bool = False
    """It was deleted while it was read: what was missing then says nothing."""

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong."""
        return not self.damage


def verify_backup(site: Site, lease: Lease, backup: Backup, depth: Depth, sample: float) -> Verified:
    """Verify one backup and record the result."""
    work = Work.begin(
        site,
        lease,
        JobKind.VERIFY,
        {"name": backup.name, "lease": lease.server, "depth": depth.value},
        provider=backup.provider,
        server=backup.server.id,
        server_name=backup.server.name,
        backup=backup.id,
    )
    JOURNALLED()
    try:
        damage = _read(work, backup, depth, sample)
    except LeaseLost:
        raise
    except CsbsError as error:
        work.fail(error)
        raise
    READ()
    if damage and _is_gone(work, backup):
        work.finish(size=0)
        return Verified(backup, {}, gone=True)
    after = _record(work, backup, depth, sound=not damage)
    RECORDED()
    work.finish(size=backup.size)
    return Verified(after, damage)


def close_verification(work: Work) -> str:
    """Close a verification whose runner is gone: nothing is left of it."""
    work.fail(Interrupted("the runner was gone before the verification ended"))
    return "undone"


def _read(work: Work, backup: Backup, depth: Depth, sample: float) -> dict[str, tuple[Damage, ...]]:
    damage = {}
    for volume in backup.volumes:
        step = work.step(volume.name or volume.volume_id)
        try:
            found = work.patiently(
                lambda stored=volume, at=step: work.provider.verify(at, stored, depth, sample)  # type: ignore[misc]
            )
        except (Damaged, ResourceNotFound) as error:
            found = [Damage(error.message, ((0, volume.size),))]
        if found:
            damage[volume.name or volume.volume_id] = tuple(found)
    return damage


def _is_gone(work: Work, backup: Backup) -> bool:
    now = work.site.vault.catalogue.backups(backup.provider, backup.server.id)
    states = [b.state for b in now if b.id == backup.id]
    return not states or states[0] in (BackupState.WAITING_DELETE, BackupState.DELETING)


def _record(work: Work, backup: Backup, depth: Depth, *, sound: bool) -> Backup:
    now = work.site.clock.now()

    def judged(current: Backup) -> Backup:
        if not sound:
            return current.model_copy(update={"verification": Verification.FAILED, "verified_at": now})
        if depth is Depth.FULL:
            return current.model_copy(update={"verification": Verification.PASSED, "verified_at": now})
        return current

    def update(backups: tuple[Backup, ...]) -> list[Backup]:
        return [judged(b) if b.id == backup.id else b for b in backups]

    after = work.site.vault.catalogue.update(backup.provider, backup.server.id, update)
    return next((b for b in after if b.id == backup.id), judged(backup))
