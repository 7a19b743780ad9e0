"""The collection job: a cloud frees what no backup needs any more, beside everything else that runs.

It changes no record. Providers do it in two rounds, so that what is being stored meanwhile is safe; when nobody else
works the second round follows at once. A collection that was cut off is simply closed, and the next one goes on.
"""

from __future__ import annotations

from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, CsbsError, Interrupted, LeaseLost
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.provider import Collected

JOURNALLED = Boundary("collect.journalled", "a collection of garbage is written down, nothing is done yet")
COLLECTED = Boundary("collect.collected", "a round of collection is over, the job is still open")

LEASE = "collect~"


def collect(site: Site, provider: str) -> Collected | None:
    """Collect a cloud's garbage and return what was freed; None when somebody else is doing it."""
    try:
        lease = site.vault.leases.acquire(provider, LEASE)
    except Conflict:
        return None
    with lease:
        work = Work.begin(site, lease, JobKind.COLLECT, {"lease": LEASE}, provider=provider)
        JOURNALLED()
        try:
            freed, condemned = _rounds(work)
        except LeaseLost:
            raise
        except CsbsError as error:
            work.fail(error)
            raise
        work.finish()
        return Collected(freed, condemned)


def close_collection(work: Work) -> str:
    """Close a collection whose runner is gone."""
    work.fail(Interrupted("the runner was gone before the collection ended"))
    return "undone"


def _rounds(work: Work) -> tuple[int, int]:
    freed = condemned = 0
    for _ in range(2):
        jobs = frozenset(job.id for job in work.site.vault.jobs.open())
        done = work.provider.collect(work.step("collect"), jobs)
        COLLECTED()
        freed, condemned = freed + done.freed, done.condemned
        if not condemned or jobs != {work.job.id}:
            break
    return freed, condemned
