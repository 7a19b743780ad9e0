"""What there is and how it stands, as the plain JSON values that scripts rely on (design section 11). Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import Damaged, NotFound, UsageError
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
from csbsctl.vault.catalogue import Damage

HORIZON = timedelta(days=400)
"""How far ahead expiry is told; what lives longer has none."""


def backup_views(
    site: Site,
    *,
    server: str | None = None,
    policy: str | None = None,
    hidden: bool = False,
    damage: Damage | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield backups for lists, server by server; ``hidden`` adds those that expired. Those being made are among them.

    A few servers' backups are in memory at a time. No cloud is asked, but for a name that no backup has. A server
    whose record is damaged is handed to ``damage``, and the others go on.
    """
    key = find_backed_up_server(site, server) if server is not None else None
    making: dict[tuple[str, str], list[Backup]] = {}
    for draft in _being_made(site.vault.jobs.running()):
        if key in (None, (draft.provider, draft.server.id)):
            making.setdefault((draft.provider, draft.server.id), []).append(draft)
    expiry = _Expiry(site)

    def views(owner: tuple[str, str], found: Sequence[Backup]) -> Iterator[dict[str, Any]]:
        known = {backup.id for backup in found}
        drafts = [draft for draft in making.pop(owner, ()) if draft.id not in known]
        backups = expiry.under_present_names([*found, *drafts])
        ends = expiry.all_of(*owner, backups)
        for backup in backups:
            if (hidden or not backup.expired) and policy in (None, backup.policy):
                yield _backup(backup, ends.get(backup.id))

    for owner, backups in site.vault.catalogue.each(None if key is None else [key], damage):
        yield from views(owner, backups)
    for owner in list(making):
        yield from views(owner, ())


def backup_view(site: Site, backup: Backup) -> dict[str, Any]:
    """Return one backup with everything that is known of it."""
    expiry = _Expiry(site)
    (backup,) = expiry.under_present_names([backup])
    others = site.vault.catalogue.backups(backup.provider, backup.server.id)
    ends = expiry.all_of(backup.provider, backup.server.id, expiry.under_present_names(others))
    return {
        **_backup(backup, ends.get(backup.id)),
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


def server_views(site: Site, damage: Damage | None = None) -> list[dict[str, Any]]:
    """Return every server of every cloud: what it is, whether and by what it is protected, and why it cannot be.

    A server whose record is damaged is handed to ``damage`` and has no last backup.
    """
    agenda = read_agenda(site)
    newest = _newest_good(site, damage)
    for error in agenda.away.values():
        raise error
    return [
        server_view(server, agenda.assignment.bound.get(server.id), newest.get((name, server.id)))
        for name, servers in agenda.servers(site)
        for server in servers
    ]


def policy_views(site: Site) -> list[dict[str, Any]]:
    """Return the policies in force: when they run next, when they last ran, and how many servers they reach.

    Servers whose records are damaged count, and their backups do not.
    """
    return _policies(site, read_agenda(site))


def _policies(site: Site, agenda: Agenda) -> list[dict[str, Any]]:
    now = site.clock.now()
    servers = Counter(bound.policy for bound, _ in agenda.bound())
    last_runs = _last_runs(site, agenda)
    views = []
    for name, policy in agenda.declared.policies.items():
        anchor = agenda.state.anchors.get(name) or agenda.state.since.get(f"policy.{name}") or now
        following = Timetable(policy.schedule, anchor).next(now) if policy.enabled else None
        views.append(
            {
                "name": name,
                "enabled": policy.enabled,
                "next_run": _instant(following),
                "last_run": _instant(last_runs.get(name)),
                "servers": servers[name],
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

    Of servers with backups only the names are read, and for an ID nothing is. One whose record is damaged is known by
    its ID, and by its name while it exists.

    Raises:
        NotFound: there is none (CSBS.6000).
        UsageError: the name fits several.
    """
    found = [key for key in site.vault.catalogue.servers() if wanted == key[1]]
    damaged: dict[tuple[str, str], Damaged] = {}
    names = {} if found else dict(site.vault.catalogue.names(damaged.__setitem__))
    found = found or [key for key, name in names.items() if wanted == name]
    live: list[Server] = []
    if len(found) != 1 or damaged:  # only then a cloud is asked
        live = [s for provider in site.providers.values() for s in _fitting(provider.servers(), wanted)]
        found += [key for s in live if (key := (s.provider, s.id)) in damaged]
    if not found:
        found = [(server.provider, server.id) for server in live]
    elif len(found) > 1:
        # A name that moved on to another server means the one that bears it now, if that one has backups.
        bearers = [key for key in found if key in {(s.provider, s.id) for s in live}]
        found = bearers or found
    if not found:
        raise NotFound(
            f"there is no server {wanted!r}, and no backup of one"
            + "".join(f"; {error.message}" for error in [*damaged.values()][:1]),
            code="CSBS.6000",
            hint=did_you_mean(wanted, names.values())
            or next((error.hint for error in damaged.values()), "see `csbsctl server list`"),
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

    def under_present_names(self, backups: Sequence[Backup]) -> tuple[Backup, ...]:
        """Return backups as belonging to the policy that their own became by a rename."""
        return under_present_names(backups, self._state, self._site.stack)

    def all_of(self, provider: str, server: str, backups: Sequence[Backup]) -> dict[str, datetime]:
        """Return when each of a server's backups stops being offered; nothing for those that nothing in sight ends."""
        ends: dict[str, datetime] = {}
        for policy in {backup.policy for backup in backups if backup.policy is not None}:
            outlook = self._outlook(policy)
            if outlook is None or not self._is_bound(provider, server, policy):
                continue
            found = outlook.existing_ends(backups)
            own = (b.id for b in backups if b.policy == policy)
            ends.update((i, found[i]) for i in own if found.get(i, FOREVER) != FOREVER)
        return ends

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
        try:
            slots = self._site.vault.catalogue.slots(provider, server)
        except Damaged:  # a backup that is being made of a server whose others cannot be read
            return False
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


def server_view(server: Server, bound: Bound | None = None, last: datetime | None = None) -> dict[str, Any]:
    """Return one server: what binds it, if anything, and its newest good recovery point."""
    refusal = protectability(bound.server if bound else server)
    return {
        "id": server.id,
        "name": server.name,
        "provider": server.provider,
        "state": server.state.value,
        "availability_zone": server.availability_zone,
        "metadata": server.metadata,
        "tags": list(server.tags),
        "volumes": [
            {
                "id": v.id,
                "name": v.name,
                "size": v.size,
                "bootable": v.bootable,
                "shared": v.shared,
                "encrypted": v.encrypted,
            }
            for v in server.volumes
        ],
        "policy": bound.policy if bound else None,
        "binding": bound.binding if bound else None,
        "protectable": refusal is None,
        "reason": f"{refusal.reason} ({refusal.code})" if refusal else None,
        "last_backup": _instant(last),
    }


def _newest_good(site: Site, damage: Damage | None) -> dict[tuple[str, str], datetime]:
    """Return the newest good recovery point of each server that has one."""
    newest = {}
    for key, backups in site.vault.catalogue.each(damage=damage):
        good = max((backup.instant for backup in backups if backup.good), default=None)
        if good is not None:
            newest[key] = good
    return newest


def _last_runs(site: Site, agenda: Agenda) -> dict[str, datetime]:
    """Return when a backup of each policy was last started, of whichever server it has."""
    last: dict[str, datetime] = {}
    policies = {(b.server.provider, b.server.id): b.policy for b, _ in agenda.bound()}
    for key, found in site.vault.catalogue.each(policies.keys(), lambda _server, _error: None):
        policy = policies[key]
        backups = under_present_names(found, agenda.state, agenda.stack)
        started = max((b.started_at for b in backups if b.policy == policy), default=None)
        if started is not None:
            last[policy] = max(started, last.get(policy, started))
    return last


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
