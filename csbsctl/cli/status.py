"""``status``: protection at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli.command import command
from csbsctl.cli.drift import find_drift
from csbsctl.cli.output import minute
from csbsctl.cli.session import Session

if TYPE_CHECKING:
    from csbsctl.model.plan import Finding

app = typer.Typer()

_EMPTY: dict[str, Any] = {
    "servers": {"total": 0, "protected": 0},
    "policies": [],
    "jobs": {"running": 0, "failed": 0},
}


@command(app, examples=["csbsctl status", "csbsctl status --json | jq .servers"])
def status(
    session: Session,
    no_findings: Annotated[bool, typer.Option("--no-findings", help="Do not look for findings.")] = False,
) -> None:
    """Show how many servers are protected, what runs next, and what is wrong."""
    from csbsctl.protection.status import status_view
    from csbsctl.report.plan_json import finding_json

    findings = None if no_findings else list(find_drift(session).findings)
    if session.vault_if_any():
        view = status_view(session.reading_site(), [finding_json(finding) for finding in findings or ()])
    else:
        total = sum(len(servers) for servers in session.inventory().values())
        view = {
            **_EMPTY,
            "servers": {"total": total, "protected": 0},
            "findings": [finding_json(f) for f in findings or ()],
        }
    session.result(view)
    _say(session, view, findings)


def _say(session: Session, view: dict[str, Any], findings: list[Finding] | None) -> None:
    servers, jobs = view["servers"], view["jobs"]
    session.say(f"{servers['protected']} of {servers['total']} servers are protected.")
    if view["policies"]:
        session.say("")
    session.out.table(
        ("POLICY", "ENABLED", "SERVERS", "LAST RUN", "NEXT RUN"),
        [
            (p["name"], p["enabled"], p["servers"], minute(p["last_run"]), minute(p["next_run"]))
            for p in view["policies"]
        ],
        empty="No policy is in force: see csbsctl plan.",
    )
    session.say("")
    session.say(f"Jobs: {jobs['running']} running, {jobs['failed']} failed.")
    if findings == []:
        session.say("No findings.")
    for finding in findings or ():
        style = "red" if finding.severity == "error" else "yellow"
        session.say(
            f"{session.out.paint(finding.severity.capitalize(), style)}: {finding.address}: {finding.message}"
        )
