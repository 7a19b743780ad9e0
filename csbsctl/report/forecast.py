"""A forecast as a table for people and as a document for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.engine.prospect import Point, PolicyProspect, Prospect, QuotaProspect
from csbsctl.errors import UsageError
from csbsctl.report.forecast_words import age, peak_line, quota_sentence
from csbsctl.report.style import Style, plural
from csbsctl.units import format_size

FORMATS = ("text", "json", "svg")

_DAILY = 14
"""Up to how many days each day gets a line; beyond, each week does."""
_WEEK = 7


def render_forecast(
    prospect: Prospect,
    format: str = "text",  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
) -> str:
    """Return a forecast as text, json or svg, ending in a newline.

    Raises:
        UsageError: there is no such format.
    """
    match format:
        case "text":
            return forecast_text(prospect, Style(color=color))
        case "json":
            return json.dumps(forecast_json(prospect), indent=2) + "\n"
        case "svg":
            from csbsctl.report.forecast_svg import svg_of  # noqa: PLC0415 - only who draws needs it

            return svg_of(prospect)
    raise UsageError(f"{format!r} is not a format", hint=f"formats are {', '.join(FORMATS)}")


def forecast_json(prospect: Prospect) -> dict[str, Any]:
    """Return the document of ``forecast --json`` (``schemas/forecast.schema.json``)."""
    return {
        "now": format_instant(prospect.now),
        "days": prospect.days,
        "servers": prospect.servers,
        "guessed": prospect.guessed,
        "timeline": [_point(point) for point in prospect.points],
        "peak": _point(prospect.peak) if prospect.peak else None,
        "policies": [_policy(policy) for policy in prospect.policies],
        "quotas": [_quota(quota) for quota in prospect.quotas],
        "frozen": {"backups": prospect.frozen_backups, "stored": prospect.frozen_stored},
    }


def forecast_text(prospect: Prospect, style: Style) -> str:
    """Return the forecast as tables and sentences."""
    if not prospect.policies:
        return "No policy is in force: see csbsctl plan.\n"
    blocks = [_policies(prospect, style)]
    if prospect.points:
        blocks.append(_timeline(prospect, style))
    return "\n\n".join([*blocks, "\n".join(_sentences(prospect, style))]).rstrip() + "\n"


def _policies(prospect: Prospect, style: Style) -> str:
    rows = [
        (
            policy.name + ("" if policy.enabled else " (off)"),
            str(policy.servers),
            str(policy.runs),
            f"{policy.backups} -> {policy.backups_at_end}",
            f"{format_size(policy.stored)} -> {format_size(policy.stored_at_end)}",
            age(policy.recovery_point) if policy.recovery_point else "-",
            f"{policy.oldest_at_end:%Y-%m-%d}" if policy.oldest_at_end else "-",
        )
        for policy in prospect.policies
    ]
    heads = ("POLICY", "SERVERS", "RUNS", "BACKUPS", "STORED", "WORST GAP", "BACK TO")
    return _table(heads, rows, style, left=1)


def _timeline(prospect: Prospect, style: Style) -> str:
    weekly = prospect.days > _DAILY
    rows = [
        (
            f"{period[0].date}",
            str(max(point.backups for point in period)),
            format_size(max(point.stored for point in period)),
            age(_worst(period)),
        )
        for period in _periods(prospect.points, _WEEK if weekly else 1)
    ]
    return _table(
        ("WEEK FROM" if weekly else "DAY", "BACKUPS", "STORED", "RECOVERY POINT"), rows, style, left=1
    )


def _periods(points: Sequence[Point], length: int) -> Iterator[Sequence[Point]]:
    for start in range(0, len(points), length):
        yield points[start : start + length]


def _worst(points: Sequence[Point]) -> timedelta | None:
    ages = [point.recovery_point for point in points if point.recovery_point is not None]
    return max(ages) if len(ages) == len(points) else None


def _sentences(prospect: Prospect, style: Style) -> Iterator[str]:
    yield peak_line(prospect) + "."
    for quota in prospect.quotas:
        sentence = f"{quota_sentence(quota)}."
        yield style.paint("danger", sentence) if quota.exceeded_on else sentence
    if prospect.frozen_backups:
        what = plural(prospect.frozen_backups, "backup")
        yield (
            f"Besides: {what} ({format_size(prospect.frozen_stored)}) of servers in no policy stay until deleted."
        )
    if prospect.guessed and prospect.points:
        yield "Bytes are guessed from disk sizes where a server has no backups to learn from yet."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], style: Style, *, left: int) -> str:
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    ]
    return "\n".join([style.paint("bold", lines[0]), *lines[1:]])


def _point(point: Point) -> dict[str, Any]:
    return {
        "date": point.date.isoformat(),
        "backups": point.backups,
        "stored": point.stored,
        "recovery_point_seconds": _seconds(point.recovery_point),
    }


def _policy(policy: PolicyProspect) -> dict[str, Any]:
    return {
        "name": policy.name,
        "enabled": policy.enabled,
        "servers": policy.servers,
        "runs": policy.runs,
        "backups": {"now": policy.backups, "end": policy.backups_at_end},
        "stored": {"now": policy.stored, "end": policy.stored_at_end},
        "recovery_point_seconds": _seconds(policy.recovery_point),
        "oldest_at_end": format_instant(policy.oldest_at_end) if policy.oldest_at_end else None,
    }


def _quota(quota: QuotaProspect) -> dict[str, Any]:
    return {
        "provider": quota.provider,
        "what": quota.what,
        "limit": quota.limit,
        "used": quota.used,
        "peak": quota.peak,
        "peak_date": quota.peak_date.isoformat() if quota.peak_date else None,
        "exceeded_on": quota.exceeded_on.isoformat() if quota.exceeded_on else None,
    }


def _seconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds())
