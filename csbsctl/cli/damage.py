"""Says which servers a list leaves out because their records are damaged, and ends the command as one that had failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from csbsctl.cli.run import SOME_FAILED

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.errors import Damaged


def end_with_damage(session: Session, damaged: Mapping[tuple[str, str], Damaged]) -> None:
    """Warn of every server that is missing from what was printed; nothing where none is.

    Raises:
        Exit: with code 3, for a script must be able to tell half an answer from a whole one.
    """
    if not damaged:
        return
    names = _names(session)
    for key, error in sorted(damaged.items()):
        _, server = key
        name = names.get(server, server)
        session.out.note(
            f"Warning: the backups of {name} ({server}) cannot be looked at: {error.message}\n  {error.hint}"
        )
    raise typer.Exit(SOME_FAILED)


def _names(session: Session) -> dict[str, str]:
    """Return what servers were called at the last apply, by ID; no cloud is asked."""
    stacks = session.vault().control.head().stacks.values()
    return {
        server: name
        for state in stacks
        for members in state.members.values()
        for server, name in members.items()
    }
