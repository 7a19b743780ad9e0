"""What was left behind in the clouds, and how close they are to their limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.model.job import JobState
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.provider import Marked, MarkedKind
from csbsctl.units import format_size

_GRACE = timedelta(minutes=10)
"""A thing this young may belong to a job that began after the jobs were listed."""

_NEARLY = 0.9
"""From this share of a quota on it is worth a word."""


def orphan_finding(scene: Scene, provider: str, marked: Marked) -> Iterator[Finding]:
    """Yield a thing with our marker that no backup names, where no job needs it either and a run would remove it."""
    if marked.created_at is not None and scene.situation.now - marked.created_at < _GRACE:
        return
    state = scene.state_of(marked.marker.job)
    if state is JobState.RUNNING or not _left_behind(marked, state):
        return
    yield finding(
        FindingClass.ORPHAN,
        "warning",
        f"{marked.kind.value}.{marked.ref}",
        f"{marked.kind.value} {marked.ref} in provider {provider} was left behind by job {marked.marker.job}",
        since=marked.created_at,
        hint="the next `csbsctl run` removes it"
        if state
        else "no job in the journal explains it any more: delete it in the cloud once you know it is not needed",
    )


def quota_findings(scene: Scene) -> Iterator[Finding]:
    """Yield the limits of clouds that are reached, or nearly so."""
    for provider, quota in scene.situation.quotas.items():
        limits = (
            ("backups", quota.backups_used, quota.backups, str),
            ("bytes of backups", quota.size_used, quota.size, format_size),
        )
        for what, used, limit, spell in limits:
            if limit is None or used < limit * _NEARLY:
                continue
            full = used >= limit
            # The figure itself would change with every run and make a new alert of an old finding.
            share = "all" if full else f"more than {_NEARLY:.0%}"
            yield finding(
                FindingClass.QUOTA,
                "error" if full else "warning",
                f"provider.{provider}",
                f"{share} of the quota of {spell(limit)} {what if what == 'backups' else 'of backups'} is used",
                hint="raise the quota, shorten retention, or delete backups",
            )


def _left_behind(marked: Marked, state: JobState | None) -> bool:
    """Tell whether nobody wants a thing: restored servers and all they consist of are results, unless their job failed."""
    if marked.kind in (MarkedKind.SNAPSHOT, MarkedKind.BACKUP):
        return True
    return marked.kind in (MarkedKind.VOLUME, MarkedKind.PORT) and state is JobState.FAILED
