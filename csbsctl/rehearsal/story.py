"""What happened, in order: for counting, and for the lines around a failure. The reporter of a test's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from csbsctl.clock import VirtualClock
from csbsctl.protection.events import (
    BackupDeleted,
    BackupExpired,
    Event,
    JobFailed,
    JobFinished,
    JobProgress,
    JobStarted,
    PruneHeld,
    Recovered,
    SlotMissed,
    SlotSkipped,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, at the true time: an event of the jobs, or a note of the test's own."""

    at: datetime
    event: Event | None
    note: str = ""
    server_id: str | None = None

    @property
    def backed_up(self) -> bool:
        """Whether it is a backup that was taken."""
        return isinstance(self.event, JobFinished) and self.event.kind == "backup"

    def text(self) -> str:
        """Return it as people read it."""
        return self.note if self.event is None else f"{self.event.server}: {_told(self.event)}"


class Story:
    """Keeps what happened. Progress is not kept."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.entries: list[Entry] = []

    def report(self, event: Event) -> None:
        """Take note of an event of a job."""
        if not isinstance(event, JobStarted | JobProgress):
            self.entries.append(Entry(self._clock.now(), event, server_id=event.server_id))

    def note(self, text: str, server_id: str | None = None) -> None:
        """Take note of something else; ``server_id`` when it is about one server only."""
        self.entries.append(Entry(self._clock.now(), None, text, server_id))

    def count(self, kind: type[Event], server_id: str, since: datetime) -> int:
        """Return how many events of a kind a server has had from an instant on; failures count for backups only."""
        return sum(
            isinstance(entry.event, kind)
            and entry.server_id == server_id
            and entry.at >= since
            and getattr(entry.event, "kind", "backup") == "backup"
            for entry in self.entries
        )

    def before(self, instant: datetime, server_id: str | None, lines: int) -> list[Entry]:
        """Return the last entries up to an instant that are about a server or about all; of all where None."""
        return list(reversed([*_first(self._backwards(instant, server_id), lines)]))

    def _backwards(self, instant: datetime, server_id: str | None) -> Iterator[Entry]:
        for entry in reversed(self.entries):
            if entry.at <= instant and (server_id is None or entry.server_id in (None, server_id)):
                yield entry


def _first(entries: Iterator[Entry], count: int) -> Iterator[Entry]:
    for _, entry in zip(range(count), entries, strict=False):
        yield entry


def _told(event: Event) -> str:
    match event:
        case JobFinished(kind="backup"):
            return f"backed up ({event.backup})"
        case JobFinished():
            return f"{event.kind} finished"
        case JobFailed():
            return f"{event.kind} failed: {event.error.get('message', 'no reason is known')}"
        case SlotMissed():
            return f"slot {event.slot:%Y-%m-%d %H:%M} UTC was missed"
        case SlotSkipped():
            return f"slot {event.slot:%Y-%m-%d %H:%M} UTC was skipped: {event.reason}"
        case BackupDeleted():
            return f"{event.backup} was deleted: {event.reason}"
        case BackupExpired():
            return f"{event.backup} expired and is hidden: {event.reason}"
        case PruneHeld():
            return f"nothing was pruned: {event.reason}"
        case Recovered():
            return f"an interrupted {event.kind} was {event.outcome}"
    return event.name
