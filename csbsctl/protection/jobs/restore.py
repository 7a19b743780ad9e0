"""The restore job: put a backup's disks back into its server, build a new server from them, or leave them as volumes.

In place: ``safety`` (a backup of the present state), ``stopped``, ``restored:<volume id>`` for each disk, ``swapped``,
``started``. As a new server: ``restored:...``, ``built``; as volumes alone: ``restored:...``, ``kept``. A job that
failed midway keeps its steps; the same request goes on with it, until another restore of the server overtakes it.
Checks belong to the preflight and are done before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, Interrupted, LeaseLost, Refused, ResourceNotFound
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, StoredVolume, Trigger
from csbsctl.model.job import Job, JobKind
from csbsctl.model.server import Server, ServerState, accepting_image
from csbsctl.protection.jobs.backup import BackupOrder, take_backup
from csbsctl.protection.jobs.forms import from_plain, to_plain
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.preflight import Preflight, RestoreRequest
from csbsctl.protection.site import Site
from csbsctl.protection.unfinished import has_begun, unfinished_restores
from csbsctl.provider import RestoredVolume, RestorePlan
from csbsctl.vault.leases import Lease

JOURNALLED = Boundary("restore.journalled", "a restore is intended and written down, nothing is done yet")
SECURED = Boundary("restore.secured", "the safety backup is made")
STOPPED = Boundary("restore.stopped", "the server is stopped, its disks are as they were")
RESTORED = Boundary("restore.restored", "one more disk has its bytes back, not yet in its place")
SWAPPED = Boundary("restore.swapped", "the restored disks are in their places, the server is not started")
BUILT = Boundary("restore.built", "the new server is there")
KEPT = Boundary("restore.kept", "the new volumes stand alone, the journal knows")
STARTED = Boundary("restore.started", "the server runs again, the job is still open")
RELEASED = Boundary("restore.released", "the backup is free again, the job is still open")


@dataclass(frozen=True, slots=True)
class Restored:
    """How a restore ended: the server, the disks that were brought back, and the safety backup's ID.

    ``server`` is None where volumes alone were wanted: ``kept`` are these, each with id, name and size. ``replaced`` is
    the ID of the old server where a restore in place ended in a new one.
    """

    server: dict[str, str] | None
    volumes: tuple[StoredVolume, ...]
    safety: str | None
    job: str
    notes: tuple[str, ...] = ()
    kept: tuple[dict[str, Any], ...] = ()
    replaced: str | None = None


def begin_restore(site: Site, lease: Lease, job_id: str, request: RestoreRequest, checked: Preflight) -> Work:
    """Write down the intent of a restore that passed its preflight.

    A server that a failed restore left stopped counts as running when it ran before that one.
    """
    plan = checked.plan
    server = plan.server
    overtaken = unfinished_restores(site, plan.backup.provider, request.identity())
    intent = {
        "name": plan.backup.name,
        "request": request.identity(),
        "plan": to_plain(plan),
        "safety": new_id() if checked.safety else None,
        "was_running": _is_running(plan) or any(job.intent["was_running"] for job in overtaken),
        "overtakes": [job.id for job in overtaken],
        "notes": list(checked.notes),
        "lease": lease.server,
    }
    work = Work.begin(
        site,
        lease,
        JobKind.RESTORE,
        intent,
        id=job_id,
        provider=plan.backup.provider,
        server=server.id if server else plan.backup.server.id,
        server_name=server.name if server else plan.name or plan.backup.server.name,
        backup=plan.backup.id,
    )
    JOURNALLED()
    return work


def carry_out(work: Work) -> Restored:
    """Do what is left to do of a restore. After a failure the steps that are done are kept for the same request."""
    plan = from_plain(RestorePlan, work.job.intent["plan"])
    try:
        _set_state(work, plan.backup, BackupState.RESTORING)
        if plan.volumes_only:
            _keep(work, plan)
        elif plan.server is None:
            _build(work, plan)
        else:
            _restore_in_place(work, plan, plan.server)
    except LeaseLost:
        raise
    except ResourceNotFound as error:
        explained = _explain(work, plan, error)
        _give_up(work, plan, explained)
        raise explained from error
    except CsbsError as error:
        _give_up(work, plan, error)
        raise
    _set_state(work, plan.backup, BackupState.AVAILABLE)
    RELEASED()
    _audit(work, plan, "success", None)
    work.finish(size=sum(mapping.stored.size for mapping in plan.mappings))
    swapped = work.result("swapped")
    return Restored(
        server=swapped or work.result("built"),
        volumes=tuple(mapping.stored for mapping in plan.mappings),
        safety=work.result("safety"),
        job=work.job.id,
        notes=tuple(work.job.intent["notes"]),
        kept=tuple(work.result("kept") or ()),
        replaced=plan.server.id if plan.server and swapped and swapped["id"] != plan.server.id else None,
    )


def resume_restore(work: Work) -> str:
    """Finish a restore whose runner is gone when it had begun to change something, else undo it."""
    if has_begun(work.job):
        carry_out(work)
        return "finished"
    work.undoing = True
    _give_up(work, from_plain(RestorePlan, work.job.intent["plan"]), Interrupted("the runner was gone"))
    return "undone"


def _restore_in_place(work: Work, plan: RestorePlan, server: Server) -> None:
    if work.job.intent["safety"] and not work.done("safety"):
        work.record("safety", _safety_backup(work, plan, server))
        SECURED()
    if not work.done("stopped"):
        work.patiently(lambda: work.provider.stop(work.step("stop"), server.id))
        work.record("stopped")
        STOPPED()
    # Not before something has changed: a restore that is given up untouched leaves the earlier one to go on.
    _overtake(work)
    restored = _restore_disks(work, plan)
    if not work.done("swapped"):
        after = work.patiently(lambda: work.provider.swap(work.step("swap"), plan, restored))
        _note_successors(work, plan, restored, after)
        work.record("swapped", {"id": after.id, "name": after.name})
        SWAPPED()
    if work.job.intent["was_running"] and plan.power_on and not work.done("started"):
        now = str(work.result("swapped")["id"])  # another server may have taken over
        work.patiently(lambda: work.provider.start(work.step("start"), now))
        work.record("started")
        STARTED()


def _build(work: Work, plan: RestorePlan) -> None:
    _overtake(work)
    restored = _restore_disks(work, plan)
    if not work.done("built"):
        built = work.patiently(lambda: work.provider.build(work.step("build"), plan, restored))
        work.record("built", {"id": built.id, "name": built.name})
        BUILT()


def _keep(work: Work, plan: RestorePlan) -> None:
    restored = _restore_disks(work, plan)
    if not work.done("kept"):
        kept = work.patiently(lambda: work.provider.hand_over(work.step("hand-over"), plan, restored))
        work.record(
            "kept", [{"id": v.id, "name": v.name, "size": v.size, "bootable": v.bootable} for v in kept]
        )
        KEPT()


def _restore_disks(work: Work, plan: RestorePlan) -> list[RestoredVolume]:
    restored = []
    for mapping in plan.mappings:
        name = f"restored:{mapping.stored.volume_id}"
        if not work.done(name):
            step = work.step(mapping.stored.name or mapping.stored.volume_id)
            volume = work.patiently(
                lambda at=step, which=mapping: work.provider.restore(at, plan, which)  # type: ignore[misc]
            )
            work.record(name, to_plain(volume))
            RESTORED()
        restored.append(from_plain(RestoredVolume, work.result(name)))
    return restored


def _safety_backup(work: Work, plan: RestorePlan, server: Server) -> str:
    """Back up the present state, unless an earlier try got as far, and return the backup's ID."""
    wanted = str(work.job.intent["safety"])
    there = work.site.vault.catalogue.backups(server.provider, server.id)
    if any(backup.id == wanted and backup.good for backup in there):
        return wanted
    order = BackupOrder(
        trigger=Trigger.MANUAL,
        id=wanted if all(backup.id != wanted for backup in there) else None,
        need=plan.backup.consistency,
        description=f"Taken before the restore of {plan.backup.name}",
    )
    # Whatever a binding says of its root: without it, the safety backup could not undo this restore.
    safety = take_backup(work.site, work.lease, accepting_image(server), order)
    if safety.state is not BackupState.AVAILABLE:
        reason = (safety.error or {}).get("message", "it failed")
        raise Refused(
            f"nothing was restored: the safety backup of {server.name} failed: {reason}",
            hint="mend that, or restore with --no-safety-backup",
        )
    return safety.id


def _explain(work: Work, plan: RestorePlan, error: ResourceNotFound) -> CsbsError:
    """Return what to say of something that is gone: of the server itself, that nothing will ever go on with this."""
    if plan.server is None:
        return error
    try:
        work.provider.server(plan.server.id)
    except ResourceNotFound:
        work.record("superseded")
        return Refused(
            f"server {plan.server.name} was deleted while it was being restored",
            code="CSBS.6000",
            hint="restore it as a new one with --as NAME",
        )
    except CsbsError:
        return error
    return error


def _give_up(work: Work, plan: RestorePlan, error: CsbsError) -> None:
    """Close the job as failed. A server that was not stopped for good is started again; else it stays stopped."""
    work.undoing = True
    begun = has_begun(work.job)
    with suppress(CsbsError):
        if plan.server and _is_running(plan) and not begun:
            work.provider.start(work.step("start"), plan.server.id)
    _set_state(work, plan.backup, BackupState.AVAILABLE)
    if begun and not work.done("superseded"):
        stays = f"{work.job.server_name} stays stopped; " if plan.server else ""
        error.hint = (f"{error.hint}; " if error.hint else "") + (
            f"{stays}the same command goes on where it stopped, another restore takes its place"
        )
    _audit(work, plan, "failure", error.message)
    work.fail(error)


def _set_state(work: Work, backup: Backup, state: BackupState) -> None:
    """Say in the catalogue that the backup is in use, so that nothing deletes it, or that it is free again."""

    def change(backups: tuple[Backup, ...]) -> list[Backup]:
        usual = (BackupState.AVAILABLE, BackupState.RESTORING)
        return [
            b.model_copy(update={"state": state}) if b.id == backup.id and b.state in usual else b
            for b in backups
        ]

    after = work.site.vault.catalogue.update(backup.provider, backup.server.id, change)
    if state is BackupState.RESTORING and not any(b.id == backup.id and b.state is state for b in after):
        raise Refused(f"backup {backup.name} is not there any more, or busy", code="CSBS.4000")


def _note_successors(
    work: Work, plan: RestorePlan, restored: Sequence[RestoredVolume], after: Server
) -> None:
    """Remember disks that came back under another ID: to older backups they are the disks they replaced.

    Those backups are the target's and the restored one's companions, whichever server has the disks now.
    """
    attached = {volume.id for volume in after.volumes}
    replaced = {
        volume.mapping.target.id: volume.ref
        for volume in restored
        if volume.mapping.target and volume.ref in attached and volume.ref != volume.mapping.target.id
    }
    if not replaced:
        return

    def follow(volume: StoredVolume) -> StoredVolume:
        new = [replaced[i] for i in (volume.volume_id, *volume.successors) if i in replaced]
        new = [i for i in new if i not in volume.successors]
        return volume.model_copy(update={"successors": (*volume.successors, *new)}) if new else volume

    def change(backups: tuple[Backup, ...]) -> list[Backup]:
        return [b.model_copy(update={"volumes": tuple(map(follow, b.volumes))}) for b in backups]

    for server_id in {plan.backup.server.id, plan.server.id if plan.server else after.id}:
        work.site.vault.catalogue.update(work.job.provider, server_id, change)


def _audit(work: Work, plan: RestorePlan, outcome: str, reason: str | None) -> None:
    details: dict[str, Any] = {"name": plan.backup.name, "server": work.job.server, "new_server": plan.name}
    if plan.volumes_only:
        details |= {"new_server": None, "volumes": [each["id"] for each in work.result("kept") or ()]}
    work.site.vault.audit.record(
        "restoreCheckpointItem",
        resource_type="checkpointItem",
        resource_id=plan.backup.id,
        outcome=outcome,
        reason=reason,
        details=details,
    )


def supersede(site: Site, jobs: Sequence[Job]) -> None:
    """Call failed restores overtaken: nobody will go on with them, and what they left is nobody's."""
    for job in jobs:
        site.vault.jobs.update(job.model_copy(update={"steps": {**job.steps, "superseded": True}}))


def _overtake(work: Work) -> None:
    """Take the place of failed restores of the same server, or of the same new name."""
    if not work.done("overtook"):
        jobs = [job for job in work.site.vault.jobs.list() if job.id in work.job.intent.get("overtakes", ())]
        supersede(work.site, jobs)
        work.record("overtook", bool(jobs))


def _is_running(plan: RestorePlan) -> bool:
    return plan.server is not None and plan.server.state is ServerState.ACTIVE


def same_request(job: Job, request: RestoreRequest) -> bool:
    """Whether an open or failed job is about this very request."""
    return job.kind is JobKind.RESTORE and job.intent.get("request") == request.identity()
