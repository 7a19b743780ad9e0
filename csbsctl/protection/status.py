"""What there is and how it stands, as the plain JSON values that scripts rely on (design section 11). Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import NotFound, UsageError
from csbsctl.model.backup import Backup
from csbsctl.model.control import StackState
from csbsctl.model.declared import Declared
from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.model.server import Server, protectability
from csbsctl.protection.due import Agenda, read_agenda
from csbsctl.protection.site import Site
from csbsctl.rules.matching import Bound
from csbsctl.rules.outlook import FOREVER, Outlook, Scenario
from csbsctl.rules.renames import under_present_names
from csbsctl.rules.schedule import Timetable

HORIZON = timedelta(days=400)
"""How far ahead expiry is told; what lives longer has none."""


def backup_views(
    site: Site, *, server: str | None = None, policy: str | None = None, hidden: bool = False
) -> list[dict[str, Any]]:
    """Return backups for lists, oldest first; ``hidden`` adds those that expired. Those being made are among them."""
    if server is not None:
        backups = list(site.vault.catalogue.backups(*find_backed_up_server(site, server)))
    else:
        backups = list(site.vault.catalogue.all())
    expiry = _Expiry(site)
    expiry.know(backups)
    known = {backup.id for backup in backups}
    wanted = {(b.provider, b.server.id) for b in backups} if server is not None else None
    for draft in _being_made(site.vault.jobs.open()):
        if draft.id not in known and (wanted is None or (draft.provider, draft.server.id) in wanted):
            backups.append(draft)
    backups = list(expiry.under_present_names(backups))
    shown = [b for b in backups if (hidden or not b.expired) and policy in (None, b.policy)]
    shown.sort(key=lambda backup: (backup.started_at, backup.id))
    return [_backup(backup, expiry.of(backup)) for backup in shown]


def backup_view(site: Site, backup: Backup) -> dict[str, Any]:
    """Return one backup with everything that is known of it."""
    expiry = _Expiry(site)
    (backup,) = expiry.under_present_names([backup])
    return {
        **_backup(backup, expiry.of(backup)),
        "description": backup.description,
        "stack": backup.stack,
        "slot": _instant(backup.slot),
        "taken_at": _instant(backup.taken_at),
        "job": backup.job,
        "method": backup.method,
        "evidence": backup.evidence,
        "verified_at": _instant(backup.verified_at),
        "availability_zone": backup.availability_zone,
    }


def server_views(site: Site) -> list[dict[str, Any]]:
    """Return every server of every cloud: what it is, whether and by what it is protected, and why it cannot be."""
    agenda = read_agenda(site)
    newest = _newest_good(site)
    for error in agenda.away.values():
        raise error
    return [
        server_view(server, agenda.assignment.bound.get(server.id), newest.get((name, server.id)))
        for name, servers in agenda.servers(site)
        for server in servers
    ]


def policy_views(site: Site) -> list[dict[str, Any]]:
    """Return the policies in force: when they run next, when they last ran, and how many servers they reach."""
    return _policies(site, read_agenda(site))


def _policies(site: Site, agenda: Agenda) -> list[dict[str, Any]]:
    now = site.clock.now()
    members: dict[str, list[Bound]] = {}
    for bound, _ in agenda.bound():
        members.setdefault(bound.policy, []).append(bound)
    views = []
    for name, policy in agenda.declared.policies.items():
        anchor = agenda.state.anchors.get(name) or agenda.state.since.get(f"policy.{name}") or now
        following = Timetable(policy.schedule, anchor).next(now) if policy.enabled else None
        views.append(
            {
                "name": name,
                "enabled": policy.enabled,
                "next_run": _instant(following),
                "last_run": _instant(_last_run(site, agenda, name, members.get(name, ()))),
                "servers": len(members.get(name, ())),
            }
        )
    return views


def status_view(site: Site, findings: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return protection at a glance; ``findings`` are those of the caller, who can tell drift."""
    agenda = read_agenda(site)
    total = sum(len(servers) for _, servers in agenda.servers(site))
    jobs = site.vault.jobs.list()
    return {
        "servers": {"total": total, "protected": len(agenda.assignment.bound)},
        "policies": _policies(site, agenda),
        "jobs": {
            "running": sum(job.state is JobState.RUNNING for job in jobs),
            "failed": sum(job.state is JobState.FAILED for job in jobs),
        },
        "findings": list(findings),
    }


def find_backed_up_server(site: Site, wanted: str) -> tuple[str, str]:
    """Return provider and ID of the server that has (or had) backups, or exists, under an ID or a name.

    Raises:
        NotFound: there is none (CSBS.6000).
        UsageError: the name fits several.
    """
    names = {(b.provider, b.server.id): b.server.name for b in site.vault.catalogue.all()}
    found = [key for key, name in names.items() if wanted == key[1]]
    found = found or [key for key, name in names.items() if wanted == name]
    live = [s for provider in site.providers.values() for s in _fitting(provider.servers(), wanted)]
    if not found:
        found = [(server.provider, server.id) for server in live]
    if len(found) > 1:
        # A name that moved on to another server means the one that bears it now, if that one has backups.
        bearers = [key for key in found if key in {(s.provider, s.id) for s in live}]
        found = bearers or found
    if not found:
        raise NotFound(
            f"there is no server {wanted!r}, and no backup of one",
            code="CSBS.6000",
            hint=did_you_mean(wanted, names.values()) or "see `csbsctl server list`",
        )
    if len(found) > 1:
        ids = ", ".join(server for _, server in found)
        raise UsageError(f"the name {wanted!r} fits {len(found)} servers: {ids}", hint="give the ID")
    return found[0]


class _Expiry:
    """Tells when backups stop being offered, by the policies in force; reads the control document once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._state = site.vault.control.head().stacks.get(site.stack) or StackState(live={}, applied={})
        self._declared = Declared.model_validate(self._state.live)
        self._outlooks: dict[str, Outlook | None] = {}
        self._ends: dict[tuple[str, str, str], Mapping[str, datetime]] = {}
        self._known: dict[tuple[str, str], list[Backup]] = {}

    def know(self, backups: Iterable[Backup]) -> None:
        """Take note of all backups of some servers, which need not be read again then."""
        for backup in backups:
            self._known.setdefault((backup.provider, backup.server.id), []).append(backup)

    def under_present_names(self, backups: Sequence[Backup]) -> tuple[Backup, ...]:
        """Return backups as belonging to the policy that their own became by a rename."""
        return under_present_names(backups, self._state, self._site.stack)

    def of(self, backup: Backup) -> datetime | None:
        """Return when a backup stops being offered; None when nothing in sight ends it."""
        if backup.policy is None:
            return None
        key = (backup.provider, backup.server.id, backup.policy)
        if key not in self._ends:
            self._ends[key] = self._all_ends(*key)
        end = self._ends[key].get(backup.id, FOREVER)
        return None if end == FOREVER else end

    def _all_ends(self, provider: str, server: str, policy: str) -> Mapping[str, datetime]:
        """Return when a policy ends the backups of a server; nothing where it does not prune it."""
        outlook = self._outlook(policy)
        if outlook is None or not self._is_bound(provider, server, policy):
            return {}
        backups = self._known.get((provider, server)) or self._site.vault.catalogue.backups(provider, server)
        return outlook.existing_ends(self.under_present_names(backups))

    def _outlook(self, policy: str) -> Outlook | None:
        if policy not in self._outlooks:
            rules = self._declared.policies.get(policy)
            outlook = None
            if rules is not None and rules.enabled:
                now = self._site.clock.now()
                anchor = self._state.anchors.get(policy) or self._state.since.get(f"policy.{policy}") or now
                scenario = Scenario(policy, rules, anchor, self._declared.guardrails.keep_last_good)
                outlook = Outlook(scenario, now, now + HORIZON)
            self._outlooks[policy] = outlook
        return self._outlooks[policy]

    @cached_property
    def _members(self) -> Mapping[str, frozenset[str]]:
        """Return whom each policy reached at the last apply; policies that nothing is bound to are left out."""
        members: dict[str, set[str]] = {}
        for name, binding in self._declared.bindings.items():
            members.setdefault(binding.policy, set()).update(self._state.members.get(name, ()))
        return {policy: frozenset(servers) for policy, servers in members.items()}

    def _is_bound(self, provider: str, server: str, policy: str) -> bool:
        """Whether the policy prunes the server: told from the last apply and the slot log, without asking the cloud."""
        if policy not in self._members:
            return False
        names = (policy, *(name.rpartition("/")[2] for name in self._state.former.get(policy, ())))
        slots = self._site.vault.catalogue.slots(provider, server)
        logs = [slots[name] for name in names if name in slots]
        if logs and all(log.released for log in logs):
            return False
        return bool(logs) or server in self._members[policy]


def _backup(backup: Backup, expires_at: datetime | None) -> dict[str, Any]:
    return {
        "id": backup.id,
        "name": backup.name,
        "server": {"id": backup.server.id, "name": backup.server.name},
        "provider": backup.provider,
        "policy": backup.policy,
        "trigger": backup.trigger.value,
        "state": backup.state.value,
        "kind": backup.kind.value,
        "consistency": backup.consistency.value,
        "started_at": format_instant(backup.started_at),
        "finished_at": _instant(backup.finished_at),
        "expires_at": _instant(expires_at),
        "protected": backup.protected,
        "instant_restore": backup.instant_restore,
        "size": backup.size,
        "stored": backup.stored,
        "volumes": [
            {"id": v.volume_id, "name": v.name, "size": v.size, "stored": v.stored, "bootable": v.bootable}
            for v in backup.volumes
        ],
        "images": list(backup.images),
        "tags": backup.tags,
        "expired": backup.expired,
        "verification": backup.verification.value,
        "error": backup.error,
    }


def server_view(server: Server, bound: Bound | None = None, last: Backup | None = None) -> dict[str, Any]:
    """Return one server: what binds it, if anything, and its newest good backup."""
    refusal = protectability(server)
    return {
        "id": server.id,
        "name": server.name,
        "provider": server.provider,
        "state": server.state.value,
        "availability_zone": server.availability_zone,
        "metadata": server.metadata,
        "tags": list(server.tags),
        "volumes": [
            {"id": v.id, "name": v.name, "size": v.size, "bootable": v.bootable, "shared": v.shared}
            for v in server.volumes
        ],
        "policy": bound.policy if bound else None,
        "binding": bound.binding if bound else None,
        "protectable": refusal is None,
        "reason": f"{refusal.reason} ({refusal.code})" if refusal else None,
        "last_backup": _instant(last.instant) if last else None,
    }


def _newest_good(site: Site) -> dict[tuple[str, str], Backup]:
    newest: dict[tuple[str, str], Backup] = {}
    for backup in site.vault.catalogue.all():
        key = backup.provider, backup.server.id
        if backup.good and (key not in newest or newest[key].instant < backup.instant):
            newest[key] = backup
    return newest


def _last_run(site: Site, agenda: Agenda, policy: str, members: Iterable[Bound]) -> datetime | None:
    """Return when a backup of a policy was last started, of whichever server."""
    backups = (backup for bound in members for backup in agenda.backups(site, bound.server))
    return max((backup.started_at for backup in backups if backup.policy == policy), default=None)


def _being_made(jobs: Iterable[Job]) -> list[Backup]:
    return [
        Backup.model_validate(job.intent["draft"])
        for job in jobs
        if job.kind is JobKind.BACKUP and "draft" in job.intent
    ]


def _fitting(servers: Iterable[Server], wanted: str) -> list[Server]:
    return [server for server in servers if wanted in (server.id, server.name)]


def _instant(instant: datetime | None) -> str | None:
    return format_instant(instant) if instant else None
