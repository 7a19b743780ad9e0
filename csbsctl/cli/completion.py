"""Names that the shell offers at TAB: policies, servers, backups, addresses, generations, jobs, as they are now.

Whoever presses TAB wants an answer at once or none: nothing here raises, prints or waits longer than a moment. Names
come from the configuration and the vault; only simulated clouds are asked for their servers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from csbsctl.errors import CsbsError

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.model.backup import Backup
    from csbsctl.model.control import ControlDocument, StackState

Candidate = tuple[str, str]
"""What is typed, and a word about it."""

PATIENCE = 1.5
"""Seconds after which what was found so far has to do; ``CSBSCTL_COMPLETION_PATIENCE`` says otherwise."""

_MOST = 500
_RECENT = 50


def policies(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer the policies in force, and those declared."""
    return _offer(ctx, incomplete, _policies)


def servers(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer the servers that bindings reached at the last apply, and those of simulated clouds."""
    return _offer(ctx, incomplete, _servers)


def backups(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer backups, by name where that is unique and by ID where not."""
    return _offer(ctx, incomplete, _backups)


def addresses(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer the addresses in force and declared: policy.gold, binding.web."""
    return _offer(ctx, incomplete, _addresses)


def importable(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer what import can take over: addresses that any stack has in force."""
    return _offer(ctx, incomplete, _importable)


def generations(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer the generations that history lists, newest first."""
    return _offer(ctx, incomplete, _generations)


def jobs(ctx: typer.Context, incomplete: str) -> list[Candidate]:
    """Offer the IDs of recent jobs."""
    return _offer(ctx, incomplete, _jobs)


def _offer(
    ctx: typer.Context, incomplete: str, find: Callable[[Session], Iterable[Candidate]]
) -> list[Candidate]:
    """Return what is found within a moment; the thread of a store that does not answer is left behind."""
    found: dict[str, str] = {}

    def look() -> None:
        try:
            with _session(ctx) as session:
                fitting = ((text, word) for text, word in find(session) if text.startswith(incomplete))
                for text, word in islice(fitting, _MOST):
                    found.setdefault(text, word)
        except (CsbsError, OSError, ValueError, LookupError):
            return  # an unfinished configuration is what one has while typing

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_patience())
    return list(found.copy().items())


def _patience() -> float:
    try:
        return float(os.environ.get("CSBSCTL_COMPLETION_PATIENCE", PATIENCE))
    except ValueError:
        return PATIENCE


def _session(ctx: typer.Context) -> Session:
    """Return a session for the options that stand on the line so far."""
    from csbsctl.cli.session import Options, Session

    given: dict[str, Any] = {"chdir": None, "var": (), "var_file": ()}
    context: Any = ctx
    while context is not None:
        given["chdir"] = given["chdir"] or context.params.get("chdir")
        for key in ("var", "var_file"):
            given[key] = (*(context.params.get(key) or ()), *given[key])
        context = context.parent
    folder = Path(given["chdir"]).expanduser() if given["chdir"] else None
    return Session(Options(chdir=folder, var=given["var"], var_file=given["var_file"]))


def _policies(session: Session) -> Iterator[Candidate]:
    state = _state(session)
    for name, policy in (state.live.get("policies", {}) if state else {}).items():
        yield name, policy.get("description") or ("" if policy.get("enabled", True) else "disabled")
    for name, policy in session.configuration.canonical["policies"].items():
        yield name, policy.get("description") or "not applied yet"


def _servers(session: Session) -> Iterator[Candidate]:
    document = _head(session)
    for state in (document.stacks if document else {}).values():
        for binding, members in state.members.items():
            yield from ((name, f"binding.{binding}") for name in members.values())
    for name, settings in session.configuration.providers.items():
        if settings.type == "local":
            yield from ((server.name, name) for server in session.provider(name).servers())


def _backups(session: Session) -> Iterator[Candidate]:
    vault = session.vault_if_any()
    if vault is None:
        return
    taken: set[str] = set()
    for backup in vault.catalogue.all(lambda _server, _damaged: None):
        if backup.expired:
            continue
        yield backup.id if backup.name in taken else backup.name, _about(backup)
        taken.add(backup.name)


def _about(backup: Backup) -> str:
    return f"{backup.server.name} {backup.instant:%Y-%m-%d %H:%M} UTC {backup.state}"


def _addresses(session: Session) -> Iterator[Candidate]:
    from csbsctl.engine.addresses import addresses as every

    state = _state(session)
    yield from ((address, "in force") for address in (every(state.live) if state else ()))
    yield from ((address, "declared") for address in every(session.configuration.canonical))


def _importable(session: Session) -> Iterator[Candidate]:
    from csbsctl.engine.addresses import addresses as every

    document = _head(session)
    for name, state in (document.stacks if document else {}).items():
        yield from ((address, f"stack {name}") for address in every(state.live))


def _generations(session: Session) -> Iterator[Candidate]:
    vault = session.vault_if_any()
    for document in islice(vault.control.history(), _RECENT) if vault else ():
        when = f"{document.at:%Y-%m-%d %H:%M} " if document.at else ""
        yield str(document.generation), f"{when}{document.summary}"


def _jobs(session: Session) -> Iterator[Candidate]:
    vault = session.vault_if_any()
    for job in islice(vault.jobs.list(), _RECENT) if vault else ():
        yield job.id, f"{job.kind} {job.state}"


def _head(session: Session) -> ControlDocument | None:
    vault = session.vault_if_any()
    return vault.control.head() if vault else None


def _state(session: Session) -> StackState | None:
    document = _head(session)
    return document.stacks.get(session.stack) if document else None
