"""What happens while jobs run, as typed events: one line each of ``run --json``, one line or bar each for people.

Knows nothing of how they are shown. Keys may be added, never renamed (design section 11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

from csbsctl.clock import format_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, to one server unless said otherwise: ``server`` and ``backup`` are what people call them."""

    name: ClassVar[str]

    at: datetime
    provider: str
    server_id: str
    server: str
    backup_id: str | None = None
    backup: str | None = None
    job: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON line: ``event`` and ``at`` first, then what is known."""
        return {
            "event": self.name,
            "at": format_instant(self.at),
            "server": self.server,
            "server_id": self.server_id,
            "provider": self.provider,
            "backup": self.backup_id,
            "backup_name": self.backup,
            "job": self.job,
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """A job began to work on a server."""

    name = "job.started"
    kind: str

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress(Event):
    """A long step got on: ``done`` of ``total`` bytes of what ``step`` names."""

    name = "job.progress"
    kind: str
    step: str
    done: int
    total: int

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind, "step": self.step, "done": self.done, "total": self.total}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished(Event):
    """A job ended well; ``size`` and ``stored`` are bytes where data was moved."""

    name = "job.finished"
    kind: str
    size: int = 0
    stored: int = 0

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size, "stored": self.stored}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(Event):
    """A job ended badly; ``error`` is the object that every error prints."""

    name = "job.failed"
    kind: str
    error: dict[str, Any] = field(default_factory=dict)

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMissed(Event):
    """A slot passed while nobody ran, and it is too late for it now."""

    name = "slot.missed"
    policy: str
    slot: datetime

    def _more(self) -> dict[str, Any]:
        return {"policy": self.policy, "slot": format_instant(self.slot)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSkipped(Event):
    """A slot was not used because the server was busy."""

    name = "slot.skipped"
    policy: str
    slot: datetime
    reason: str

    def _more(self) -> dict[str, Any]:
        return {"policy": self.policy, "slot": format_instant(self.slot), "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupExpired(Event):
    """Retention let go of a backup that something else still depends on: it is hidden, and goes later."""

    name = "backup.expired"
    reason: str = ""

    def _more(self) -> dict[str, Any]:
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDeleted(Event):
    """A backup and its data are gone."""

    name = "backup.deleted"
    reason: str = ""

    def _more(self) -> dict[str, Any]:
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneHeld(Event):
    """A prune was held back by a safety brake; ``reason`` says which and what to do."""

    name = "prune.held"
    policy: str
    reason: str

    def _more(self) -> dict[str, Any]:
        return {"policy": self.policy, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLeft(Event):
    """A server that this stack's bindings reach is left to another stack, which has it by an earlier claim."""

    name = "server.left"
    binding: str
    stack: str
    """The stack that has the server."""
    reason: str

    def _more(self) -> dict[str, Any]:
        return {"binding": self.binding, "stack": self.stack, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingDoubted(Event):
    """A binding's rule reaches too few or too many servers to be believed; about no one server."""

    name = "binding.doubted"
    server_id: str = ""
    server: str = ""
    binding: str
    policy: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON line; ``server`` and ``server_id`` are null."""
        return {**Event.to_json(self), "server": None, "server_id": None}

    def _more(self) -> dict[str, Any]:
        return {"binding": self.binding, "policy": self.policy, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered(Event):
    """What a dead runner or an earlier failure left behind was finished, undone or removed."""

    name = "recovered"
    kind: str
    outcome: str

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind, "outcome": self.outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWatched(Event):
    """A job is open whose runner works on another machine, or worked: it is watched for up to ``seconds``."""

    name = "runner.watched"
    kind: str
    seconds: float

    def _more(self) -> dict[str, Any]:
        return {"kind": self.kind, "seconds": self.seconds}


class Reporter(Protocol):
    """Whoever shows events; called from many threads."""

    def report(self, event: Event) -> None:
        """Take note of an event; must not raise and should return quickly."""
        ...


class Silence:
    """A reporter that shows nothing."""

    def report(self, event: Event) -> None:
        """Do nothing."""


class Recorder:
    """A reporter that keeps the events, in order: for summaries and tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)
