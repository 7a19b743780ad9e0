"""A job under way: the lease it works under, its journal, and the steps it hands to a provider.

A step is recorded after it was done, so a job that is picked up again runs a step at most once more; providers make
that harmless by the marker. What the steps of each kind of job are is told in that job's own module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from csbsctl.errors import CloudUnavailable, CsbsError, ResourceConflict
from csbsctl.ids import new_id
from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.protection.events import Event, JobFailed, JobFinished, JobProgress, JobStarted, Recovered
from csbsctl.protection.site import Site
from csbsctl.provider import Marker, Provider, Step
from csbsctl.vault.leases import Lease

Result = TypeVar("Result")


class Work:
    """One job, its lease and its journal. Made by ``begin`` for a new job, or from an open one to go on with it."""

    def __init__(self, site: Site, lease: Lease, job: Job) -> None:
        self.site = site
        self.lease = lease
        self.job = job
        self._lock = threading.RLock()
        """Held while the journal is written: the disks of a server are worked on side by side."""
        self.undoing = False
        """While undoing, the first wish to stop is not heard."""

    @classmethod
    def begin(cls, site: Site, lease: Lease, kind: JobKind, intent: dict[str, Any], **about: Any) -> Work:
        """Write down what is intended and return the job; ``about`` are further fields of Job."""
        job = Job(
            id=about.pop("id", None) or new_id(),
            kind=kind,
            state=JobState.RUNNING,
            intent=intent,
            runner=site.vault.leases.runner.id,
            fence=lease.number,
            by=site.actor,
            started_at=site.clock.now(),
            **about,
        )
        work = cls(site, lease, site.vault.jobs.begin(job))
        work._report(JobStarted(**work.about()))
        return work

    @classmethod
    def resume(cls, site: Site, lease: Lease, job: Job) -> Work:
        """Take over an open (or failed) job under a lease of one's own."""
        taken = job.model_copy(
            update={
                "state": JobState.RUNNING,
                "runner": site.vault.leases.runner.id,
                "fence": lease.number,
                "error": None,
                "finished_at": None,
            }
        )
        return cls(site, lease, site.vault.jobs.update(taken))

    @property
    def provider(self) -> Provider:
        """Return the cloud the job works on."""
        return self.site.provider(self.job.provider)

    def done(self, step: str) -> bool:
        """Whether a step was finished."""
        return step in self.job.steps

    def result(self, step: str) -> Any:
        """Return what a finished step gave, None for one that was not finished."""
        return self.job.steps.get(step)

    def record(self, step: str, result: Any = True) -> None:  # noqa: FBT002 - True is a result here, not a flag
        """Write down that a step is finished and what it gave (plain JSON values)."""
        with self._lock:
            self._save(steps={**self.job.steps, step: result})

    def step(self, what: str) -> Step:
        """Return a step for the provider; ``what`` names it in progress reports.

        Numbers of leases of different things do not compare, so only the server's own lease fences it.
        """
        job = self.job
        leased = job.intent.get("lease", job.server) == job.server
        marker = Marker(
            vault=self.site.vault.id,
            job=job.id,
            server=job.server or "",
            backup=job.backup or "",
            policy=job.policy or "",
            slot=job.slot.isoformat() if job.slot else "",
            fence=self.lease.number if leased else 0,
        )
        about = job.intent.get("about", {})
        return Step(marker, self.check, lambda done, total: self._progress(what, done, total), about)

    def check(self) -> None:
        """Raise Interrupted when the user wants to stop, LeaseLost when the server is no longer ours."""
        if self.undoing:
            self.site.stop.check_now()
        else:
            self.site.stop.check()
        self.lease.check()

    def patiently(
        self, action: Callable[[], Result], *, busy: bool = True, step: Step | None = None
    ) -> Result:
        """Do something in the cloud, again a few times when it does not answer or (``busy``) the thing is busy.

        ``step`` is the step that it is done in, where that may be stopped by more than the job is.
        """
        for pause in self.site.patience:
            try:
                return action()
            except (CloudUnavailable, ResourceConflict) as error:
                if isinstance(error, ResourceConflict) and not busy:
                    raise
                self.site.stop.wait(pause)
                step.check() if step else self.check()
        return action()

    def finish(self, *, size: int = 0, stored: int = 0) -> None:
        """Close the job as done."""
        self._save(state=JobState.SUCCEEDED, finished_at=self.site.clock.now())
        self._report(JobFinished(**self.about(), size=size, stored=stored))

    def fail(self, error: CsbsError) -> None:
        """Close the job as failed, with the reason."""
        self._save(state=JobState.FAILED, finished_at=self.site.clock.now(), error=error.to_json())
        self._report(JobFailed(**self.about(), error=error.to_json()))

    def recovered(self, outcome: str) -> None:
        """Report that somebody else's job was finished or undone."""
        self._report(Recovered(**self.about(), outcome=outcome))

    def about(self) -> dict[str, Any]:
        """Return the fields that every event of this job has."""
        job = self.job
        return {
            "at": self.site.clock.now(),
            "provider": job.provider,
            "server_id": job.server or "",
            "server": job.server_name or job.server or "",
            "backup_id": job.backup,
            "backup": job.intent.get("name"),
            "job": job.id,
            "kind": job.kind.value,
        }

    def _progress(self, what: str, done: int, total: int) -> None:
        self._report(JobProgress(**self.about(), step=what, done=done, total=total))

    def _report(self, event: Event) -> None:
        """Report what concerns a server; housekeeping that concerns none is in the journal only."""
        if self.job.server:
            self.site.reporter.report(event)

    def _save(self, **changes: Any) -> None:
        self.job = self.site.vault.jobs.update(self.job.model_copy(update=changes))
