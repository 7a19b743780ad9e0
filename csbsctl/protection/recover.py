"""What dead runners left behind: their open jobs are finished or undone, and their leftovers in the clouds removed.

Holding a server's lease means that every other open job of it is nobody's: whoever takes a lease through ``hold``
settles those first. Removes only what this vault's own failed jobs made; what no job explains stays and is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from csbsctl.errors import (
    CloudUnavailable,
    Conflict,
    CsbsError,
    Damaged,
    Interrupted,
    NotFound,
    ProviderError,
    ResourceConflict,
    ResourceNotFound,
)
from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.protection.events import Recovered, RunnerWatched
from csbsctl.protection.jobs.backup import resume_backup
from csbsctl.protection.jobs.collection import close_collection, note_litter
from csbsctl.protection.jobs.deletion import resume_deletion
from csbsctl.protection.jobs.fetch import close_fetch
from csbsctl.protection.jobs.image import resume_image
from csbsctl.protection.jobs.restore import resume_restore, supersede
from csbsctl.protection.jobs.verification import close_verification
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.protection.unfinished import is_resumable
from csbsctl.provider import Marked, MarkedKind, Marker, Step
from csbsctl.vault.leases import Lease

_RESUME: dict[JobKind, Callable[[Work], str]] = {
    JobKind.BACKUP: resume_backup,
    JobKind.RESTORE: resume_restore,
    JobKind.FETCH: close_fetch,
    JobKind.IMAGE: resume_image,
    JobKind.DELETE: resume_deletion,
    JobKind.PRUNE: resume_deletion,
    JobKind.VERIFY: close_verification,
    JobKind.COLLECT: close_collection,
}


_DELETIONS = (JobKind.DELETE, JobKind.PRUNE)


@contextmanager
def hold(site: Site, provider: str, server: str) -> Iterator[Lease]:
    """Take a server's lease, settle what others left open on it, and give it back at the end.

    Raises:
        Conflict: somebody else works on the server (code ``lease.held``).
    """
    with site.vault.leases.acquire(provider, server) as lease:
        settle_others(site, lease)
        yield lease


def settle_others(site: Site, lease: Lease, *, but: str | None = None) -> None:
    """Finish or undo the open jobs of what a lease stands for, newest first; ``but`` names one that is the caller's.

    A deletion is in nobody's way: one that the cloud refuses or cannot serve waits for the next run.
    """
    for job in site.vault.jobs.open():
        if job.provider != lease.provider or lease_of(job) != lease.server or job.id == but or job.refused:
            continue
        try:
            _settle(site, lease, job)
        except ProviderError as error:
            if job.kind not in _DELETIONS:
                raise
            _report(site, job, f"not yet: {error.message}")


def lease_of(job: Job) -> str:
    """Return under which lease a job works: its server's, or one of its own where it leaves the server alone."""
    return str(job.intent.get("lease") or job.server)


def recover(site: Site) -> int:
    """Finish or undo every open job whose runner is gone, remove what they left, and return how many there were.

    A job that cannot be settled now (the cloud is away) stays open for the next time.
    """
    settled = 0
    alive: dict[str, bool] = {}
    for job in reversed(site.vault.jobs.open()):
        site.stop.check()
        if job.provider not in site.providers:
            continue
        try:
            with _take_over(site, job, alive) as lease:
                settled += _settle(site, lease, job)
        except Interrupted:
            raise
        except Conflict:
            continue
        except CsbsError as error:
            _report(site, job, f"not yet: {error.message}")
    site.vault.leases.release_the_dead()
    if settled:
        for provider in site.providers:
            remove_leftovers(site, provider)
    return settled


def _take_over(site: Site, job: Job, alive: dict[str, bool]) -> Lease:
    """Take the lease of an open job, also from a runner of another machine once it is known to be gone.

    Each runner is watched once, for as long as it takes to know. Raises Conflict while somebody works on the job.
    """
    leases = site.vault.leases
    try:
        return leases.acquire(job.provider, lease_of(job))
    except Conflict:
        if job.runner not in alive:
            alive[job.runner] = leases.settle(job.runner, _watching(site, job))
        if alive[job.runner]:
            raise
        return leases.acquire(job.provider, lease_of(job))


def _watching(site: Site, job: Job) -> Callable[[float], bool]:
    """Return how to wait while a runner is watched: people are told the first time, for it takes up to a minute."""
    told: list[bool] = []

    def wait(seconds: float) -> bool:
        if not told:
            told.append(True)
            silence = site.vault.leases.silence
            site.reporter.report(RunnerWatched(**_about(site, job), kind=job.kind.value, seconds=silence))
        return site.stop.wait(seconds)

    return wait


def remove_leftovers(site: Site, provider: str) -> frozenset[str]:
    """Remove what this vault's failed jobs left in a cloud, and return the jobs of which something is still there."""
    stuck: set[str] = set()
    attached: frozenset[str] | None = None
    for marked in list(site.provider(provider).marked(site.vault.id)):
        job = _failed_job(site, marked)
        if job is None or is_resumable(job):
            continue
        if marked.kind is MarkedKind.VOLUME and attached is None:
            attached = frozenset(v.id for server in site.provider(provider).servers() for v in server.volumes)
        if _is_leftover(site, job, marked, attached or frozenset()) and not _remove(
            site, provider, job, marked
        ):
            stuck.add(job.id)
    return frozenset(stuck)


def any_failed(site: Site, jobs: Iterable[str]) -> bool:
    """Whether one of some jobs failed: only such leave more than garbage, and looking for that takes a while."""
    for job_id in jobs:
        with suppress(NotFound):  # forgotten
            if site.vault.jobs.get(job_id).state is JobState.FAILED:
                return True
    return False


def abandon_restores(site: Site, jobs: Iterable[Job], before: datetime) -> None:
    """Give up those of some jobs that are failed restores nobody went on with since an instant; remove what they left."""
    old = [j for j in jobs if is_resumable(j) and (j.finished_at or j.started_at) < before]
    supersede(site, old)
    for provider in {job.provider for job in old} & site.providers.keys():
        remove_leftovers(site, provider)


def _settle(site: Site, lease: Lease, stale: Job) -> bool:
    """Finish or undo one job under its lease; False when it ended in the meantime."""
    try:
        job = site.vault.jobs.get(stale.id)
    except NotFound:
        return False
    if job.state is not JobState.RUNNING:
        return False
    note_litter(site, job.provider, job.id)
    work = Work.resume(site, lease, job)
    work.recovered(_RESUME[job.kind](work))
    return True


def _failed_job(site: Site, marked: Marked) -> Job | None:
    """Return the job that made a thing when it is known to have failed: only then is the thing nobody's."""
    try:
        job = site.vault.jobs.get(marked.marker.job)
    except CsbsError:
        return None
    return job if job.state is JobState.FAILED else None


def _is_leftover(site: Site, job: Job, marked: Marked, attached: frozenset[str]) -> bool:
    match marked.kind:
        case MarkedKind.SNAPSHOT:
            return True
        case MarkedKind.BACKUP:
            try:
                backups = site.vault.catalogue.backups(job.provider, str(job.server))
            except Damaged:  # what it holds nobody knows now
                return False
            known = {volume.ref for backup in backups for volume in backup.volumes}
            return marked.ref not in known
        case MarkedKind.VOLUME:
            placed = job.steps.keys() & {"swapped", "built", "kept"}
            return not placed and marked.ref not in attached
        case MarkedKind.SERVER | MarkedKind.PORT:
            return "built" not in job.steps
        case MarkedKind.IMAGE:
            return "created" not in job.steps


def _remove(site: Site, provider: str, job: Job, marked: Marked) -> bool:
    """Remove one thing; False when it is still there."""
    marker = Marker(site.vault.id, marked.marker.job, marked.marker.server, marked.marker.backup)
    try:
        site.provider(provider).remove(Step(marker, site.stop.check), marked)
    except ResourceNotFound:
        return True
    except (CloudUnavailable, ResourceConflict):
        return False
    except ProviderError as error:
        _report(site, job, f"{marked.kind.value} {marked.ref} is still there: {error.message}")
        return False
    _report(site, job, f"removed {marked.kind.value} {marked.ref}")
    return True


def _report(site: Site, job: Job, outcome: str) -> None:
    site.reporter.report(Recovered(**_about(site, job), kind=job.kind.value, outcome=outcome))


def _about(site: Site, job: Job) -> dict[str, Any]:
    """Return the fields that every event about somebody else's job has."""
    return {
        "at": site.clock.now(),
        "provider": job.provider,
        "server_id": job.server or "",
        "server": job.server_name or job.server or "",
        "backup_id": job.backup,
        "backup": job.intent.get("name"),
        "job": job.id,
    }


def running_elsewhere(jobs: Sequence[Job], provider: str, server: str) -> Job | None:
    """Return the open backup job that keeps a server busy, None when what holds its lease is something else."""
    for job in jobs:
        if job.provider == provider and job.server == server and job.kind is JobKind.BACKUP:
            return job
    return None
