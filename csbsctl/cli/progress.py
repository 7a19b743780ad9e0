"""How running jobs look: JSON lines for machines, a bar per disk on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from csbsctl.protection.events import (
    BackupDeleted,
    BackupExpired,
    BindingDoubted,
    Event,
    JobFailed,
    JobFinished,
    JobProgress,
    JobStarted,
    PruneHeld,
    Recovered,
    RunnerWatched,
    ServerLeft,
    SlotMissed,
    SlotSkipped,
)
from csbsctl.units import format_size

if TYPE_CHECKING:
    from csbsctl.cli.output import Output

_VERBS = {
    "backup": ("backing up", "backed up"),
    "restore": ("restoring", "restored"),
    "fetch": ("fetching", "fetched"),
    "image": ("making an image", "image made"),
    "delete": ("deleting", "deleted"),
    "verify": ("verifying", "verified"),
    "prune": ("pruning", "pruned"),
    "collect": ("freeing space", "freed space"),
}


class ProgressReporter:
    """Shows events as they come, from many threads. A context manager, since bars must be taken down again.

    ``lines`` says whether ``--json`` means JSON lines (``run``) or one document at the end, which others print.
    """

    def __init__(self, out: Output, *, lines: bool = False) -> None:
        self._out = out
        self._lines = lines
        self._lock = threading.Lock()
        self._bars = _Bars(out.stream) if out.interactive else None
        self._missed: list[SlotMissed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_missed()
        if self._bars:
            self._bars.close()

    def report(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if self._lines:
                self._out.event(event.to_json())
            if isinstance(event, JobProgress):
                if self._bars:
                    self._bars.move(event)
                return
            if self._bars:
                self._bars.clear(event)
            if isinstance(event, SlotMissed) and self._goes_with_missed(event):
                self._missed.append(event)
                return
            self._tell_missed()
            if isinstance(event, SlotMissed):
                self._missed.append(event)
            elif words := describe(event):
                self._say(words)

    def _say(self, words: str) -> None:
        """Say something, above the bars where there are some."""
        if self._bars:
            self._bars.above(words)
        else:
            self._out.say(words)

    def _goes_with_missed(self, event: SlotMissed) -> bool:
        return all((e.server_id, e.policy) == (event.server_id, event.policy) for e in self._missed)

    def _tell_missed(self) -> None:
        """Say in one line what was missed in a row: after a long outage there are many."""
        if self._missed:
            first, last, count = self._missed[0], self._missed[-1], len(self._missed)
            slots = f"the slot of policy {first.policy} at {first.slot:%Y-%m-%d %H:%M}"
            if count > 1:
                slots = f"{count} slots of policy {first.policy}, {first.slot:%Y-%m-%d %H:%M} to {last.slot:%Y-%m-%d %H:%M}"
            self._say(f"{first.server}: missed {slots} UTC")
            self._missed = []


def describe(event: Event) -> str | None:  # noqa: C901, PLR0912 - one arm an event
    """Return an event as a line for people; None for those that need no words."""
    who = event.server
    match event:
        case JobStarted(kind="fetch"):
            return f"{who}: fetching from {event.backup}"
        case JobStarted(kind="backup" | "restore"):
            return f"{who}: {_VERBS[event.kind][0]}" + (
                f" as {event.backup}" if event.kind == "backup" else ""
            )
        case JobFinished(kind="backup"):
            size, stored = format_size(event.size), format_size(event.stored)
            return f"{who}: backed up as {event.backup} ({size}, {stored} stored)"
        case JobFinished(kind="verify"):
            return f"{who}: read {event.backup} back"
        case JobFinished(kind="restore"):
            return f"{who}: {_VERBS[event.kind][1]}"
        case JobFailed():
            what = _VERBS.get(event.kind, (event.kind,))[0]
            hint = event.error.get("hint")
            return f"{who}: {what} failed: {event.error['message']}" + (f"\n  {hint}" if hint else "")
        case SlotSkipped():
            return f"{who}: skipped the slot of policy {event.policy} at {event.slot:%Y-%m-%d %H:%M} UTC: {event.reason}"
        case BackupDeleted():
            return f"{who}: deleted {event.backup}" + (f" ({event.reason})" if event.reason else "")
        case BackupExpired():
            return f"{who}: {event.backup} expired, kept until nothing depends on it"
        case PruneHeld():
            return f"{who}: pruned nothing: {event.reason}"
        case RunnerWatched():
            return (
                f"{who or 'housekeeping'}: a runner on another machine has an open job ({event.kind}); watching for up to "
                f"{event.seconds:.0f} s whether it is alive"
            )
        case ServerLeft():
            return f"{who}: left to stack {event.stack}: {event.reason}"
        case BindingDoubted():
            return f"binding.{event.binding} is not believed: {event.reason}"
        case Recovered():
            return f"{who}: an interrupted {event.kind} was {event.outcome}"
        case _:
            return None


class _Bars:
    """One bar for each disk that is being moved, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._progress.start()
        self._tasks: dict[tuple[str, str], Any] = {}

    def move(self, event: JobProgress) -> None:
        """Set a bar to where a step is."""
        key = (event.job or "", event.step)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(f"{event.server} {event.step}", total=event.total)
        self._progress.update(self._tasks[key], completed=event.done, total=event.total)

    def above(self, words: str) -> None:
        """Print lines where the bars are, and the bars below them."""
        self._progress.console.print(words, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def clear(self, event: Event) -> None:
        """Take down the bars of a job that ended."""
        if isinstance(event, JobFinished | JobFailed):
            for key in [key for key in self._tasks if key[0] == event.job]:
                self._progress.remove_task(self._tasks.pop(key))

    def close(self) -> None:
        """Take all bars down."""
        self._progress.stop()
