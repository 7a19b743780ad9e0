"""The journal of jobs: what each is about to do, written before it does it, so that anybody can finish or undo it.

A job is a series of generations below ``jobs/``; ``open/<job>`` exists from before its first generation until after
its last, so that open jobs are found without reading all that ever ran.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from csbsctl.blobs import BlobExists
from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, LeaseLost, NotFound, UsageError
from csbsctl.model.job import Job, JobState
from csbsctl.vault.concurrency import in_parallel
from csbsctl.vault.documents import Codec, damaged
from csbsctl.vault.series import EMPTY, Generation, Series, listed_heads
from csbsctl.vault.stores.contract import Store

FOLDER = "jobs"
OPEN = "open"

ANNOUNCED = Boundary("job.announced", "a job is listed as open, but says nothing yet")
BEGUN = Boundary("job.begun", "a job's intent is in the journal, nothing is done")
ENDED = Boundary("job.ended", "a job's end is in the journal, it is still listed as open")

Jobs = list[Job]

_ATTEMPTS = 10


class Journal:
    """Begins, updates and finds jobs; safe to use from many threads."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._store = store
        self._codec = codec
        self._known: dict[str, Generation] = {}
        self._lock = threading.Lock()
        """Guards ``_known``: the newest generation of each job that this process wrote or continued."""

    def begin(self, job: Job) -> Job:
        """Record a new job's intent. Raises Conflict when a job of this id is there already."""
        self._announce(job.id)
        ANNOUNCED()
        self._write(job, EMPTY)
        BEGUN()
        return job

    def update(self, job: Job) -> Job:
        """Record how far a job is, how it ended, or that one which had ended goes on.

        Raises:
            LeaseLost: a runner with a higher lease number continued it.
            NotFound: the job was never begun.
        """
        for _ in range(_ATTEMPTS):
            base = self._known.get(job.id) or self._series(job.id).head()
            if not base.number:
                raise _absent(job.id)
            if base.body["fence"] > job.fence:
                raise LeaseLost(f"another runner continued job {job.id} under lease {base.body['fence']}")
            if job.state is JobState.RUNNING and base.body["state"] != JobState.RUNNING:
                self._announce(job.id)
            try:
                self._write(job, base)
            except Conflict:
                self._forget(job.id)
                continue
            if job.state is not JobState.RUNNING:
                ENDED()
                self._store.delete(f"{OPEN}/{job.id}")
                self._forget(job.id)
            return job
        raise Conflict(f"job {job.id} is being written by others all the time", hint="run the command again")

    def get(self, job_id: str) -> Job:
        """Return the job of an id, or of a unique prefix of one.

        Raises:
            NotFound: no job fits.
            UsageError: more than one fits.
        """
        exact = self._read(job_id) if "/" not in job_id and job_id else None
        if exact is not None:
            return exact
        ids = [found for found in self._store.folders(FOLDER + "/") if found.startswith(job_id)]
        jobs = list(self._read_all(ids))
        if not jobs:
            raise _absent(job_id)
        if len(jobs) > 1:
            raise UsageError(f"{job_id} fits {len(jobs)} jobs", hint="give more of the id")
        return jobs[0]

    def list(self) -> Jobs:
        """Return every job that is kept, newest first."""
        heads = listed_heads(self._store, FOLDER)
        found = in_parallel(lambda head: self._listed(*head), heads.items(), self._store.parallel)
        return _newest_first(job for job in found if job is not None)

    def open(self) -> Jobs:
        """Return the jobs that did not end, newest first, whoever runs or ran them; tidies up after dead runners."""
        jobs = self._announced()
        for job in jobs:
            if job.state is not JobState.RUNNING:  # its runner died between the end and this
                self._store.delete(f"{OPEN}/{job.id}")
        return [job for job in jobs if job.state is JobState.RUNNING]

    def running(self) -> Jobs:
        """Return the jobs that did not end, newest first; changes nothing."""
        return [job for job in self._announced() if job.state is JobState.RUNNING]

    def state(self, job_id: str) -> JobState | None:
        """Return how a job stands; None when the journal has none of that very id."""
        job = self._read(job_id)
        return job.state if job else None

    def forget(self, jobs: Iterable[Job], before: datetime) -> int:
        """Remove those of some jobs that ended before an instant, and return how many."""
        old = [
            job.id
            for job in jobs
            if job.state is not JobState.RUNNING and (job.finished_at or job.started_at) < before
        ]
        for job_id in old:
            self._series(job_id).destroy()
        return len(old)

    def _announced(self) -> Jobs:
        ids = [key.rpartition("/")[2] for key in self._store.keys(OPEN + "/")]
        return _newest_first(self._read_all(ids))

    def _announce(self, job_id: str) -> None:
        with suppress(BlobExists):  # an earlier try of ours that was cut off
            self._store.create(f"{OPEN}/{job_id}", b"")

    def _write(self, job: Job, base: Generation) -> None:
        committed = self._series(job.id).commit(base, job.model_dump(mode="json", exclude_defaults=True))
        with self._lock:
            self._known[job.id] = committed

    def _read(self, job_id: str) -> Job | None:
        return self._parse(job_id, self._series(job_id).head())

    def _listed(self, job_id: str, number: int) -> Job | None:
        """Return a job of which a listing showed a generation; one that was done by then has no newer one."""
        series = self._series(job_id)
        try:
            listed = series.at(number)
        except NotFound:  # others wrote, or forgot it, since the listing
            return self._read(job_id)
        job = self._parse(job_id, listed)
        if job is None or job.state is JobState.SUCCEEDED:
            return job
        return self._parse(job_id, series.newest_from(number, listed))

    def _parse(self, job_id: str, generation: Generation) -> Job | None:
        if not generation.number:
            return None
        try:
            return Job.model_validate(generation.body)
        except ValidationError as error:
            key = self._series(job_id).key(generation.number)
            raise damaged(key, f"{error.error_count()} of its fields are not what they should be") from error

    def _read_all(self, ids: Iterable[str]) -> Iterator[Job]:
        found = in_parallel(self._read, ids, self._store.parallel)
        return (job for job in found if job is not None)

    def _forget(self, job_id: str) -> None:
        with self._lock:
            self._known.pop(job_id, None)

    def _series(self, job_id: str) -> Series:
        return Series(self._store, self._codec, f"{FOLDER}/{job_id}")


def _newest_first(jobs: Iterable[Job]) -> Jobs:
    return sorted(jobs, key=lambda job: (job.started_at, job.id), reverse=True)


def _absent(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}", hint="see `csbsctl job list`", code="job.not-found")
