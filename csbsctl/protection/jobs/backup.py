"""The backup job: all disks of one server at one instant, stored, recorded, or not there at all.

Steps: ``snapshot``, ``stored:<volume id>`` for each disk, ``released``; then the catalogue has it. A failure is
recorded as a backup in state error after what was stored is gone again; an interruption leaves nothing. Whether a
server is due, and who holds its lease, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CsbsError, Interrupted, LeaseLost, Refused, ResourceConflict
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger
from csbsctl.model.job import JobKind
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Refusal, Server, protectability
from csbsctl.model.slots import SlotLog
from csbsctl.protection.about import describe
from csbsctl.protection.jobs.collection import note_litter
from csbsctl.protection.jobs.disks import store_all
from csbsctl.protection.jobs.forms import from_plain, to_plain
from csbsctl.protection.jobs.keeping import keeps_snapshots, retire_snapshots
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.naming import claim_name
from csbsctl.protection.parents import Lineage, choose_lineage
from csbsctl.protection.site import Site
from csbsctl.provider import Marked, MarkedKind, Snapshot, Step, VolumeSnapshot
from csbsctl.rules.eligibility import Circumstances, instant_restore
from csbsctl.vault.leases import Lease

JOURNALLED = Boundary("backup.journalled", "a backup is intended and written down, nothing is done yet")
SNAPSHOTTED = Boundary("backup.snapshotted", "the disks are frozen and the journal knows")
STORED = Boundary("backup.stored", "one more disk is stored and the journal knows")
RELEASED = Boundary("backup.released", "all disks are stored and the snapshot is let go")
RECORDED = Boundary(
    "backup.recorded", "the catalogue has the backup, the journal still calls the job running"
)
FINISHED = Boundary("backup.finished", "the backup job is closed")
UNDONE = Boundary(
    "backup.undone", "what a failed backup left in the cloud is gone, the failure is not recorded yet"
)


_FEATURE_DATE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """What kind of backup is wanted: by whom, under which policy and slot, and how."""

    trigger: Trigger
    id: str | None = None
    """The backup's ID, where the one who orders must know it beforehand."""
    need: Consistency = Consistency.CRASH
    name: str | None = None
    description: str = ""
    policy: str | None = None
    slot: datetime | None = None
    full: bool = False
    full_every: int | None = None
    instant_restore: bool = False
    tags: dict[str, str] = field(default_factory=dict)


def take_backup(site: Site, lease: Lease, server: Server, order: BackupOrder) -> Backup:
    """Back up a server under its lease and return the record, in state available or, when it failed, error.

    Raises:
        Refused: the server cannot be protected; a scheduled backup records that as its failure instead.
        Interrupted: the user wanted to stop; nothing is left of it.
        LeaseLost: another runner took over; it will see to what is left.
    """
    refusal = protectability(server)
    if refusal and order.trigger is Trigger.MANUAL:
        raise _cannot(refusal)
    draft = _draft(site, server, order)
    intent = {
        "name": draft.name,
        "draft": draft.to_json(),
        "need": order.need.value,
        "full": order.full,
        "full_every": order.full_every,
        "instant": order.instant_restore,
        "about": describe(draft),
    }
    work = Work.begin(
        site,
        lease,
        JobKind.BACKUP,
        intent,
        id=draft.job,
        provider=server.provider,
        server=server.id,
        server_name=server.name,
        backup=draft.id,
        policy=order.policy,
        slot=order.slot,
    )
    JOURNALLED()
    return _carry_out(work, _cannot(refusal) if refusal else None)


def resume_backup(work: Work) -> str:
    """Go on with a backup that was cut off; return what became of it.

    A scheduled one of which nothing was frozen yet is undone: whether its slot is still due is for the runner to say.
    """
    if work.done("failed"):
        _record_failure(work, work.result("failed"))
        return "undone"
    scheduled = _draft_of(work).trigger is Trigger.AUTO
    if scheduled and _served_by_another(work):  # who did not see this job yet: a listing may lag
        _undo(work, Interrupted("another runner served the slot meanwhile"))
        return "undone"
    if work.done("undo") or (scheduled and not work.done("snapshot")):
        _undo(work, Interrupted("the runner was gone before the disks were frozen"))
        return "undone"
    backup = _carry_out(work, None)
    return "finished" if backup.state is BackupState.AVAILABLE else "failed"


def _served_by_another(work: Work) -> bool:
    job = work.job
    return job.slot is not None and any(
        other.id != job.backup and (other.policy, other.slot) == (job.policy, job.slot)
        for other in work.site.vault.catalogue.backups(job.provider, str(job.server))
    )


def _carry_out(work: Work, obstacle: CsbsError | None) -> Backup:
    try:
        if obstacle:
            raise obstacle
        backup = _store_all(work, _frozen(work))
    except LeaseLost:
        note_litter(work.site, work.job.provider, work.job.id)  # stored after whoever took over had tidied up
        raise
    except Interrupted as wish:
        work.record("undo")
        _undo(work, wish)
        raise
    except CsbsError as error:
        work.record("failed", error.to_json())
        return _record_failure(work, error.to_json())
    _commit(work, backup)
    RECORDED()
    retire_snapshots(work, backup)
    _audit(work, "success", None)
    work.finish(size=backup.size, stored=backup.stored)
    FINISHED()
    return backup


def _frozen(work: Work) -> Snapshot:
    """Return the snapshot of the job, taken now unless it was before."""
    if work.done("snapshot"):
        return from_plain(Snapshot, work.result("snapshot"))
    need = Consistency(work.job.intent["need"])
    step = work.step("snapshot")
    snapshot = work.patiently(lambda: work.provider.snapshot(step, str(work.job.server), need))
    if snapshot.consistency.rank < need.rank:
        work.record("snapshot", to_plain(snapshot))
        raise CloudRefused(
            f"the snapshot of {work.job.server_name} reached consistency {snapshot.consistency}, {need} is demanded",
            hint="lower `consistency` of the policy, or give the cloud what it needs to reach more",
        )
    work.record("snapshot", to_plain(snapshot))
    SNAPSHOTTED()
    return snapshot


def _store_all(work: Work, snapshot: Snapshot) -> Backup:
    lineage = _lineage(work)
    stored = store_all(work, snapshot.volumes, lambda disk, step: _store(work, disk, step, lineage))
    stored = _part_with(work, snapshot, stored)
    whole = all(volume.kind is Kind.FULL for volume in stored)
    kind = Kind.FULL if whole else Kind.INCREMENTAL
    return _draft_of(work).model_copy(
        update={
            "state": BackupState.AVAILABLE,
            "volumes": stored,
            "kind": kind,
            "consistency": snapshot.consistency,
            "method": snapshot.method,
            "evidence": snapshot.evidence,
            "taken_at": snapshot.taken_at,
            "finished_at": work.site.clock.now(),
            "availability_zone": snapshot.server.availability_zone,
            "spec": snapshot.server.spec,
            "instant_restore": _allows_instant_restore(work, snapshot, kind, lineage),
        }
    )


def _part_with(work: Work, snapshot: Snapshot, stored: tuple[StoredVolume, ...]) -> tuple[StoredVolume, ...]:
    """Let go of the snapshot, or keep it for instant restores; return the records of the disks after that."""
    if not work.done("released"):
        step, provider = work.step("release"), work.provider
        if keeps_snapshots(work):
            stored = work.patiently(lambda: provider.keep(step, snapshot, stored))
            work.record("released", [to_plain(volume) for volume in stored])
        else:
            work.patiently(lambda: provider.release(step, snapshot))
            work.record("released")
        RELEASED()
    elif isinstance(kept := work.result("released"), list):
        stored = tuple(from_plain(StoredVolume, volume) for volume in kept)
    return stored


def _store(work: Work, disk: VolumeSnapshot, step: Step, lineage: Lineage) -> StoredVolume:
    name = f"stored:{disk.volume.id}"
    if work.done(name):
        return from_plain(StoredVolume, work.result(name))
    stored = work.patiently(lambda: work.provider.store(step, disk, lineage.parent(disk.volume)), step=step)
    work.record(name, to_plain(stored))
    STORED()
    return stored


def _lineage(work: Work) -> Lineage:
    """Decide what to build on; the same before and after a crash, since the lease keeps the catalogue still."""
    job = work.job
    before = [
        b for b in work.site.vault.catalogue.backups(job.provider, str(job.server)) if b.id != job.backup
    ]
    return choose_lineage(
        before,
        work.provider.capabilities,
        full=job.intent["full"],
        full_every=job.intent["full_every"],
    )


def _allows_instant_restore(work: Work, snapshot: Snapshot, kind: Kind, lineage: Lineage) -> bool:
    """Decide by the table of csbs.md 1.4, or because the policy asks for it; every backup is of after the feature."""
    circumstances = Circumstances(
        taken_at=snapshot.taken_at,
        trigger=_draft_of(work).trigger,
        kind=kind,
        full_requested=work.job.intent["full"],
        server_has_older=False,
        stands_on_enabling=lineage.stands_on_enabling,
    )
    if work.provider.capabilities.instant_keeps_snapshots:
        return keeps_snapshots(work)
    wanted = work.job.intent["instant"] or instant_restore(circumstances, _FEATURE_DATE).eligible
    return wanted and work.provider.capabilities.instant_restore


def _record_failure(work: Work, error: dict[str, Any]) -> Backup:
    """Remove what was stored, then record the backup as failed. What cannot be removed stays in its record."""
    kept = _remove_traces(work)
    UNDONE()
    failed = _draft_of(work).model_copy(
        update={
            "state": BackupState.ERROR,
            "volumes": kept,
            "error": error,
            "finished_at": work.site.clock.now(),
        }
    )
    _commit(work, failed)
    RECORDED()
    _audit(work, "failure", error["message"])
    work.fail(as_error(error))
    FINISHED()
    return failed


def _undo(work: Work, why: CsbsError) -> None:
    """Leave no trace but the closed job; the slot is free again."""
    _remove_traces(work)
    UNDONE()
    work.fail(why)


def _remove_traces(work: Work) -> tuple[StoredVolume, ...]:
    """Delete what this job stored, let go of the snapshot, and return the parts that other backups depend on.

    What the cloud still works on, or refuses to delete, is a leftover of a failed job: later runs remove it.
    """
    work.undoing = True
    provider, step = work.provider, work.step("undo")
    note_litter(work.site, work.job.provider, work.job.id)
    kept, idle = [], True
    for marked in _left(work, MarkedKind.BACKUP):
        try:
            provider.remove(step, marked)
        except (CloudRefused, ResourceConflict):
            if marked.stored and _is_needed(work, marked.ref):
                kept.append(marked.stored)
            else:
                idle = False
    if idle:
        with suppress(CloudRefused, ResourceConflict):
            if work.done("snapshot") and not work.done("released"):
                provider.release(step, from_plain(Snapshot, work.result("snapshot")))
            for marked in _left(work, MarkedKind.SNAPSHOT):
                provider.remove(step, marked)
    return tuple(kept)


def _left(work: Work, kind: MarkedKind) -> list[Marked]:
    """Return what this job has in the cloud."""
    found = work.provider.marked(work.site.vault.id)
    return [marked for marked in found if marked.marker.job == work.job.id and marked.kind is kind]


def _is_needed(work: Work, ref: str) -> bool:
    there = work.site.vault.catalogue.backups(work.job.provider, str(work.job.server))
    return any(volume.parent == ref for backup in there for volume in backup.volumes)


def _commit(work: Work, backup: Backup) -> None:
    def put(existing: Sequence[Backup]) -> list[Backup]:
        return [*(other for other in existing if other.id != backup.id), backup]

    note: Callable[[SlotLog], SlotLog] | None = None
    if backup.policy and backup.slot and backup.trigger is Trigger.AUTO:
        slot = backup.slot

        def note(log: SlotLog) -> SlotLog:
            return log.as_of(work.site.clock.now()).taken(slot)

    work.lease.check()
    work.site.vault.catalogue.update(
        backup.provider,
        backup.server.id,
        put,
        fence=work.lease.number,
        slots=(backup.policy or "", note) if note else None,
    )


def _draft(site: Site, server: Server, order: BackupOrder) -> Backup:
    existing = site.vault.catalogue.backups(server.provider, server.id)
    return Backup(
        id=order.id or new_id(),
        name=claim_name(order.name, order.trigger, existing),
        description=order.description,
        server=ServerRef(id=server.id, name=server.name),
        provider=server.provider,
        stack=site.stack,
        policy=order.policy,
        slot=order.slot,
        trigger=order.trigger,
        state=BackupState.PROTECTING,
        job=new_id(),
        started_at=site.clock.now(),
        availability_zone=server.availability_zone,
        tags=order.tags,
        spec=server.spec,
    )


def _draft_of(work: Work) -> Backup:
    return Backup.model_validate(work.job.intent["draft"])


def _cannot(refusal: Refusal) -> Refused:
    return Refused(refusal.reason, code=refusal.code, hint="`csbsctl server list` says what can be protected")


def as_error(plain: dict[str, Any]) -> CsbsError:
    """Return an error as it was recorded: message, code and hint."""
    return CsbsError(plain["message"], code=plain.get("code"), hint=plain.get("hint"))


def _audit(work: Work, outcome: str, reason: str | None) -> None:
    draft = _draft_of(work)
    auto = draft.policy is not None
    work.site.vault.audit.record(
        "createCheckpoint" if auto else "backupCloudServer",
        resource_type="checkpointItem" if auto else "cloudServer",
        resource_id=draft.id if auto else draft.server.id,
        outcome=outcome,
        reason=reason,
        details={"backup": draft.id, "name": draft.name, "server": draft.server.id, "policy": draft.policy},
    )
