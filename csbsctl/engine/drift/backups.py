"""Backups that are not what the catalogue promises: failed, damaged, missing in the cloud, frozen, on foreign chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from csbsctl.clock import format_instant
from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.engine.situation import ServerKey
from csbsctl.model.backup import Backup, BackupState, StoredVolume, Trigger, Verification
from csbsctl.model.job import JobState
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.slots import AHEAD
from csbsctl.provider import Marked, MarkedKind

_WHOLE = frozenset({"available", "deleting"})
"""States of stored data in a cloud in which there is nothing to say about it."""


def backup_findings(scene: Scene) -> Iterator[Finding]:
    """Yield backups in error since the last good one, damaged ones, missing ones, and those nothing prunes any more."""
    stored = {
        provider: {marked.ref: marked for marked in found if marked.kind is MarkedKind.BACKUP}
        for provider, found in scene.evidence.marked.items()
    }
    for key, backups in scene.backups.items():
        known = {volume.ref: volume for backup in backups for volume in backup.volumes}
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
            elif key[0] in stored and backup.state is BackupState.AVAILABLE:
                yield from _missing(backup, stored[key[0]], known)
        yield from _ahead(scene, backups)
        yield from _frozen(scene, key, backups)
    yield from _undeletable(scene)
    yield from _out_of_reach(scene)


def chain_findings(scene: Scene) -> Iterator[Finding]:
    """Yield backups whose data depends on something that is no backup of ours."""
    ours = {marked.ref for found in scene.evidence.marked.values() for marked in found}
    for backups in scene.backups.values():
        known = ours | {volume.ref for backup in backups for volume in backup.volumes}
        for backup in backups:
            if backup.state is BackupState.ERROR:
                continue
            for volume in backup.volumes:
                if volume.parent is not None and volume.parent not in known:
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
        newest = failed[-1]
        why = f": {newest.error['message']}" if newest.error and newest.error.get("message") else ""
        yield finding(
            FindingClass.BACKUP,
            "error",
            f"server.{scene.name(key)}",
            f"backups of {scene.name(key)} ({key[1]}) fail{why}",
            since=failed[0].instant,
            hint=f"csbsctl job show {newest.job}",
        )


def _missing(
    backup: Backup, stored: Mapping[str, Marked], known: Mapping[str, StoredVolume]
) -> Iterator[Finding]:
    """Yield every disk of a backup whose data the cloud does not have, or not whole, back to the full it stands on."""
    for volume in backup.volumes:
        if trouble := _trouble(volume, stored, known):
            yield finding(
                FindingClass.BACKUP,
                "error",
                f"backup.{backup.name}@{backup.server.name}",
                f"backup {backup.name} ({backup.id}) of {backup.server.name} cannot be restored: "
                f"disk {volume.name} {trouble}",
                hint=f"csbsctl backup create {backup.server.name} --full takes a new one; "
                f"csbsctl backup delete {backup.id} takes this one off the list",
            )


def _trouble(
    volume: StoredVolume, stored: Mapping[str, Marked], known: Mapping[str, StoredVolume]
) -> str | None:
    """Return what is wrong with the data of one disk; what others made in a chain is not ours to see."""
    if volume.ref not in stored:
        return f"is missing in the cloud ({volume.ref})"
    if state := _bad_state(stored[volume.ref]):
        return f"is in state {state} in the cloud ({volume.ref})"
    passed = {volume.ref}
    parent = known.get(volume.parent or "")
    while parent is not None and parent.ref not in passed:
        passed.add(parent.ref)
        if parent.ref not in stored:
            return f"depends on {parent.ref}, which is missing in the cloud"
        if state := _bad_state(stored[parent.ref]):
            return f"depends on {parent.ref}, which is in state {state} in the cloud"
        parent = known.get(parent.parent or "")
    return None


def _bad_state(marked: Marked) -> str | None:
    state = str(marked.details.get("state", "available"))
    return None if state in _WHOLE else state


def _undeletable(scene: Scene) -> Iterator[Finding]:
    """Yield what was to go and what the cloud refused to delete; every run tries again."""
    by_id = {backup.id: backup for backups in scene.backups.values() for backup in backups}
    for job in scene.evidence.jobs:
        if job.state is not JobState.RUNNING:
            continue
        for backup_id, why in job.refused.items():
            if backup := by_id.get(backup_id):
                yield finding(
                    FindingClass.BACKUP,
                    "warning",
                    f"backup.{backup.name}@{backup.server.name}",
                    f"backup {backup.name} ({backup.id}) of {backup.server.name} cannot be deleted: {why}",
                    since=job.started_at,
                    hint=f"every `csbsctl run` tries again; csbsctl job show {job.id}",
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


def _out_of_reach(scene: Scene) -> Iterator[Finding]:
    """Yield the providers that have backups of this stack and that the configuration does not have any more."""
    if scene.situation.inventory is None:
        return
    counts: dict[str, int] = defaultdict(int)
    for (provider, _), backups in scene.backups.items():
        if provider not in scene.situation.inventory:
            counts[provider] += sum(backup.stack in (None, scene.stack) for backup in backups)
    for provider, count in sorted(counts.items()):
        if count:
            yield finding(
                FindingClass.BACKUP,
                "error",
                f"provider.{provider}",
                f"{count} backup{'' if count == 1 else 's'} can be neither restored nor deleted: "
                f"provider {provider}, where {'it is' if count == 1 else 'they are'}, is not configured any more",
                hint=f"put {provider} back under `providers`, with the settings it had",
            )


def _frozen(scene: Scene, key: ServerKey, backups: Sequence[Backup]) -> Iterator[Finding]:
    """Yield what a policy of this stack left behind on a server that is not bound to it any more."""
    bond = scene.bonds.get(key)
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
            f"server.{scene.name(key)}",
            f"{count} backup{'' if count == 1 else 's'} of policy {policy} on {scene.name(key)} never expire: {why}",
            hint=f"csbsctl backup delete --server {scene.name(key)} --policy {policy} --older-than 30d",
        )
