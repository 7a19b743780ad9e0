"""The deletion job: backups of one server and their data go, leaf first; those that others need are hidden instead.

Steps: ``marked`` (the catalogue calls them deleting, nobody may restore them any more), then the data is erased, then
the catalogue forgets them. A job that is cut off, or that the cloud cannot serve, stays open and is continued. What
the cloud refuses is noted in the step ``refused`` and keeps the job open, for later runs to try again; it keeps
neither the other deletions of the job nor later backups of the server from being made.
Who may be deleted is decided elsewhere and checked once more at the moment of marking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CloudUnavailable, ProviderError, ResourceConflict
from csbsctl.model.backup import Backup, BackupState
from csbsctl.model.job import REFUSED, JobKind
from csbsctl.protection.events import BackupDeleted, BackupExpired
from csbsctl.protection.jobs.collection import note_litter
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.vault.leases import Lease

_BUSY = frozenset(BackupState) - {BackupState.AVAILABLE, BackupState.ERROR}


@dataclass(frozen=True, slots=True)
class _Passages:
    """The boundaries of one kind of deletion: by hand and by retention are told apart in tests and by people."""

    journalled: Boundary
    marked: Boundary
    erased: Boundary
    recorded: Boundary


def _passages(kind: str, what: str) -> _Passages:
    return _Passages(
        Boundary(f"{kind}.journalled", f"{what} is intended and written down, nothing is done yet"),
        Boundary(f"{kind}.marked", f"{what}: the catalogue calls the backups deleting, their data is there"),
        Boundary(f"{kind}.erased", f"{what}: one more backup's data is gone, the catalogue still has it"),
        Boundary(
            f"{kind}.recorded", f"{what}: the catalogue has forgotten the backups, the job is still open"
        ),
    )


_PASSAGES = {
    JobKind.DELETE: _passages("delete", "a deletion by hand"),
    JobKind.PRUNE: _passages("prune", "a deletion by retention"),
}


@dataclass(frozen=True, slots=True)
class Condemned:
    """What is to go: IDs to delete, leaf first, and IDs to hide, each with the reason."""

    delete: Mapping[str, str] = field(default_factory=dict)
    hide: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.delete or self.hide)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went and what was hidden, as the records were before."""

    deleted: tuple[Backup, ...] = ()
    hidden: tuple[Backup, ...] = ()


def deletable(backup: Backup) -> bool:
    """Whether nothing about the backup itself forbids to delete it now."""
    return not backup.images and not backup.protected and backup.state not in _BUSY


def delete_backups_of(
    site: Site, lease: Lease, kind: JobKind, backups: Sequence[Backup], condemned: Condemned
) -> Deleted:
    """Delete backups of the server whose lease is held. ``backups`` are all the server has."""
    some = next(b for b in backups if b.id in condemned.delete or b.id in condemned.hide)
    work = Work.begin(
        site,
        lease,
        kind,
        {"delete": dict(condemned.delete), "hide": dict(condemned.hide)},
        provider=some.provider,
        server=some.server.id,
        server_name=some.server.name,
        policy=some.policy if kind is JobKind.PRUNE else None,
    )
    _PASSAGES[kind].journalled()
    return _carry_out(work)


def resume_deletion(work: Work) -> str:
    """Go on with a deletion that was cut off; return what became of it."""
    _carry_out(work)
    return "finished"


def _carry_out(work: Work) -> Deleted:
    passages = _PASSAGES[work.job.kind]
    if not work.done("marked"):
        work.record("marked", _mark(work))
        passages.marked()
    note_litter(work.site, work.job.provider, work.job.id)
    doomed = [
        b for b in _present(work) if b.state is BackupState.DELETING and b.id in work.job.intent["delete"]
    ]
    order = list(work.job.intent["delete"])
    erased: list[Backup] = []
    held: set[str] = set()
    refused: dict[str, str] = {}
    for backup in sorted(doomed, key=lambda b: order.index(b.id)):
        try:
            if _erase(work, backup):
                erased.append(backup)
            else:
                held.add(backup.id)
        except CloudUnavailable:
            raise
        except ProviderError as error:
            refused[backup.id] = error.message
        passages.erased()
    hidden = [b for b in _present(work) if b.id in held or b.id in work.result("marked")["hidden"]]
    _forget(work, {b.id for b in erased}, held)
    passages.recorded()
    _tell(work, erased, hidden)
    if refused:
        work.record(REFUSED, refused)
        first = next(b for b in doomed if b.id in refused)
        raise CloudRefused(
            f"backup {first.name} cannot be deleted: {refused[first.id]}",
            hint="the next run tries again",
        )
    work.finish()
    return Deleted(tuple(erased), tuple(hidden))


def _present(work: Work) -> tuple[Backup, ...]:
    return work.site.vault.catalogue.backups(work.job.provider, str(work.job.server))


def _mark(work: Work) -> dict[str, list[str]]:
    """Call them deleting, or expired; whatever got an image or a use since they were chosen stays as it is."""
    delete, hide = work.job.intent["delete"], work.job.intent["hide"]
    marked: dict[str, list[str]] = {}

    def change(backups: tuple[Backup, ...]) -> list[Backup]:
        marked.update(deleting=[], hidden=[])
        after = []
        for backup in backups:
            if backup.id in delete and deletable(backup):
                marked["deleting"].append(backup.id)
                after.append(backup.model_copy(update={"state": BackupState.DELETING}))
            elif backup.id in hide and deletable(backup):
                marked["hidden"].append(backup.id)
                after.append(backup.model_copy(update={"expired": True}))
            else:
                after.append(backup)
        return after

    work.check()
    _update(work, change)
    return marked


def _erase(work: Work, backup: Backup) -> bool:
    """Delete the data of all disks; False when the cloud says that something else depends on it."""
    step = work.step(backup.name)
    for volume in backup.volumes:
        work.check()
        try:
            work.patiently(
                lambda stored=volume: work.provider.delete(step, stored),  # type: ignore[misc]
                busy=False,
            )
        except ResourceConflict:
            return False
    return True


def _forget(work: Work, erased: set[str], held: set[str]) -> None:
    def change(backups: tuple[Backup, ...]) -> list[Backup]:
        after = []
        for backup in backups:
            if backup.id in held:
                former = BackupState.ERROR if backup.error else BackupState.AVAILABLE
                after.append(backup.model_copy(update={"state": former, "expired": True}))
            elif backup.id not in erased:
                after.append(backup)
        return after

    _update(work, change)


def _update(work: Work, change: object) -> None:
    work.site.vault.catalogue.update(
        work.job.provider,
        str(work.job.server),
        change,  # type: ignore[arg-type]
        fence=work.lease.number,
    )


def _tell(work: Work, erased: Sequence[Backup], hidden: Sequence[Backup]) -> None:
    reasons = {**work.job.intent["hide"], **work.job.intent["delete"]}
    about = {key: value for key, value in work.about().items() if key != "kind"}
    for backup in erased:
        work.site.vault.audit.record(
            "deleteCheckpointItem",
            resource_type="checkpointItem",
            resource_id=backup.id,
            reason=reasons[backup.id],
            details={"name": backup.name, "server": backup.server.id, "policy": backup.policy},
        )
        named = {**about, "backup_id": backup.id, "backup": backup.name}
        work.site.reporter.report(BackupDeleted(**named, reason=reasons[backup.id]))
    for backup in hidden:
        named = {**about, "backup_id": backup.id, "backup": backup.name}
        work.site.reporter.report(BackupExpired(**named, reason=reasons[backup.id]))
