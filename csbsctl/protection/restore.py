"""Restores as people ask for them: choose the backup, check, take the lease, go on with what an earlier try began."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import datetime

from csbsctl.clock import format_instant
from csbsctl.errors import CsbsError, NotFound
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup
from csbsctl.model.job import Job, JobState
from csbsctl.protection.jobs.restore import (
    Restored,
    begin_restore,
    carry_out,
    same_request,
)
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.preflight import Preflight, RestoreRequest, check_restore
from csbsctl.protection.recover import hold, lease_of, remove_leftovers, settle_others
from csbsctl.protection.site import Site
from csbsctl.protection.unfinished import is_resumable


def backup_as_of(site: Site, provider: str, server: str, instant: datetime) -> Backup:
    """Return the newest good backup of a server at or before an instant. Raises NotFound."""
    backups = site.vault.catalogue.backups(provider, server)
    good = [b for b in backups if b.good and b.instant <= instant]
    if not good:
        name = backups[-1].server.name if backups else server
        raise NotFound(
            f"server {name} has no good backup at or before {format_instant(instant)}",
            code="CSBS.3001",
            hint=f"`csbsctl backup list --server {name}` shows what there is",
        )
    return max(good, key=lambda backup: backup.instant)


def restore(site: Site, request: RestoreRequest) -> Restored:
    """Restore a backup, or go on with the same restore where an earlier try stopped.

    Raises:
        Refused: a rule forbids it; nothing was touched.
        Conflict: somebody else works on the server.
    """
    earlier = earlier_try(site, request)
    if earlier:
        return _go_on(site, earlier)
    checked = check_restore(site, request)
    checked.insist()
    return _anew(site, request, checked)


def earlier_try(site: Site, request: RestoreRequest) -> Job | None:
    """Return the unfinished restore that this request would go on with, None when it would start one."""
    for job in site.vault.jobs.list():
        if same_request(job, request) and (job.state is JobState.RUNNING or is_resumable(job)):
            return job
    return None


def _go_on(site: Site, job: Job) -> Restored:
    with site.vault.leases.acquire(job.provider, lease_of(job)) as lease:
        settle_others(site, lease, but=job.id)
        return _finish(site, Work.resume(site, lease, site.vault.jobs.get(job.id)))


def _anew(site: Site, request: RestoreRequest, checked: Preflight) -> Restored:
    """Start the restore under the server's lease, a new server's under one of its own."""
    provider, job_id = request.backup.provider, new_id()
    with ExitStack() as stack:
        if checked.plan.server:
            lease = stack.enter_context(hold(site, provider, checked.plan.server.id))
            checked = check_restore(site, request)
            checked.insist()
        else:
            lease = stack.enter_context(site.vault.leases.acquire(provider, f"restore~{job_id}"))
        return _finish(site, begin_restore(site, lease, job_id, request, checked))


def _finish(site: Site, work: Work) -> Restored:
    """Do what is left of a restore, and remove what the ones that it overtook had brought back, whichever way it ends."""
    try:
        return carry_out(work)
    finally:
        if work.result("overtook"):
            with suppress(CsbsError):  # how the restore ended is what matters; the next run tries again
                remove_leftovers(site, work.job.provider)
