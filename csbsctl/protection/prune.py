"""Pruning: retention carried out for one server, behind its brakes.

A prune does nothing when a clock cannot be trusted, or when it would take more than half of a server's good backups
though no apply announced it. What stays and goes is judged in ``csbsctl.rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.errors import CsbsError
from csbsctl.model.backup import Backup
from csbsctl.model.job import JobKind
from csbsctl.model.policy import Policy
from csbsctl.protection.due import Agenda
from csbsctl.protection.events import PruneHeld
from csbsctl.protection.jobs.deletion import Condemned, Deleted, deletable, delete_backups_of
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.rules.matching import Bound
from csbsctl.rules.retention import deletions, judge, takes_more_than_half, why_frozen

CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What retention says of one server now: what is to go, and why it must wait if it must."""

    condemned: Condemned
    held: str | None = None


class Settled:
    """Remembers, for one runner that looks again and again, on which servers nothing was to go.

    That holds while neither their backups nor what was applied changes, and for an hour at most, for backups age.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[object, ...]] = {}

    def covers(self, site: Site, agenda: Agenda, bound: Bound) -> bool:
        """Tell whether nothing is to go on a server, without reading its backups."""
        return self._known.get(_key(bound)) == _basis(site, agenda, bound)

    def note(self, site: Site, agenda: Agenda, bound: Bound, generation: int) -> None:
        """Remember that nothing was to go; ``generation`` is that of the backups before they were judged."""
        basis = _basis(site, agenda, bound)
        if basis[0] == generation:
            self._known[_key(bound)] = basis


def prune_server(
    site: Site, agenda: Agenda, bound: Bound, policy: Policy, settled: Settled | None = None
) -> Deleted:
    """Delete what the policy lets go of on one server; nothing when a brake holds."""
    server = bound.server
    if settled and settled.covers(site, agenda, bound):
        return Deleted()
    generation = site.vault.catalogue.generation(*_key(bound), known=True)
    if not sentence(site, agenda, bound, policy, known=True).condemned:
        if settled:
            settled.note(site, agenda, bound, generation)
        return Deleted()
    with hold(site, server.provider, server.id) as lease:
        now = sentence(site, agenda, bound, policy)
        if now.held:
            _report_held(site, bound, now.held)
            return Deleted()
        if not now.condemned:
            return Deleted()
        backups = site.vault.catalogue.backups(server.provider, server.id)
        return delete_backups_of(site, lease, JobKind.PRUNE, backups, now.condemned)


def sentence(site: Site, agenda: Agenda, bound: Bound, policy: Policy, *, known: bool = False) -> Sentence:
    """Judge one server's backups, or those that are ``known`` of it; changes nothing."""
    if why_frozen(policy, bound=True):
        return Sentence(Condemned())
    backups = agenda.backups(site, bound.server, known=known)
    fates = judge(
        backups,
        policy.retention,
        policy=bound.policy,
        timezone=policy.schedule.timezone,
        now=site.clock.now(),
        keep_last_good=agenda.declared.guardrails.keep_last_good,
    )
    by_id = {backup.id: backup for backup in backups}
    reasons = {fate.backup_id: "; ".join(fate.reasons) for fate in fates}
    delete = {b.id: reasons[b.id] for b in deletions(backups, fates) if deletable(b)}
    hide = {
        f.backup_id: reasons[f.backup_id]
        for f in fates
        if f.keep and f.expired and not by_id[f.backup_id].expired and deletable(by_id[f.backup_id])
    }
    condemned = Condemned(delete, hide)
    held = None
    if condemned and takes_more_than_half(backups, fates):
        lost = [by_id[i] for i in (*delete, *hide) if by_id[i].good]
        held = _unannounced(site, agenda, bound, lost, sum(b.good for b in backups))
    return Sentence(condemned, held)


def distrusted_clock(site: Site, provider: str) -> str | None:
    """Return why no prune may rely on this machine's clock, None when it may; virtual time is trusted."""
    if getattr(site.clock, "virtual", False):
        return None
    try:
        others = {"the store": site.vault.blobs.now(), f"provider {provider}": site.provider(provider).now()}
    except CsbsError as error:
        return f"the time could not be compared: {error.message}"
    now = site.clock.now()
    for whose, time in others.items():
        if time is not None and abs(time - now) > CLOCK_TOLERANCE:
            return (
                f"this machine's clock ({format_instant(now)}) and {whose} ({format_instant(time)}) "
                "are more than 5 minutes apart: nothing is pruned until they agree"
            )
    return None


def _unannounced(site: Site, agenda: Agenda, bound: Bound, lost: list[Backup], good: int) -> str | None:
    """Return why a prune of more than half must wait, None when the apply of these rules announced it.

    An apply tells the fate of every backup there is at that moment, so those older than the commit that brought the
    rules, or brought the server under them, are announced.
    """
    since = _announced_until(site, agenda, bound)
    new = [backup for backup in lost if since is None or backup.started_at > since]
    if len(new) * 2 <= good:
        return None
    return (
        f"{len(lost)} of {good} good backups would go at once, and no apply announced it: "
        "look at `csbsctl forecast`; `csbsctl backup delete` clears them by hand"
    )


def _announced_until(site: Site, agenda: Agenda, bound: Bound) -> datetime | None:
    """Return when an apply last brought these rules to the server; None where none did, or history is cut off."""
    state = agenda.state
    if _policy(state.live, bound.policy) != _policy(state.applied, bound.policy):
        return None  # somebody edited it live
    addresses = (f"binding.{bound.binding}", f"binding.{bound.binding}/{bound.server.id}")
    moments = [_ruled_since(site, agenda.stack, bound.policy), *(state.since.get(key) for key in addresses)]
    return max((moment for moment in moments if moment), default=None)


def _ruled_since(site: Site, stack: str, policy: str) -> datetime | None:
    """Return when an apply last changed the policy or let go of last good backups; None where history is cut off.

    These are the changes of which a plan tells the fate of every backup.
    """
    since = None
    rules, keep = None, 0
    for document in site.vault.control.history():
        state = document.stacks.get(stack)
        then = _policy(state.applied, policy) if state else None
        kept = _keep_last_good(state.applied) if state else 0
        if since is None:
            rules, keep = then, kept
        elif then != rules or kept > keep:
            return since
        since = document.at
    return since


def _policy(form: Mapping[str, Any], policy: str) -> object:
    return (form.get("policies") or {}).get(policy)


def _keep_last_good(form: Mapping[str, Any]) -> int:
    return int((form.get("guardrails") or {}).get("keep_last_good", 1))


def _key(bound: Bound) -> tuple[str, str]:
    return bound.server.provider, bound.server.id


def _basis(site: Site, agenda: Agenda, bound: Bound) -> tuple[object, ...]:
    """Return all that a judgement rests on: the backups, the rules in force, the hour."""
    hour = site.clock.now().replace(minute=0, second=0, microsecond=0)
    return site.vault.catalogue.generation(*_key(bound), known=True), agenda.generation, bound.policy, hour


def _report_held(site: Site, bound: Bound, reason: str) -> None:
    server = bound.server
    site.reporter.report(
        PruneHeld(
            at=site.clock.now(),
            provider=server.provider,
            server_id=server.id,
            server=server.name,
            policy=bound.policy,
            reason=reason,
        )
    )
