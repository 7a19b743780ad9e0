from __future__ import annotations

from datetime import timedelta

import pytest

from csbsctl.errors import Conflict, LeaseLost, NotFound, UsageError
from csbsctl.model.job import JobState


def finished(job, **changes):
    return job.model_copy(update={"state": JobState.SUCCEEDED, "finished_at": job.started_at, **changes})


def test_a_job_is_open_until_it_ends(vault, job):
    begun = vault.jobs.begin(job())
    assert vault.jobs.open() == [begun]
    vault.jobs.update(begun.model_copy(update={"steps": {"snapshot": {"ref": "x"}}}))
    assert vault.jobs.open()[0].steps == {"snapshot": {"ref": "x"}}
    done = vault.jobs.update(finished(begun))
    assert vault.jobs.open() == []
    assert vault.jobs.get(begun.id) == done


def test_another_process_sees_what_was_written(vault, opened, job):
    vault.jobs.begin(job())
    other = opened()
    assert other.jobs.get("job-0000") == job()
    assert other.jobs.open() == [job()]


def test_jobs_are_listed_newest_first(vault, job):
    for number in (2, 1, 3):
        vault.jobs.begin(job(number))
    assert [found.id for found in vault.jobs.list()] == ["job-0003", "job-0002", "job-0001"]


def test_a_unique_prefix_finds_a_job(vault, job):
    vault.jobs.begin(job(1))
    vault.jobs.begin(job(12))
    assert vault.jobs.get("job-0012").id == "job-0012"
    assert vault.jobs.get("job-0001").id == "job-0001"
    with pytest.raises(UsageError, match="fits 2 jobs"):
        vault.jobs.get("job-00")
    for wanted in ("none", "", "../control"):
        with pytest.raises((NotFound, UsageError)):
            vault.jobs.get(wanted)


def test_a_job_is_begun_once(vault, opened, job):
    vault.jobs.begin(job())
    with pytest.raises(Conflict):
        opened().jobs.begin(job())


def test_a_job_that_never_began_cannot_be_updated(vault, job):
    with pytest.raises(NotFound):
        vault.jobs.update(job())


def test_who_continues_a_job_shuts_the_earlier_runner_out(vault, opened, job):
    begun = vault.jobs.begin(job(fence=1))
    other = opened()
    taken = other.jobs.update(begun.model_copy(update={"fence": 2, "runner": "r2"}))
    with pytest.raises(LeaseLost, match="lease 2"):
        vault.jobs.update(begun.model_copy(update={"steps": {"late": 1}}))
    assert vault.jobs.get(begun.id) == taken


def test_a_job_that_ended_right_before_a_crash_is_not_open(vault, opened, job):
    begun = vault.jobs.begin(job())
    vault.jobs.update(finished(begun))
    vault.store.create(f"open/{begun.id}", b"")
    assert opened().jobs.open() == []
    assert list(vault.store.keys("open/")) == []


def test_old_jobs_are_forgotten_and_open_ones_never(vault, job):
    for number in range(4):
        vault.jobs.begin(job(number))
    for number in range(3):
        vault.jobs.update(finished(job(number)))
    assert vault.jobs.forget(vault.jobs.list(), job(2).started_at) == 2
    assert [found.id for found in vault.jobs.list()] == ["job-0003", "job-0002"]
    assert vault.jobs.forget(vault.jobs.list(), job(3).started_at + timedelta(days=40)) == 1
    assert [found.id for found in vault.jobs.list()] == ["job-0003"]


def test_whoever_may_only_read_sees_what_runs_where_a_runner_died_before_its_last_line(vault, opened, job):
    begun = vault.jobs.begin(job())
    vault.jobs.begin(job(1))
    vault.jobs.update(finished(begun))
    vault.blobs.create(f"open/{begun.id}", b"")
    reader = opened(read_only=True, create=False)
    assert reader.jobs.running() == [job(1)]
    assert reader.jobs.state(begun.id) is JobState.SUCCEEDED
    assert reader.jobs.state("job-9999") is None
