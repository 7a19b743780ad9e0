"""What a moment of a test file means: an instant, by the test's start, span and time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from csbsctl.model.walltime import to_instant, zone
from csbsctl.rehearsal.suite import Case
from csbsctl.units import parse_duration


class Calendar:
    """Start, end and time zone of one test."""

    def __init__(self, case: Case) -> None:
        self.zone: ZoneInfo = zone(case.timezone)
        self.start = self._absolute(case.start)
        self.end = self.start + case.span

    def instant(self, moment: str) -> datetime:
        """Return the instant (UTC) of a moment.

        Raises:
            ValueError: there is no such day or time, or it does not lie between start and end.
        """
        if moment == "start":
            return self.start
        if moment == "end":
            return self.end
        instant = self._absolute(moment) if "-" in moment else self.start + parse_duration(moment)
        if not self.start <= instant <= self.end:
            raise ValueError(
                f"{moment} is outside of the test, which goes from {self.show(self.start)} to {self.show(self.end)}"
            )
        return instant

    def show(self, instant: datetime) -> str:
        """Return an instant in the test's zone for people."""
        return shown_in(instant, self.zone)

    def _absolute(self, text: str) -> datetime:
        if "-" not in text:
            raise ValueError(f"{text!r} is no date: write 2027-03-28 or 2027-03-28 02:30")
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else to_instant(parsed, self.zone)


def shown_in(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant to the minute in a zone: ``2027-03-28 03:00 CEST``."""
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def shown(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant in a zone and in UTC; once where they are the same."""
    local = shown_in(instant, zone)
    return local if local.endswith(" UTC") else f"{local} ({instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"


def short(span: timedelta) -> str:
    """Return a span for people to two units: ``3d 4h``, ``26h``, ``45m``."""
    minutes = round(span.total_seconds() / 60)
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days > 2:  # noqa: PLR2004 - up to two days people count in hours
        return f"{days}d {hours}h" if hours else f"{days}d"
    hours += days * 24
    return (f"{hours}h {rest}m" if rest else f"{hours}h") if hours else f"{rest}m"
