"""How tests ended: plain data that crosses processes and is rendered elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.diagnostics import Diagnostic, Place


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that did not hold: where it stands, of which server, when, and what had happened before."""

    place: Place | None
    kind: str
    server: str | None
    actual: str
    wanted: str
    at: datetime
    shown: str
    """``at`` for people: in the policy's zone, and in UTC."""
    story: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """Return what is wrong in one line."""
        who = f"{self.server}: " if self.server else ""
        return f"{who}{self.actual}; expected: {self.wanted}"

    def to_json(self) -> dict[str, Any]:
        """Return the failure as machines read it."""
        return {
            "expectation": self.kind,
            "where": _where(self.place),
            "server": self.server,
            "actual": self.actual,
            "expected": self.wanted,
            "at": format_instant(self.at),
            "story": list(self.story),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test and how it ended: failures of expectations, or problems that kept it from being run."""

    file: str
    name: str
    place: Place | None
    span: timedelta
    failures: tuple[Failure, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    seconds: float = 0.0
    servers: int = 0
    backups: int = 0
    """How many backups were taken."""

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures and not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as machines read it."""
        return {
            "name": self.name,
            "file": self.file,
            "line": self.place.line if self.place else None,
            "passed": self.passed,
            "span_seconds": round(self.span.total_seconds()),
            "seconds": round(self.seconds, 3),
            "servers": self.servers,
            "backups": self.backups,
            "failures": [failure.to_json() for failure in self.failures],
            "problems": [problem.to_json() for problem in self.problems],
        }


def _where(place: Place | None) -> dict[str, Any] | None:
    return {"file": place.file, "line": place.line, "column": place.column} if place else None
