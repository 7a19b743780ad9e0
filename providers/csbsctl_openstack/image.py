"""Bootable images of whole servers: restored volumes, their snapshots, and a Glance image that points at these.

It is the form that Nova itself gives an image of a volume-backed server: no bytes in Glance, a mapping of snapshots.
Servers are built from it like from any other image, as many as one likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, ResourceNotFound
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.model.server import Volume
from csbsctl.provider import Image, Marker, Step
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.snapshots import SnapshotSet
from csbsctl_openstack.volumes import Volumes
from csbsctl_openstack.wire import gib, instant

Json = dict[str, Any]

_KIND = "server"
_RESTORED = Boundary("openstack.image.restored", "all volumes of an image are restored, nothing else is made")
_SNAPPED = Boundary(
    "openstack.image.snapshots", "the volumes of an image are snapshotted, the image is not there"
)
_SKIPPED = frozenset(
    {
        "image_id",
        "image_name",
        "checksum",
        "container_format",
        "disk_format",
        "size",
        "min_disk",
        "min_ram",
        # of an image that Nova made of a server's root:
        "base_image_ref",
        "boot_roles",
        "image_location",
        "image_state",
        "image_type",
        "instance_uuid",
        "owner_id",
        "owner_project_name",
        "owner_user_name",
        "user_id",
    }
)


class Images:
    """Makes, lists and deletes images of whole servers."""

    def __init__(self, cloud: Cloud, volumes: Volumes) -> None:
        self._cloud = cloud
        self._glance = cloud.glance
        self._volumes = volumes
        self._set = SnapshotSet(cloud)

    def create(self, step: Step, backup: Backup, name: str) -> Image:
        """Return the image of a backup, made now or by an earlier try.

        Raises:
            CloudRefused: the backup has no system disk.
        """
        if not any(stored.bootable for stored in backup.volumes):
            raise CloudRefused(f"backup {backup.name} has no system disk, no image", code="CSBS.8009")
        existing = list(self._listed(csbsctl_job=step.marker.job))
        if existing and existing[0]["status"] == "active":
            return _image(existing[0])
        ordered = sorted(backup.volumes, key=lambda stored: stored.position)
        filled = [self._filled(step, stored, name) for stored in ordered]
        _RESTORED()
        snapshots = self._snapshots(step, ordered, filled)
        _SNAPPED()
        step.check()
        body = existing[0] if existing else self._register(step, backup, name, filled[0], snapshots)
        self._glance.request(
            f"activate image {name}",
            "PUT",
            f"/images/{body['id']}/file",
            data=b"",
            headers={"Content-Type": "application/octet-stream"},
        )
        return _image(self._glance.get(f"look at image {name}", f"/images/{body['id']}"))

    def all(self) -> Iterator[Image]:
        """Yield the images that csbsctl made and finished."""
        for body in self._listed():
            if body["status"] == "active":
                yield _image(body)

    def parts(self) -> Iterator[Json]:
        """Yield Glance's documents of all images that csbsctl made, finished or not."""
        return self._listed()

    def delete(self, step: Step, image_id: str) -> None:
        """Delete an image, its snapshots and their volumes; already gone is fine."""
        try:
            body = self._glance.get(f"look at image {image_id}", f"/images/{image_id}")
        except ResourceNotFound:
            return
        step.check()
        # The image goes last: as long as it is there, a retry knows what else is to go.
        behind = {volume for snapshot in snapshot_ids(body) if (volume := self._volume_of(snapshot))}
        volumes = behind | self._marked_volumes(body)
        self._set.delete(step, snapshot_ids(body))
        for volume_id in sorted(volumes):
            self._volumes.delete(step, volume_id)
        self._glance.delete(f"delete image {image_id}", f"/images/{image_id}")

    def _filled(self, step: Step, stored: StoredVolume, name: str) -> Json:
        role = f"image-{stored.position}"
        return self._volumes.from_backup(
            step, stored, name=f"{name}-{stored.position}", size=stored.size, role=role
        )

    def _snapshots(self, step: Step, ordered: list[StoredVolume], filled: list[Json]) -> list[Json]:
        """Return the snapshots of the restored volumes, in order; those of an earlier try are kept."""
        mine = {item["volume_id"]: item for item in self._set.find(step.marker)}
        missing = [
            Volume(
                id=body["id"],
                name=body["name"],
                size=stored.size,
                bootable=stored.bootable,
                position=stored.position,
                type=body.get("volume_type"),
            )
            for stored, body in zip(ordered, filled, strict=True)
            if body["id"] not in mine
        ]
        made = (
            self._set.shoot(step, missing, deadline=self._cloud.settings.deadlines.snapshot)
            if missing
            else []
        )
        by_volume = mine | {item["volume_id"]: item for item in made}
        return [by_volume[body["id"]] for body in filled]

    def _register(self, step: Step, backup: Backup, name: str, root: Json, snapshots: list[Json]) -> Json:
        kept = root.get("volume_image_metadata") or {}
        request = {
            **{
                key: str(value)
                for key, value in kept.items()
                if key not in _SKIPPED and not key.startswith("os_")
            },
            "name": name,
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "private",
            "root_device_name": "/dev/vda",
            "bdm_v2": "true",
            "block_device_mapping": json.dumps([_mapping(item, n) for n, item in enumerate(snapshots)]),
            "csbsctl_kind": _KIND,
            "csbsctl_vault": step.marker.vault,
            "csbsctl_job": step.marker.job,
            "csbsctl_server": step.marker.server,
            "csbsctl_backup": backup.id,
            "csbsctl_size": str(backup.size),
        }
        return self._glance.post(f"create image {name}", "/images", request)

    def _listed(self, **query: str) -> Iterator[Json]:
        return self._glance.pages("list images", "/images", "images", csbsctl_kind=_KIND, **query)

    def _marked_volumes(self, body: Json) -> set[str]:
        """Return the volumes that were made for an image, also those whose snapshots an earlier try has deleted."""
        if (
            "csbsctl_job" not in body
        ):  # the image of a root, there for a restore only: it has no volumes of its own
            return set()
        marker = Marker(
            body["csbsctl_vault"], body["csbsctl_job"], body["csbsctl_server"], body["csbsctl_backup"]
        )
        count = len(snapshot_ids(body))
        found = [self._volumes.find(marker, f"image-{n}", f"{body['name']}-{n}") for n in range(count)]
        return {item["id"] for item in found if item}

    def _volume_of(self, snapshot_id: str) -> str | None:
        try:
            answer = self._cloud.cinder.get(f"look at snapshot {snapshot_id}", f"/snapshots/{snapshot_id}")
        except ResourceNotFound:
            return None
        return str(answer["snapshot"]["volume_id"])


def snapshot_ids(body: Json) -> list[str]:
    """Return the snapshots that an image points at."""
    return [item["snapshot_id"] for item in json.loads(body.get("block_device_mapping") or "[]")]


def _mapping(snapshot: Json, number: int) -> Json:
    return {
        "boot_index": 0 if number == 0 else None,
        "source_type": "snapshot",
        "destination_type": "volume",
        "snapshot_id": snapshot["id"],
        "volume_size": gib(snapshot["size"] * 1024**3),
        "delete_on_termination": False,
        "device_type": "disk",
    }


def _image(body: Json) -> Image:
    when = instant(body["created_at"])
    assert when
    return Image(
        id=body["id"],
        name=body["name"],
        backup=body.get("csbsctl_backup"),
        size=int(body.get("csbsctl_size", 0)),
        created_at=when,
        state="available" if body["status"] == "active" else body["status"],
    )
