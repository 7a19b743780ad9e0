"""Backups that are not what the catalogue promises: failed, damaged, missing in the cloud, frozen, on foreign chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from csbsctl.clock import format_instant
from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.engine.situation import ServerKey
from csbsctl.model.backup import Backup, BackupState, StoredVolume, Trigger, Verification
from csbsctl.model.job import Job
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.slots import AHEAD
from csbsctl.provider import Marked

_WHOLE = frozenset({"available", "deleting"})
"""States of stored data in a cloud in which there is nothing to say about it."""


def state_findings(scene: Scene, key: ServerKey, backups: Sequence[Backup]) -> Iterator[Finding]:
    """Yield a server's backups in error since the last good one, damaged ones, and those nothing prunes any more."""
    yield from _failed(scene, key, backups)
    for backup in backups:
        if backup.verification is Verification.FAILED:
            yield finding(
                FindingClass.BACKUP,
                "error",
                f"backup.{backup.name}@{backup.server.name}",
                f"backup {backup.name} ({backup.id}) of {backup.server.name} failed verification",
                since=backup.verified_at,
                hint="take a new one; a clean verify clears it",
            )
    yield from _ahead(scene, backups)
    yield from _frozen(scene, key, backups)


def missing_findings(backups: Sequence[Backup], bad: Mapping[str, str]) -> Iterator[Finding]:
    """Yield every disk of a server's backups whose data its cloud does not have, or not whole, back to its full.

    ``bad`` is what is wrong in the cloud by the name of the data: the state it is in, nothing where it is missing.
    """
    known = {volume.ref: volume for backup in backups for volume in backup.volumes}
    for backup in backups:
        if backup.state is not BackupState.AVAILABLE or backup.verification is Verification.FAILED:
            continue
        for volume in backup.volumes:
            if trouble := _trouble(volume, bad, known):
                yield finding(
                    FindingClass.BACKUP,
                    "error",
                    f"backup.{backup.name}@{backup.server.name}",
                    f"backup {backup.name} ({backup.id}) of {backup.server.name} cannot be restored: "
                    f"disk {volume.name} {trouble}",
                    hint=f"csbsctl backup create {backup.server.name} --full takes a new one; "
                    f"csbsctl backup delete {backup.id} takes this one off the list",
                )


def _trouble(volume: StoredVolume, bad: Mapping[str, str], known: Mapping[str, StoredVolume]) -> str | None:
    """Return what is wrong with the data of one disk; what others made in a chain is not ours to see."""
    if volume.ref in bad:
        state = bad[volume.ref]
        what = f"is in state {state} in the cloud" if state else "is missing in the cloud"
        return f"{what} ({volume.ref})"
    passed = {volume.ref}
    parent = known.get(volume.parent or "")
    while parent is not None and parent.ref not in passed:
        passed.add(parent.ref)
        if parent.ref in bad:
            state = bad[parent.ref]
            what = f"is in state {state} in the cloud" if state else "is missing in the cloud"
            return f"depends on {parent.ref}, which {what}"
        parent = known.get(parent.parent or "")
    return None


def bad_state(marked: Marked) -> str | None:
    """Return the state of stored data in which it is of no use; None where there is nothing to say about it."""
    state = str(marked.details.get("state", "available"))
    return None if state in _WHOLE else state


def undeletable_finding(backup: Backup, job: Job, why: str) -> Finding:
    """Return what there is to say of a backup that was to go and that the cloud refused to delete."""
    return finding(
        FindingClass.BACKUP,
        "warning",
        f"backup.{backup.name}@{backup.server.name}",
        f"backup {backup.name} ({backup.id}) of {backup.server.name} cannot be deleted: {why}",
        since=job.started_at,
        hint=f"every `csbsctl run` tries again; csbsctl job show {job.id}",
    )


def out_of_reach_findings(scene: Scene, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the providers that have backups of this stack and that the configuration does not have any more."""
    for provider, count in sorted(counts.items()):
        inventory = scene.situation.inventory
        if count and inventory is not None and provider not in inventory:
            yield finding(
                FindingClass.BACKUP,
                "error",
                f"provider.{provider}",
                f"{count} backup{'' if count == 1 else 's'} can be neither restored nor deleted: "
                f"provider {provider}, where {'it is' if count == 1 else 'they are'}, is not configured any more",
                hint=f"put {provider} back under `providers`, with the settings it had",
            )


def chain_findings(backups: Sequence[Backup], foreign: Collection[str]) -> Iterator[Finding]:
    """Yield a server's backups whose data depends on something that is no backup of ours: one of ``foreign``."""
    for backup in backups:
        if backup.state is BackupState.ERROR:
            continue
        for volume in backup.volumes:
            if volume.parent in foreign:
                yield finding(
                    FindingClass.CHAIN,
                    "warning",
                    f"backup.{backup.name}@{backup.server.name}",
                    f"disk {volume.name} of backup {backup.name} ({backup.id}) depends on {volume.parent}, "
                    "which is no backup of this vault: whoever made it may delete it",
                    since=backup.instant,
                    hint=f"start a chain of our own: csbsctl backup create {backup.server.name} --full",
                )


def _failed(scene: Scene, key: ServerKey, backups: Sequence[Backup]) -> Iterator[Finding]:
    good = max((b.instant for b in backups if b.good), default=None)
    failed = [b for b in backups if b.state is BackupState.ERROR and (good is None or b.instant > good)]
    if failed:
        name = _name(scene, key, backups)
        newest = failed[-1]
        why = f": {newest.error['message']}" if newest.error and newest.error.get("message") else ""
        yield finding(
            FindingClass.BACKUP,
            "error",
            f"server.{name}",
            f"backups of {name} ({key[1]}) fail{why}",
            since=failed[0].instant,
            hint=f"csbsctl job show {newest.job}",
        )


def _ahead(scene: Scene, backups: Sequence[Backup]) -> Iterator[Finding]:
    """Yield what is dated in the future: a clock was wrong when it was taken, or is wrong now."""
    for backup in backups:
        if backup.instant - scene.situation.now > AHEAD:
            yield finding(
                FindingClass.BACKUP,
                "warning",
                f"backup.{backup.name}@{backup.server.name}",
                f"backup {backup.name} ({backup.id}) of {backup.server.name} is dated in the future, "
                f"{format_instant(backup.instant)}: a clock was wrong when it was taken, or is now",
                hint=f"nothing expires it until then; csbsctl backup delete {backup.id}",
            )


def _frozen(scene: Scene, key: ServerKey, backups: Sequence[Backup]) -> Iterator[Finding]:
    """Yield what a policy of this stack left behind on a server that is not bound to it any more."""
    bond = scene.bonds.get(key)
    name = _name(scene, key, backups)
    counts: dict[str, int] = defaultdict(int)
    for backup in backups:
        policy = backup.policy if backup.trigger is Trigger.AUTO else None
        if policy and "/" not in policy and (bond is None or bond.policy != policy):
            counts[policy] += 1
    for policy, count in sorted(counts.items()):
        why = (
            "policy and server are no longer bound" if policy in scene.policies else "the policy was removed"
        )
        yield finding(
            FindingClass.BACKUP,
            "note",
            f"server.{name}",
            f"{count} backup{'' if count == 1 else 's'} of policy {policy} on {name} never expire: {why}",
            hint=f"csbsctl backup delete --server {name} --policy {policy} --older-than 30d",
        )


def _name(scene: Scene, key: ServerKey, backups: Sequence[Backup]) -> str:
    """Return what a server is called: now, or when it was last backed up."""
    server = scene.situation.servers().get(key)
    if server:
        return server.name
    return backups[-1].server.name if backups else key[1]
