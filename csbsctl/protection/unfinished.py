"""Restores that failed after they had begun to change something: what waits for the same request, or for another.

Reads jobs; knows no steps of a provider and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.model.server import Server, Volume
from csbsctl.protection.jobs.forms import from_plain
from csbsctl.protection.site import Site
from csbsctl.provider import RestorePlan


def has_begun(job: Job) -> bool:
    """Whether a restore changed anything that only finishing it puts right."""
    return any(step == "stopped" or step.startswith("restored:") for step in job.steps)


def is_resumable(job: Job) -> bool:
    """Whether a failed restore waits for the same request to go on with it."""
    return (
        job.kind is JobKind.RESTORE
        and job.state is JobState.FAILED
        and has_begun(job)
        and "superseded" not in job.steps
    )


def unfinished_restores(site: Site, provider: str, wanted: dict[str, Any]) -> list[Job]:
    """Return the failed restores with the aim of a request (its identity): the same server, or the same new name."""

    def aim(request: dict[str, Any]) -> tuple[Any, Any]:
        return request["server"], request["name"]

    failed = [job for job in site.vault.jobs.list() if job.provider == provider and is_resumable(job)]
    return [job for job in failed if aim(job.intent["request"]) == aim(wanted)]


def taken_off(server: Server, jobs: Sequence[Job]) -> tuple[Volume, ...]:
    """Return the disks that failed restores were to overwrite and that are off their server, as they were attached.

    A place that another disk has by now is that one's.
    """
    plans = [from_plain(RestorePlan, job.intent["plan"]) for job in jobs]
    targets = [m.target for plan in plans if plan.server for m in plan.mappings if m.target]
    there = {volume.id for volume in server.volumes}
    places = {volume.position for volume in server.volumes}
    off = {t.id: t for t in targets if t.id not in there and t.position not in places}
    return tuple(sorted(off.values(), key=lambda volume: volume.position))
