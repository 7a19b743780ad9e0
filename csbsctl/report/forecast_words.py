"""The sentences of a forecast, for its table and its chart alike."""

from __future__ import annotations

from datetime import timedelta

from csbsctl.engine.prospect import Prospect, QuotaProspect
from csbsctl.units import format_duration, format_size


def peak_line(prospect: Prospect) -> str:
    """Return when most bytes are stored, and how many: ``Stored: 12 GiB now, at most 118 GiB on 2026-12-01``."""
    if not prospect.points or prospect.peak is None:
        return "Nothing will be stored: no server is in a policy"
    now = sum(policy.stored for policy in prospect.policies)
    about = "about " if prospect.guessed else ""
    peak = prospect.peak
    return f"Stored: {format_size(now)} now, at most {about}{format_size(peak.stored)} on {peak.date}"


def quota_sentence(quota: QuotaProspect) -> str:
    """Return ``Quota of default: 9 of 10 backups on 2026-12-01``; says from when on it does not suffice."""
    shown = format_size if quota.what == "bytes" else str
    amount = (
        f"{shown(quota.peak)} of {shown(quota.limit)} {'' if quota.what == 'bytes' else quota.what}".strip()
    )
    when = f"at most {amount} on {quota.peak_date}" if quota.peak_date else f"{amount} now and at most"
    short = f"; does not suffice from {quota.exceeded_on} on" if quota.exceeded_on else ""
    return f"Quota of {quota.provider}: {when}{short}"


def age(span: timedelta | None) -> str:
    """Return a recovery point in minutes or hours, as people say it; ``none yet`` where there is none."""
    if span is None:
        return "none yet"
    minutes = round(span.total_seconds() / 60)
    coarse = timedelta(minutes=minutes) if minutes < 24 * 60 else timedelta(hours=round(minutes / 60))
    return format_duration(coarse)
