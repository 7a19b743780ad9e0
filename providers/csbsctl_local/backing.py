"""Backup steps: freeze a server, store its disks, let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from csbsctl.clock import Clock, format_instant
from csbsctl.errors import CloudRefused, Damaged, NotFound, QuotaExceeded, ResourceConflict
from csbsctl.model.backup import StoredVolume
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.provider import Damage, Depth, Problem, Quota, Snapshot, Step, VolumeSnapshot
from csbsctl.units import format_size
from csbsctl_local.cloud.snapshots import SnapshotRecord
from csbsctl_local.shelf import ShelfRecord, stored_volume
from csbsctl_local.steps import Site, claim, marker_document

if TYPE_CHECKING:
    from csbsctl_local.repository import Written

REACHED = Consistency.CRASH


class BackupSteps:
    """The backup half of the local provider."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self._site, self._clock = site, clock

    def snapshot(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
        """See Provider."""
        if need.rank > REACHED.rank:
            raise CloudRefused(
                f"the simulated cloud reaches {REACHED} consistency at most, not {need}",
                hint="set consistency: crash in the policy",
            )
        self._site.begin("snapshot", step, server_id)
        snapshots = self._site.cloud.snapshots
        taken = snapshots.claimed(claim("snapshot", step.marker, server_id))
        if taken is None:
            taken = snapshots.take(
                server_id,
                lambda: asdict(self._site.cloud.inventory.server(server_id)) | {"created_at": None},
                claim("snapshot", step.marker, server_id),
                marker_document(step.marker),
                self._clock.now(),
            )
        return as_snapshot(taken)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        """See Provider."""
        self._site.begin("store", step)
        snapshot_id, volume_id = snapshot.ref.split("/")
        # named after the snapshot too: a second snapshot of the same job must never share a backup with the first
        name = f"{step.marker.backup or step.marker.job}.{snapshot_id[:13]}.{snapshot.volume.position}"
        done, announced = self._site.shelf.written(name), self._site.shelf.record(name)
        if done and announced:
            return stored_volume(announced, done)
        record = _record(name, step, snapshot, self._site.cloud.snapshots.get(snapshot_id))
        self._within_quota(step.marker.backup or step.marker.job)
        self._site.shelf.announce(record)
        written = self._write(step, name, snapshot_id, volume_id, parent)
        return stored_volume(record, written)

    def release(self, step: Step, snapshot: Snapshot) -> None:
        """See Provider."""
        self._site.begin("release", step, snapshot.server.id)
        for snapshot_id in {volume.ref.split("/")[0] for volume in snapshot.volumes}:
            self._site.cloud.snapshots.release(snapshot_id)

    def delete(self, step: Step, stored: StoredVolume) -> None:
        """See Provider."""
        self._site.begin("delete", step)
        if any(source.get("manifest") == stored.ref for source in self._site.cloud.filler.needed()):
            raise ResourceConflict(
                f"stored disk {stored.ref} is still needed: a disk is being filled from it",
                hint="finish the instant restore with csbsctl sim fill",
            )
        self._site.shelf.delete(stored.ref)

    def verify(self, step: Step, stored: StoredVolume, depth: Depth, sample: float) -> Sequence[Damage]:
        """See Provider."""
        self._site.begin("verify", step)
        try:
            flaws = self._site.shelf.repository.verify(
                stored.ref,
                depth.value,
                sample=sample,
                threads=self._site.shelf.readers(self._site.settings.threads),
                check=step.check,
                progress=step.progress,
            )
        except NotFound:
            return [Damage(f"stored disk {stored.ref} is missing", ((0, stored.size),))]
        return [Damage(flaw.message, flaw.ranges) for flaw in flaws]

    def check(
        self, step: Step, stored: Sequence[StoredVolume], *, read_data: bool, repair: bool
    ) -> Sequence[Problem]:
        """See Provider."""
        self._site.begin("verify", step)
        repository = self._site.shelf.repository
        found = repository.check(
            read_data=read_data or repair, repair=repair, job=step.marker.job, check=step.check
        )
        problems = [Problem(each.message, each.manifests, each.repaired) for each in found]
        there = {info.name for info in repository.manifests()}
        return problems + [
            Problem(f"stored disk {volume.ref} is missing", (volume.ref,))
            for volume in stored
            if volume.ref not in there
        ]

    def quota(self) -> Quota | None:
        """See Provider; counts the disks' full sizes, as clouds do."""
        limits = self._site.settings.quota
        if limits is None:
            return None
        used = 0
        if limits.size is not None:  # sizes are in the records, and reading all of them is slow
            used = sum(record.volume["size"] for record in self._site.shelf.records())
        return Quota(
            backups=limits.backups, backups_used=len(self._backups()), size=limits.size, size_used=used
        )

    def _backups(self) -> set[str]:
        return {name.partition(".")[0] for name in self._site.shelf.names()}

    def _within_quota(self, backup: str) -> None:
        quota = self.quota()
        if quota is None:
            return
        if (
            quota.backups is not None
            and quota.backups_used >= quota.backups
            and backup not in self._backups()
        ):
            raise QuotaExceeded(f"the quota of {quota.backups} backups is used up")
        if quota.size is not None and quota.size_used >= quota.size:
            raise QuotaExceeded(f"the quota of {format_size(quota.size)} of backups is used up")

    def _write(
        self, step: Step, name: str, snapshot_id: str, volume_id: str, parent: StoredVolume | None
    ) -> Written:
        frozen = self._site.cloud.snapshots.open(snapshot_id, volume_id)
        try:
            base = parent.ref if parent else None
            changed = None
            if parent and parent.volume_id == volume_id and "mark" in parent.extra:
                changed = self._site.cloud.snapshots.changed_since(
                    volume_id, parent.extra["mark"], snapshot_id
                )

            def attempt(base: str | None) -> Written:
                return self._site.shelf.repository.write(
                    frozen,
                    manifest=name,
                    parent=base,
                    changed=changed if base else None,
                    job=step.marker.job,
                    check=step.check,
                    progress=step.progress,
                    threads=self._site.shelf.writers(self._site.settings.threads),
                )

            try:
                return attempt(base)
            except (NotFound, Damaged):
                if base is None:
                    raise
                return attempt(None)  # the parent is gone or hurt: a full one does not need it
        finally:
            frozen.close()


def as_snapshot(taken: SnapshotRecord) -> Snapshot:
    """Return a snapshot of the cloud as the contract has it."""
    server = read_server(taken.record)
    return Snapshot(
        server=server,
        taken_at=taken.taken_at,
        volumes=tuple(
            VolumeSnapshot(volume, ref=f"{taken.id}/{volume.id}", extra={"mark": taken.id})
            for volume in server.volumes
        ),
        consistency=REACHED,
        method=taken.method,
        evidence=taken.evidence,
    )


def read_server(document: dict[str, Any]) -> Server:
    """Return a server from what a snapshot keeps of it."""
    return Server(
        **document
        | {
            "state": ServerState(document["state"]),
            "volumes": tuple(Volume(**volume) for volume in document["volumes"]),
            "tags": tuple(document["tags"]),
        }
    )


def _record(name: str, step: Step, snapshot: VolumeSnapshot, taken: SnapshotRecord) -> ShelfRecord:
    server, volume = read_server(taken.record), snapshot.volume
    return ShelfRecord(
        name,
        volume={
            "volume_id": volume.id,
            "name": volume.name,
            "size": volume.size,
            "bootable": volume.bootable,
            "position": volume.position,
            "extra": {"mark": taken.id},
        },
        marker=step.marker,
        details={
            "server": {"id": server.id, "name": server.name},
            "taken_at": format_instant(taken.taken_at),
            "consistency": REACHED.value,
            "method": taken.method,
            "evidence": taken.evidence,
            "availability_zone": server.availability_zone,
            "spec": server.spec,
            "volumes": len(server.volumes),
            "about": step.about,
        },
    )
