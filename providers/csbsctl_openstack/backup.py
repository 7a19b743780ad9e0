"""Cinder backups of single volumes: made from snapshots under a marker, adopted, waited for, read back, deleted.

Cinder chooses the parent of an increment itself and tells nobody which it was; its rule is repeated here, so that the
record says on what a backup really depends, backups that others made included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CloudUnavailable, ProviderError, ResourceConflict, ResourceNotFound
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl.provider import Damage, Marker, Step, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.waiting import FAILED, GONE, Hub
from csbsctl_openstack.wire import GIB, instant, truth

Json = dict[str, Any]

_ASKED = Boundary("openstack.backup.asked", "Cinder was asked for the backup of a volume")
_STORED = Boundary("openstack.backup.stored", "Cinder has stored the backup of a volume")
_NO_PARENT = "No backups available to do an incremental backup"


class Backups:
    """Makes and deletes Cinder backups."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._hub = Hub(self.get, self._newest_first, cloud.clock)

    def get(self, backup_id: str) -> Json:
        """Return Cinder's document of a backup. Raises ResourceNotFound."""
        body: Json = self._cloud.cinder.get(f"look at backup {backup_id}", f"/backups/{backup_id}")["backup"]
        return body

    def of_volume(self, volume_id: str) -> list[Json]:
        """Return all backups of a volume, whoever made them."""
        found = self._cloud.cinder.pages(
            f"list backups of volume {volume_id}", "/backups/detail", "backups", volume_id=volume_id
        )
        return list(found)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        """Back up a snapshot, or go on with the backup that this marker already has."""
        size = snapshot.volume.size
        step.progress(0, size)
        siblings = self.of_volume(snapshot.volume.id)
        mine = self._adopt(step, [item for item in siblings if marks.same(step.marker, item.get("metadata"))])
        if mine is None:
            mine = self._create(step, snapshot, base_of(siblings, snapshot, parent), parent)
            _ASKED()
        body = self._wait(step, mine["id"], snapshot)
        _STORED()
        step.progress(size, size)
        return stored_of(body)

    def delete(self, step: Step, stored: StoredVolume) -> None:
        """Delete a backup and wait until it is gone; already gone is fine.

        Raises:
            ResourceConflict: other backups depend on it.
        CloudRefused: Cinder tried and failed.
        """
        body = self._settled(step, stored)
        if body["status"] == "gone":
            return
        if body["status"] == "error_deleting":
            raise _stuck(stored, body)
        if truth(body.get("has_dependent_backups")):
            raise ResourceConflict(f"backup {stored.ref} of volume {stored.name}: others depend on it")
        step.check()
        self._delete(stored.ref)
        self._until_gone(step, stored)

    def protect(self, step: Step, stored: StoredVolume, *, protected: bool) -> None:
        """Note in a backup's metadata whether it is protected; a backup that is gone is left at that."""
        try:
            found = dict(self.get(stored.ref).get("metadata") or {})
        except ResourceNotFound:
            return
        found.pop(marks.PROTECTED, None)
        wanted = found | ({marks.PROTECTED: "yes"} if protected else {})
        step.check()
        self._cloud.cinder.put(
            f"note that backup {stored.ref} is protected",
            f"/backups/{stored.ref}",
            {"backup": {"metadata": wanted}},
        )

    def check(self, stored: StoredVolume) -> list[Damage]:
        """Say what is wrong with a backup as far as Cinder's records tell; nothing is read."""
        problems = []
        wanted: str | None = stored.ref
        while wanted:
            try:
                body = self.get(wanted)
            except ResourceNotFound:
                problems.append(Damage(f"backup {wanted} is gone from Cinder"))
                break
            if body["status"] not in {"available", "restoring"}:
                reason = f": {body['fail_reason']}" if body.get("fail_reason") else ""
                problems.append(Damage(f"backup {wanted} is {body['status']}{reason}"))
            wanted = (
                marks.unpack(body.get("metadata")).get("parent") if truth(body["is_incremental"]) else None
            )
        return problems

    def _adopt(self, step: Step, mine: list[Json]) -> Json | None:
        """Return the backup that an earlier try began; failed ones are cleared away."""
        alive = None
        for item in mine:
            if item["status"] in {"creating", "available", "restoring"}:
                alive = item
            else:
                step.check()
                self._discard(item["id"])
        return alive

    def _create(
        self, step: Step, snapshot: VolumeSnapshot, base: Json | None, parent: StoredVolume | None
    ) -> Json:
        settings = self._cloud.settings
        volume = snapshot.volume
        body: Json = {
            "volume_id": volume.id,
            "snapshot_id": snapshot.ref,
            "name": f"csbsctl-{step.marker.backup[:8] or step.marker.job[:8]}-{volume.position}",
            "force": True,
            "incremental": base is not None,
            "metadata": marks.metadata(step.marker, _document(step, snapshot, base, parent)),
        }
        if settings.container:
            body["container"] = settings.container
        if settings.backup_availability_zone:
            body["availability_zone"] = settings.backup_availability_zone
        step.check()
        try:
            made: Json = self._post(volume.name, body)
        except CloudRefused as error:
            if base is None or _NO_PARENT not in error.message:
                raise
            # The parent went away between the list and the call.
            body |= {
                "incremental": False,
                "metadata": marks.metadata(step.marker, _document(step, snapshot, None, parent)),
            }
            made = self._post(volume.name, body)
        return made

    def _post(self, name: str, body: Json) -> Json:
        made: Json = self._cloud.cinder.post(f"back up volume {name}", "/backups", {"backup": body})["backup"]
        return made

    def _wait(self, step: Step, backup_id: str, snapshot: VolumeSnapshot) -> Json:
        what = f"back up volume {snapshot.volume.name}"
        body = self._hub.wait(
            backup_id,
            lambda seen: seen["status"] in FAILED | {"available", "gone", "deleting"},
            deadline=self._cloud.settings.deadlines.backup,
            what=what,
            check=step.check,
        )
        if body["status"] == "available":
            return body
        if body["status"] == "gone":
            raise CloudUnavailable(f"{what}: somebody deleted backup {backup_id} while it was being made")
        self._discard(backup_id)
        raise CloudUnavailable(f"{what}: {body.get('fail_reason') or 'Cinder says ' + body['status']}")

    def _settled(self, step: Step, stored: StoredVolume) -> Json:
        """Return a backup once nothing works on it."""
        try:
            body = self.get(stored.ref)
        except ResourceNotFound:
            return GONE
        if body["status"] in FAILED | {"available"}:
            return body
        return self._hub.wait(
            stored.ref,
            lambda seen: seen["status"] in FAILED | {"available", "gone"},
            deadline=self._cloud.settings.deadlines.delete,
            what=f"wait for backup {stored.ref} of volume {stored.name}",
            check=step.check,
        )

    def _until_gone(self, step: Step, stored: StoredVolume) -> None:
        body = self._hub.wait(
            stored.ref,
            lambda seen: seen["status"] in FAILED | {"gone", "available"},
            deadline=self._cloud.settings.deadlines.delete,
            what=f"delete backup {stored.ref} of volume {stored.name}",
            check=step.check,
        )
        if body["status"] != "gone":
            raise _stuck(stored, body)

    def _delete(self, backup_id: str) -> None:
        try:
            self._cloud.cinder.delete(f"delete backup {backup_id}", f"/backups/{backup_id}")
        except ResourceNotFound:
            return

    def _discard(self, backup_id: str) -> None:
        """Ask for the deletion of a failed backup; recovery finds it should that fail."""
        try:
            self._delete(backup_id)
        except ProviderError:
            return

    def _newest_first(self) -> Iterable[Json]:
        return self._cloud.cinder.pages("list backups", "/backups/detail", "backups", sort="created_at:desc")


def _stuck(stored: StoredVolume, body: Json) -> CloudRefused:
    """Return the error of a deletion that Cinder gave up; it takes no other before somebody resets the state."""
    reason = f": {body['fail_reason']}" if body.get("fail_reason") else ""
    return CloudRefused(
        f"delete backup {stored.ref} of volume {stored.name}: it is {body['status']}{reason}",
        hint=f"once the cause is gone, an administrator says: openstack volume backup set --state error {stored.ref}",
    )


def base_of(siblings: list[Json], snapshot: VolumeSnapshot, parent: StoredVolume | None) -> Json | None:
    """Return the backup on which Cinder would base an increment now, or None when it must be a full.

    Cinder takes the newest available one whose data is older than the snapshot, in whole seconds. A volume that was
    extended since gets a full: drivers differ in what they make of the grown part.
    """
    taken = instant(snapshot.extra["created_at"])
    if parent is None or taken is None:
        return None
    taken = taken.replace(microsecond=0)
    dated = [(when, item) for item in siblings if (when := instant(item.get("data_timestamp")))]
    usable = [(when, item) for when, item in dated if item["status"] == "available" and when < taken]
    if not usable:
        return None
    newest: Json = max(usable, key=lambda pair: pair[0])[1]
    return newest if newest["size"] * GIB >= snapshot.volume.size else None


def stored_of(body: Json) -> StoredVolume:
    """Return the record of a backup that Cinder has, from Cinder's document alone."""
    facts = marks.unpack(body.get("metadata"))
    incremental = truth(body.get("is_incremental"))
    size = facts.get("size", body["size"] * GIB)
    return StoredVolume(
        volume_id=body["volume_id"],
        name=facts.get("name", body["volume_id"]),
        size=size,
        bootable=facts.get("bootable", False),
        position=facts.get("position", 0),
        ref=body["id"],
        kind=Kind.INCREMENTAL if incremental else Kind.FULL,
        # Cinder tells nobody what a backup takes up in the store; this is what it charges to the quota.
        stored=size,
        parent=facts.get("parent") if incremental else None,
        extra={
            "type": facts.get("type"),
            "encrypted": facts.get("encrypted", False),
            "zone": body.get("availability_zone"),
            "asked": facts.get("asked"),
            "foreign_parent": facts.get("foreign", False) and incremental,
            "container": body.get("container"),
            "object_count": body.get("object_count"),
            "data_timestamp": body.get("data_timestamp"),
        },
    )


def server_of(body: Json) -> Json:
    """Return what a backup's metadata says of the whole server: name, spec, consistency, when, how."""
    server: Json = marks.unpack(body.get("metadata")).get("server") or {}
    return server


def marker_of(body: Json) -> Marker | None:
    """Return the marker of a backup."""
    return marks.marker_of(body.get("metadata"))


def about_of(body: Json) -> Json:
    """Return what a backup's metadata says of the record that it belongs to, for a rebuild."""
    about: Json = marks.unpack(body.get("metadata")).get("about") or {}
    return about | ({"protected": True} if marks.PROTECTED in (body.get("metadata") or {}) else {})


def _document(step: Step, snapshot: VolumeSnapshot, base: Json | None, parent: StoredVolume | None) -> Json:
    volume = snapshot.volume
    return {
        "name": volume.name,
        "size": volume.size,
        "bootable": volume.bootable,
        "position": volume.position,
        "type": volume.type,
        "asked": "incremental" if parent else "full",
        "parent": base["id"] if base else None,
        "foreign": bool(base) and marks.marker_of((base or {}).get("metadata")) is None,
        "server": snapshot.extra["document"],
        "about": step.about,
        **({"encrypted": True} if volume.encrypted else {}),
    }
