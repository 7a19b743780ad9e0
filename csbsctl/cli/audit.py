"""``audit list`` and ``audit verify``: who did what, and proof that the trail is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from csbsctl.cli.command import command, group
from csbsctl.cli.output import plain
from csbsctl.cli.session import Session
from csbsctl.errors import Damaged

if TYPE_CHECKING:
    from csbsctl.vault import Vault

app = group("Who did what, and proof that the trail is whole.")


@command(app, "list", examples=["csbsctl audit list", "csbsctl audit list --action restoreCheckpointItem"])
def list_(
    session: Session,
    action: Annotated[str | None, typer.Option(help="Only this trace name.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(help="Only the newest N.", min=1, show_default=False)] = None,
) -> None:
    """List the events of the trail, oldest first."""
    vault = session.vault_if_any()
    damaged: list[Damaged] = []
    found = vault.audit.events(damaged.append) if vault else ()
    events = [e for e in found if action in (None, e["action"])]
    if damaged:
        session.out.note(f"Warning: {damaged[0].message}; csbsctl audit verify tells all")
    if limit:
        events = events[-limit:]
    session.result(events)
    session.out.table(
        ("TIME", "ACTION", "RESOURCE", "BY", "OUTCOME"),
        [
            (plain(e["eventTime"]), e["action"], e["target"]["id"], e["initiator"]["id"], e["outcome"])
            for e in events
        ],
        empty="The audit trail is empty.",
    )


@command(app, examples=["csbsctl audit verify", "csbsctl audit verify --anchor 3f9a..."])
def verify(
    session: Session,
    anchor: Annotated[
        str | None,
        typer.Option(help="A head that apply printed; the trail must contain it.", show_default=False),
    ] = None,
) -> None:
    """Check that the trail is whole: every batch chained to the one before, every anchor found.

    Whoever can write to the bucket can cut off a tail that no anchor covers: keep the heads that apply prints.
    """
    vault = session.vault()
    problems = vault.audit.verify(anchor, anchors=_anchors(vault))
    session.result({"whole": not problems, "problems": problems, "heads": vault.audit.heads()})
    for problem in problems:
        session.say(problem)
    if problems:
        if session.as_json:
            raise typer.Exit(1)
        raise Damaged(
            f"the audit trail has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            hint="see above what was changed or lost",
        )
    session.say("The audit trail is whole.")


def _anchors(vault: Vault) -> dict[str, set[str]]:
    """Return the heads of the trail that the control document recorded, by writer, as far back as it is kept."""
    anchors: dict[str, set[str]] = {}
    for document in vault.control.history():
        for writer, head in document.audit_heads.items():
            anchors.setdefault(writer, set()).add(head)
    return anchors
