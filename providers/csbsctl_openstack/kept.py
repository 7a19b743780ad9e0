"""Snapshots kept for instant restores: marked, found again, let go of.

A kept snapshot belongs to one stored volume, whose record names it. From it Cinder makes a new volume, or puts the
volume itself back, without reading the backup; how quickly is the driver's affair (a clone on RBD, minutes elsewhere).
Cinder takes a volume back to its newest snapshot only, and only at the size it had then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csbsctl.errors import ResourceNotFound
from csbsctl.model.backup import StoredVolume
from csbsctl.provider import Mapping, RestorePlan, Snapshot, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.snapshots import SnapshotSet
from csbsctl_openstack.wire import GIB, instant

Json = dict[str, Any]


class KeptSnapshots:
    """Works on the snapshots that outlive their backup job."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._set = SnapshotSet(cloud)

    def keep(
        self, step: Step, snapshot: Snapshot, stored: Sequence[StoredVolume]
    ) -> tuple[StoredVolume, ...]:
        """Mark the snapshots as kept, and return the records that name them."""
        by_volume = {i.volume.id: i.ref for i in snapshot.volumes if not marks.is_image(i.ref)}
        group = snapshot.evidence.get("group")
        step.check()
        for snapshot_id in by_volume.values():
            self._set.write(snapshot_id, {marks.KEPT: "1"})
        more = {"kept_group": marks.GROUP + str(group)} if group else {}
        return tuple(
            one.model_copy(update={"extra": {**one.extra, **more, "snapshot": by_volume[one.volume_id]}})
            if one.volume_id in by_volume
            else one
            for one in stored
        )

    def let_go(self, step: Step, stored: StoredVolume) -> StoredVolume:
        """Delete the snapshot of a stored volume and return the record without it; already gone is fine.

        Raises:
            ResourceConflict: volumes made from it still depend on it.
        """
        if kept := stored.extra.get("snapshot"):
            self._set.delete(step, [kept], grouped="kept_group" in stored.extra)
        extra = {key: value for key, value in stored.extra.items() if key not in {"snapshot", "kept_group"}}
        return stored.model_copy(update={"extra": extra})

    def of(self, stored: StoredVolume) -> Json | None:
        """Return Cinder's document of the snapshot kept for a stored volume, None when there is none to use."""
        kept = stored.extra.get("snapshot")
        if not kept:
            return None
        try:
            body: Json = self._cloud.cinder.get(f"look at snapshot {kept}", f"/snapshots/{kept}")["snapshot"]
        except ResourceNotFound:
            return None
        return body if body["status"] == "available" else None

    def to_revert_to(self, plan: RestorePlan, mapping: Mapping) -> str | None:
        """Return the snapshot to which a volume can be taken back in an instant restore, None when it cannot be."""
        if not plan.instant or mapping.target is None or mapping.target.id != mapping.stored.volume_id:
            return None
        kept = self.of(mapping.stored)
        if kept is None or kept["size"] * GIB != mapping.target.size:
            return None
        there = self._cloud.cinder.pages(
            f"list snapshots of volume {mapping.target.name}",
            "/snapshots/detail",
            "snapshots",
            volume_id=mapping.target.id,
        )
        newest: Json = max(there, key=lambda item: str(instant(item["created_at"])), default=kept)
        return str(kept["id"]) if newest["id"] == kept["id"] else None
