"""How a wall time in a zone becomes an instant: the one rule for daylight-saving nights (design section 8).

A wall time that does not exist means the first instant after the gap; one that occurs twice means the first time.
Knows nothing of schedules.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_RESOLUTION = timedelta(seconds=1)


def zone(name: str) -> ZoneInfo:
    """Return the IANA zone of a name that was validated before; instances are shared."""
    return ZoneInfo(name)


def to_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the UTC instant at which a naive wall time is reached in a zone."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return instant
    return _end_of_gap(wall, zone)


def to_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the naive wall time that clocks in a zone show at an instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant whose wall time lies after one that never comes: a search between both readings."""
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while after - before > _RESOLUTION:
        middle = before + (after - before) // 2
        if to_wall(middle, zone) > wall:
            after = middle
        else:
            before = middle
    # Offsets change on whole seconds, and the search has closed in on one from above.
    return after.replace(microsecond=0)
