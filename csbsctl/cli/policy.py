"""``policy`` and ``schedule``: look at policies, switch and run them by hand, see when they run."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli import completion
from csbsctl.cli.backup import report_outcome
from csbsctl.cli.command import command, group
from csbsctl.cli.output import minute
from csbsctl.cli.session import Session
from csbsctl.clock import format_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import NotFound

if TYPE_CHECKING:
    from csbsctl.model.control import StackState
    from csbsctl.model.policy import Policy

app = group("List, switch and run policies.")
schedule_app = typer.Typer()

Name = Annotated[
    str,
    typer.Argument(metavar="POLICY", help="Name of a policy in force.", autocompletion=completion.policies),
]


@command(app, "list", examples=["csbsctl policy list"])
def list_(session: Session) -> None:
    """List the policies in force in this stack."""
    from csbsctl.protection.status import policy_views

    views = policy_views(session.reading_site()) if session.vault_if_any() else []
    session.result(views)
    session.out.table(
        ("NAME", "ENABLED", "SERVERS", "NEXT RUN", "LAST RUN"),
        [
            (v["name"], v["enabled"], v["servers"], minute(v["next_run"]), minute(v["last_run"]))
            for v in views
        ],
        empty="No policy is in force: see csbsctl plan.",
    )


@command(app, examples=["csbsctl policy show gold"])
def show(session: Session, policy: Name) -> None:
    """Show a policy as it is in force."""
    from csbsctl.cli.inspect import as_yaml

    raw, _ = _in_force(session, policy)
    session.result(raw)
    session.say(as_yaml(raw))


@command(app, examples=["csbsctl policy enable gold"])
def enable(session: Session, policy: Name) -> None:
    """Switch a policy on, live; drift shows it until the configuration says the same."""
    _switch(session, policy, on=True)


@command(app, examples=["csbsctl policy disable gold"])
def disable(
    session: Session,
    policy: Name,
) -> None:
    """Switch a policy off, live: nothing is backed up on schedule and nothing expires; a running job finishes."""
    _switch(session, policy, on=False)


@command(app, examples=["csbsctl policy run gold", "csbsctl policy run gold --server web-01"])
def run(
    session: Session,
    policy: Name,
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this server; may be given again.",
            show_default=False,
            autocompletion=completion.servers,
        ),
    ] = None,
) -> None:
    """Back up a policy's servers now, even when it is disabled. Such backups stay until somebody deletes them."""
    from csbsctl.protection.byhand import run_policy

    with session.site() as site:
        outcome = run_policy(site, policy, server or ())
    report_outcome(session, outcome)


@command(schedule_app, examples=["csbsctl schedule gold", "csbsctl schedule gold --count 20"])
def schedule(
    session: Session,
    policy: Name,
    count: Annotated[int, typer.Option(help="How many runs.", min=1, max=10000)] = 10,
) -> None:
    """Show when a policy runs next, in its own time zone and in UTC."""
    from zoneinfo import ZoneInfo

    from csbsctl.rules.schedule import Timetable

    model, anchor = _timing(session, policy)
    table, moment = Timetable(model.schedule, anchor), session.clock.now()
    runs: list[datetime] = []
    while len(runs) < count and (following := table.next(moment)):
        runs.append(following)
        moment = following
    zone = ZoneInfo(model.schedule.timezone)
    session.result([{"at": format_instant(r), "local": r.astimezone(zone).isoformat()} for r in runs])
    session.out.table(
        ("LOCAL", "UTC"),
        [(f"{r.astimezone(zone):%a %Y-%m-%d %H:%M %Z}", f"{r:%Y-%m-%d %H:%M}") for r in runs],
        empty="It never runs.",
    )


def _switch(session: Session, policy: str, *, on: bool) -> None:
    from csbsctl.engine.edits import Editor

    _in_force(session, policy)
    vault = session.vault()
    before = vault.control.head()
    document = Editor(vault.control, session.clock, session.actor, "command line").set(
        session.stack, f"policy.{policy}", ["enabled"], on
    )
    changed = document.generation != before.generation
    if changed:
        vault.audit.record(
            "updateBackupPolicy",
            resource_type="backupPolicy",
            resource_id=f"policy.{policy}",
            details={"enabled": on, "generation": document.generation},
        )
    session.result({"policy": policy, "enabled": on, "generation": document.generation, "changed": changed})
    session.say(f"Policy {policy} is {'now' if changed else 'already'} {'enabled' if on else 'disabled'}.")


def _in_force(session: Session, policy: str) -> tuple[dict[str, Any], StackState]:
    vault = session.vault_if_any()
    state = vault.control.head().stacks.get(session.stack) if vault else None
    policies = state.live.get("policies", {}) if state else {}
    if state is None or policy not in policies:
        hint = (
            did_you_mean(policy, policies) or "see csbsctl policy list; csbsctl apply puts policies in force"
        )
        raise NotFound(f"policy {policy!r} is not in force", hint=hint, code="CSBS.3000")
    return policies[policy], state


def _timing(session: Session, policy: str) -> tuple[Policy, datetime]:
    """Return a policy and the anchor of its cadence: as in force, or as declared where it is not in force yet."""
    from csbsctl.model.policy import Policy

    try:
        raw, state = _in_force(session, policy)
    except NotFound:
        declared = session.configuration.declared.policies
        if policy not in declared:
            raise
        return declared[policy], session.clock.now()
    return Policy.model_validate(raw), state.anchors.get(policy, session.clock.now())
