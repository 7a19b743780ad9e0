"""The collection job: a cloud frees what no backup needs any more, beside everything else that runs.

It changes no record. Providers do it in two rounds, so that what is being stored meanwhile is safe; when nobody else
works the second round follows at once. A collection that was cut off is simply closed, and the next one goes on.

Whoever is about to make garbage says so first, with an empty object ``litter/<provider>/<job>``. Those objects go when
a collection has nothing left to free, so garbage is never forgotten, whoever dies when.
"""

from __future__ import annotations

from datetime import timedelta

from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, CsbsError, Interrupted, LeaseLost
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.provider import Collected

JOURNALLED = Boundary("collect.journalled", "a collection of garbage is written down, nothing is done yet")
COLLECTED = Boundary("collect.collected", "a round of collection is over, the job is still open")

LEASE = "collect~"
LITTER = "litter"


def note_litter(site: Site, provider: str, job: str) -> None:
    """Note, before anything else, that a job makes garbage: a later ``run`` collects it, even if nobody lives to see."""
    site.vault.blobs.put(f"{LITTER}/{provider}/{job}", b"")


def litterers(site: Site, provider: str) -> list[str]:
    """Return the jobs that may have left garbage in what a provider stores."""
    return [blob.key.rpartition("/")[2] for blob in site.vault.blobs.list(f"{LITTER}/{provider}/")]


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
            done = _rounds(work)
            work.finish()
        except CsbsError as error:
            note_litter(site, provider, work.job.id)  # a half collection leaves verdicts and copies
            if not isinstance(error, LeaseLost):
                work.fail(error)
            raise
        return done


def close_collection(work: Work) -> str:
    """Close a collection whose runner is gone."""
    work.fail(Interrupted("the runner was gone before the collection ended"))
    return "undone"


def _rounds(work: Work) -> Collected:
    """Collect, twice where nobody else is at work; forget the litter of ended jobs when nothing is left to free."""
    blobs = work.site.vault.blobs
    # what was stored just now may not be listed yet, so whoever made garbage just now is remembered
    settled = blobs.now() - timedelta(seconds=2 * work.site.vault.store.lag)
    litter = [b.key for b in blobs.list(f"{LITTER}/{work.job.provider}/") if b.modified <= settled]
    freed = 0
    for _ in range(2):
        jobs = frozenset(job.id for job in work.site.vault.jobs.open())
        done = work.provider.collect(work.step("collect"), jobs)
        COLLECTED()
        freed += done.freed
        if not done.condemned or jobs != {work.job.id}:
            break
    if not done.condemned:
        for key in litter:
            if key.rpartition("/")[2] not in jobs:
                blobs.delete(key)
    return Collected(freed, done.condemned)
