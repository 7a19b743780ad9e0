"""``job list`` and ``job show``: operations with their journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command, group
from csbsctl.cli.session import Session
from csbsctl.errors import UsageError

if TYPE_CHECKING:
    from csbsctl.model.job import Job

app = group("List and show operations.")


@command(app, "list", examples=["csbsctl job list", "csbsctl job list --state failed"])
def list_(
    session: Session,
    state: Annotated[
        str | None, typer.Option(help="running, succeeded or failed.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the newest N.", min=1, show_default=False)] = None,
) -> None:
    """List operations, newest first; finished ones stay 30 days."""
    from csbsctl.model.job import JobState

    if state is not None and state not in set(JobState):
        raise UsageError(f"{state!r} is not a state of a job", hint=f"one of {', '.join(JobState)}")
    vault = session.vault_if_any()
    jobs = [job for job in (vault.jobs.list() if vault else ()) if state in (None, job.state.value)][:limit]
    session.result([job.to_json() for job in jobs])
    session.out.table(
        ("ID", "KIND", "SERVER", "STATE", "STARTED", "ERROR"),
        [
            (
                j.id[:8],
                j.kind.value,
                j.server_name,
                j.state.value,
                f"{j.started_at:%Y-%m-%d %H:%M:%S}",
                _why(j),
            )
            for j in jobs
        ],
        empty="No operations are recorded.",
    )


@command(app, examples=["csbsctl job show 1f0c2a77"])
def show(
    session: Session,
    job: Annotated[str, typer.Argument(help="ID, or the beginning of one.", autocompletion=completion.jobs)],
) -> None:
    """Show an operation: what it intended, which steps are done, how it ended."""
    found = session.vault().jobs.get(job)
    session.result(found.to_json())
    for key, value in _lines(found):
        session.say(f"{key:<10} {value}")


def _lines(job: Job) -> list[tuple[str, Any]]:
    ended = f"{job.finished_at:%Y-%m-%d %H:%M:%S}" if job.finished_at else "-"
    return [
        ("id", job.id),
        ("kind", job.kind.value),
        ("state", job.state.value),
        ("server", job.server_name or job.server or "-"),
        ("policy", job.policy or "-"),
        ("backup", job.backup or "-"),
        ("started", f"{job.started_at:%Y-%m-%d %H:%M:%S}"),
        ("ended", ended),
        ("steps", ", ".join(job.steps) or "-"),
        ("error", _why(job) or "-"),
    ]


def _why(job: Job) -> str:
    return job.error["message"] if job.error else ""
