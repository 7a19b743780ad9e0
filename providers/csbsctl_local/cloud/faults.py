"""Faults, delays and fences: how the simulated cloud misbehaves on demand, and whom it does not listen to any more."""

from __future__ import annotations

from dataclasses import dataclass

from csbsctl.clock import Clock
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    LeaseLost,
    ProviderError,
    QuotaExceeded,
    ResourceConflict,
    ResourceNotFound,
    UsageError,
)
from csbsctl_local.cloud.database import Database

STEPS = (
    *(
        "servers",
        "server",
        "snapshot",
        "store",
        "release",
        "delete",
        "verify",
        "collect",
        "stop",
        "start",
        "restore",
    ),
    *("swap", "build", "hand-over", "read", "image", "images", "delete-image", "marked", "remove"),
)
"""The steps that can be made to fail or to take long."""

ERRORS: dict[str, type[ProviderError]] = {
    "not-found": ResourceNotFound,
    "conflict": ResourceConflict,
    "quota": QuotaExceeded,
    "unavailable": CloudUnavailable,
    "refused": CloudRefused,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A step that fails: for one server (id or name) or all, so many times more or always."""

    number: int
    step: str
    server: str | None
    error: str
    remaining: int | None


class Faults:
    """What one cloud does wrong."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def add(self, step: str, error: str, *, server: str | None = None, times: int | None = None) -> None:
        """Make a step fail from now on. Raises UsageError for a step or error that does not exist."""
        _known("step", step, STEPS)
        _known("error", error, ERRORS)
        with self._database.change() as change:
            change.execute(
                "INSERT INTO faults (step, server, error, remaining) VALUES (?, ?, ?, ?)",
                (step, server, error, times),
            )

    def list(self) -> list[Fault]:
        """Return the faults that are still to come, oldest first."""
        rows = self._database.rows("SELECT * FROM faults ORDER BY number")
        return [
            Fault(row["number"], row["step"], row["server"], row["error"], row["remaining"]) for row in rows
        ]

    def delays(self) -> dict[str, float]:
        """Return the delayed steps and their seconds."""
        return {
            row["step"]: row["seconds"]
            for row in self._database.rows("SELECT * FROM latencies ORDER BY step")
        }

    def clear(self) -> None:
        """Make everything work again, at once."""
        with self._database.change() as change:
            change.execute("DELETE FROM faults")
            change.execute("DELETE FROM latencies")

    def delay(self, step: str, seconds: float) -> None:
        """Make every passage of a step take so much longer; 0 ends it."""
        _known("step", step, STEPS)
        with self._database.change() as change:
            change.execute("DELETE FROM latencies WHERE step = ?", (step,))
            if seconds > 0:
                change.execute("INSERT INTO latencies VALUES (?, ?)", (step, seconds))

    def meet(self, step: str, *servers: str) -> None:
        """Go through a step for a server (its id and name): wait, fail, or pass."""
        delay = self._database.row("SELECT seconds FROM latencies WHERE step = ?", (step,))
        if delay:
            self._clock.sleep(delay["seconds"])
        if self._database.row("SELECT 1 FROM faults WHERE step = ?", (step,)) is None:
            return
        with self._database.change() as change:
            for fault in change.execute(
                "SELECT * FROM faults WHERE step = ? ORDER BY number", (step,)
            ).fetchall():
                if fault["server"] is None or fault["server"] in servers:
                    break
            else:
                return
            if fault["remaining"] is not None:
                change.execute(
                    "UPDATE faults SET remaining = remaining - 1 WHERE number = ?", (fault["number"],)
                )
                change.execute("DELETE FROM faults WHERE remaining <= 0")
        whose = f" of server {servers[-1]}" if servers else ""
        raise ERRORS[fault["error"]](
            f"step {step}{whose} failed: {fault['error']} (ordered by sim fail)",
            hint="see: csbsctl sim fail list; csbsctl sim fail clear",
        )

    def fence(self, vault: str, server: str, fence: int) -> None:
        """Remember the highest lease number seen for a server, and refuse a lower one.

        Raises:
            LeaseLost: somebody with a higher number was here.
        """
        if not fence:
            return
        row = self._database.row("SELECT fence FROM fences WHERE vault = ? AND server = ?", (vault, server))
        if row and row["fence"] == fence:
            return
        with self._database.change() as change:
            change.execute(
                "INSERT INTO fences VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fence = max(fence, excluded.fence)",
                (vault, server, fence),
            )
            highest = change.execute(
                "SELECT fence FROM fences WHERE vault = ? AND server = ?", (vault, server)
            ).fetchone()["fence"]
        if highest > fence:
            raise LeaseLost(
                f"the cloud refuses lease {fence} on server {server}: lease {highest} was here since"
            )


def _known(what: str, word: str, known: tuple[str, ...] | dict[str, type[ProviderError]]) -> None:
    if word not in known:
        raise UsageError(
            f"there is no {what} {word!r}", hint=did_you_mean(word, known) or f"one of: {', '.join(known)}"
        )
