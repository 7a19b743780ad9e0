"""Cinder's group snapshots, for drivers of which the settings vouch that they take all volumes at one instant.

The API cannot be asked: drivers without support loop over the volumes and report success. The volumes are members of
a group only for the moment: while they are, nobody can delete, retype or migrate them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from csbsctl.errors import CloudRefused, CloudUnavailable, ResourceNotFound
from csbsctl.model.server import Server
from csbsctl.provider import Marker, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.waiting import FAILED, poll

Json = dict[str, Any]
_ROLE = "group"
_QUICK = 0.3


class Grouper:
    """Makes and clears away groups and their snapshots."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._cinder = cloud.cinder

    def take(self, step: Step, server: Server) -> tuple[list[Json], Json]:
        """Return the snapshots of a server's volumes, in their order, and the evidence."""
        for group in list(self.left(step.marker)):
            self.clear(step, group["id"])
        group_id = self._create(step, server)
        ids = ",".join(volume.id for volume in server.volumes)
        self._members(step, group_id, {"add_volumes": ids})
        step.check()
        made = self._cinder.post(
            f"snapshot the group of server {server.name}",
            "/group_snapshots",
            {"group_snapshot": {"group_id": group_id, "name": f"csbsctl-{step.marker.job[:8]}"}},
        )["group_snapshot"]
        self._settled(step, f"/group_snapshots/{made['id']}", "group_snapshot")
        self._members(step, group_id, {"remove_volumes": ids})
        by_volume = {item["volume_id"]: item for item in self._snapshots(made["id"])}
        evidence = {"group": group_id, "group_snapshot": made["id"], "vouched_for": self._kind}
        return [by_volume[volume.id] for volume in server.volumes], evidence

    def left(self, marker: Marker | None = None) -> Iterator[Json]:
        """Yield the groups that csbsctl made, those of one marker or all; none unless the settings name a type."""
        if not self._kind:
            return
        for group in self._cinder.pages("list groups", "/groups/detail", "groups"):
            found = marks.described(group.get("description"))
            if found and (marker is None or marks.identity(found[0]) == marks.identity(marker)):
                yield group

    def without_members(self, step: Step, ids: Iterable[str]) -> list[str]:
        """Clear away the groups to which snapshots belong, and return the snapshots that belong to none."""
        alone, groups = [], set()
        for snapshot_id in ids:
            try:
                body = self._cinder.get(f"look at snapshot {snapshot_id}", f"/snapshots/{snapshot_id}")[
                    "snapshot"
                ]
            except ResourceNotFound:
                continue
            if body.get("group_snapshot_id"):
                groups.add(body["group_snapshot_id"])
            else:
                alone.append(snapshot_id)
        for group_snapshot in groups:
            path = f"/group_snapshots/{group_snapshot}"
            try:
                group_id = self._cinder.get(f"look at group snapshot {group_snapshot}", path)[
                    "group_snapshot"
                ]
            except ResourceNotFound:
                continue
            self.clear(step, group_id["group_id"])
        return alone

    def clear(self, step: Step, group_id: str) -> None:
        """Delete a group with its snapshots and leave its volumes alone; already gone is fine."""
        for item in list(
            self._cinder.pages("list group snapshots", "/group_snapshots/detail", "group_snapshots")
        ):
            if item["group_id"] == group_id:
                step.check()
                self._delete(step, f"/group_snapshots/{item['id']}", "group_snapshot")
        try:
            self._cinder.get(f"look at group {group_id}", f"/groups/{group_id}")
        except ResourceNotFound:
            return
        volumes = self._cinder.pages("list volumes", "/volumes/detail", "volumes", group_id=group_id)
        if ids := ",".join(item["id"] for item in volumes if item.get("group_id") == group_id):
            self._members(step, group_id, {"remove_volumes": ids})
        step.check()
        self._cinder.post(
            f"delete group {group_id}", f"/groups/{group_id}/action", {"delete": {"delete-volumes": False}}
        )
        self._gone(step, f"/groups/{group_id}", "group")

    @property
    def _kind(self) -> str | None:
        return self._cloud.settings.consistent_group_type

    def _create(self, step: Step, server: Server) -> str:
        kinds = self._cinder.get("list group types", "/group_types")["group_types"]
        wanted = [kind["id"] for kind in kinds if self._kind in {kind["name"], kind["id"]}]
        if not wanted:
            raise CloudRefused(f"there is no group type {self._kind}", hint="mend `consistent_group_type`")
        names = {volume.type for volume in server.volumes}
        types = [
            item["id"]
            for item in self._cinder.pages("list types", "/types", "volume_types")
            if item["name"] in names
        ]
        step.check()
        group: Json = self._cinder.post(
            f"group the volumes of server {server.name}",
            "/groups",
            {
                "group": {
                    "name": f"csbsctl-{step.marker.job[:8]}",
                    "description": marks.describe(step.marker, _ROLE),
                    "group_type": wanted[0],
                    "volume_types": types,
                }
            },
        )["group"]
        self._settled(step, f"/groups/{group['id']}", "group")
        return str(group["id"])

    def _members(self, step: Step, group_id: str, change: Json) -> None:
        step.check()
        self._cinder.put(f"change group {group_id}", f"/groups/{group_id}", {"group": change})
        self._settled(step, f"/groups/{group_id}", "group")

    def _snapshots(self, group_snapshot: str) -> list[Json]:
        found = self._cinder.pages("list snapshots", "/snapshots/detail", "snapshots")
        return [item for item in found if item.get("group_snapshot_id") == group_snapshot]

    def _delete(self, step: Step, path: str, key: str) -> None:
        try:
            self._cinder.delete(f"delete {key}", path)
        except ResourceNotFound:
            return
        self._gone(step, path, key)

    def _settled(self, step: Step, path: str, key: str) -> None:
        def done(seen: Json) -> bool:
            if seen["status"] in FAILED:
                raise CloudUnavailable(f"{key} ended in state {seen['status']}")
            return bool(seen["status"] == "available")

        self._until(step, path, key, done)

    def _gone(self, step: Step, path: str, key: str) -> None:
        self._until(step, path, key, lambda seen: bool(seen["status"] in {"gone", "deleted"}))

    def _until(self, step: Step, path: str, key: str, done: Any) -> None:
        def look() -> Json:
            try:
                body: Json = self._cinder.get(f"look at {key}", path)[key]
            except ResourceNotFound:
                return {"status": "gone"}
            return body

        poll(
            look,
            done,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.snapshot,
            what=f"wait for {key}",
            every=_QUICK,
            check=step.check,
        )
