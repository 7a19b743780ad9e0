"""What plan, apply, drift and their like share: gather the situation, and make a proposal of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from csbsctl.model.control import ControlDocument

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.engine import Desired, Proposal, Situation
    from csbsctl.provider import Quota


def gather(session: Session, *, refresh: bool = True) -> Situation:
    """Return what there is now: the control document, every cloud's servers, the catalogue, the time."""
    from csbsctl.engine import NoBackups, Situation

    vault = session.vault_if_any()
    return Situation(
        document=vault.control.head() if vault else ControlDocument(generation=0),
        inventory=session.inventory() if refresh else None,
        now=session.clock.now(),
        catalogue=vault.catalogue if vault else NoBackups(),
        vault_id=vault.id if vault else None,
        quotas=_quotas(session) if refresh else {},
    )


def propose(
    session: Session,
    wish: Desired | None = None,
    *,
    refresh: bool = True,
    targets: Sequence[str] = (),
    adopt: Sequence[str] = (),
) -> Proposal:
    """Return the plan that makes the wish (the configuration, where none is given) come true."""
    from csbsctl.engine import Desired, Planner

    wanted = wish or Desired.of(session.configuration, commit=session.commit)
    return Planner(gather(session, refresh=refresh)).plan(wanted, targets=targets, adopt=adopt)


def _quotas(session: Session) -> dict[str, Quota]:
    quotas = {name: provider.quota() for name, provider in session.providers.items()}
    return {name: quota for name, quota in quotas.items() if quota}
