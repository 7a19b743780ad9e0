"""``run``: one pass over what is due, or one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command
from csbsctl.cli.session import Session
from csbsctl.clock import format_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import NotFound, UsageError
from csbsctl.units import parse_duration, parse_size

if TYPE_CHECKING:
    from csbsctl.protection.runner import Runner, Summary
    from csbsctl.protection.site import Site

app = typer.Typer()

SOME_FAILED = 3


@command(
    app,
    examples=[
        "csbsctl run",
        "csbsctl run --dry-run",
        "csbsctl run --watch --every 1m",
        "csbsctl run --scrub 10G",
        "csbsctl run --json",
    ],
)
def run(
    session: Session,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this policy; may be given again.",
            show_default=False,
            autocompletion=completion.policies,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until stopped.")] = False,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="With --watch: how long to wait between passes.")
    ] = "1m",
    scrub: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Also verify the backups not verified for longest, up to this many bytes a pass.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is due; change nothing.")] = False,
) -> None:
    """Back up what is due, delete what expired, and finish or undo what was interrupted.

    Run it from cron, a systemd timer or CI as often as you like: each slot is served once, however many run it at
    once. Exits 3 when some servers failed, or when --scrub found damage.
    """
    from csbsctl.protection.runner import Runner

    interval = _seconds(every)
    with session.site(lines=True) as site:
        runner = Runner(site, _known(site, policy), scrub=_bytes(scrub))
        if dry_run:
            _preview(session, runner)
            return
        if watch:
            runner.watch(interval, _Watching(session))
        summary = runner.once()
    _tell(session, summary)
    if summary.failed or summary.damaged:
        raise typer.Exit(SOME_FAILED)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None


def _bytes(text: str | None) -> int:
    try:
        return parse_size(text) if text else 0
    except ValueError as error:
        raise UsageError(f"--scrub: {error}") from None


def _known(site: Site, policies: list[str] | None) -> list[str] | None:
    """Return the policies to run; refuse a name that is not in force rather than doing nothing for it."""
    state = site.vault.control.head().stacks.get(site.stack)
    in_force = list(state.live.get("policies", ())) if state else []
    for name in policies or ():
        if name not in in_force:
            hint = (
                did_you_mean(name, in_force)
                or f"in force: {', '.join(in_force) or 'none; see csbsctl apply'}"
            )
            raise NotFound(
                f"policy {name!r} is not in force in stack {site.stack}", hint=hint, code="CSBS.3000"
            )
    return policies


def _preview(session: Session, runner: Runner) -> None:
    _, turns = runner.preview()
    for turn in turns:
        session.out.event(
            {
                "event": "slot.due",
                "at": format_instant(session.clock.now()),
                "server": turn.bound.server.name,
                "server_id": turn.bound.server.id,
                "provider": turn.bound.server.provider,
                "policy": turn.bound.policy,
                "slot": format_instant(turn.slot),
            }
        )
    session.out.table(
        ("SERVER", "POLICY", "SLOT"),
        [(t.bound.server.name, t.bound.policy, f"{t.slot:%Y-%m-%d %H:%M} UTC") for t in turns],
        empty="Nothing is due.",
    )


class _Watching:
    """Tells what each pass did; of passes in a row that did nothing only the first, for people."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._idle = False

    def __call__(self, summary: Summary) -> None:
        self._idle = _tell(self._session, summary, idle=self._idle)


def _tell(session: Session, summary: Summary, *, idle: bool = False) -> bool:
    """Tell what a pass did and return whether that was nothing; ``idle`` says that this was told before."""
    session.out.event(summary.to_json())
    for problem in summary.problems:
        session.out.note(f"Warning: {problem}")
    counts = (
        (summary.succeeded, "backed up"),
        (summary.failed, "failed"),
        (summary.skipped, "skipped"),
        (summary.missed, "missed"),
        (summary.deleted, "deleted"),
        (summary.recovered, "recovered"),
        (summary.verified, "verified"),
        (summary.damaged, "damaged"),
    )
    did = ", ".join(f"{count} {what}" for count, what in counts if count)
    if did or not idle:
        session.say(did or "Nothing is due.")
    return not did
