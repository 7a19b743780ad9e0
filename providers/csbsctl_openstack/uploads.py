"""Volumes as Glance images: uploaded under a marker, with the properties that make them boot like the original."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from csbsctl.errors import CloudUnavailable, ResourceNotFound
from csbsctl.provider import Marker, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.volumes import Volumes
from csbsctl_openstack.waiting import FAILED, poll

Json = dict[str, Any]

_TAG = f"{marks.PREFIX}root"
_OWN = frozenset(
    {"image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size"}
)


class Uploads:
    """Uploads volumes."""

    def __init__(self, cloud: Cloud, volumes: Volumes) -> None:
        self._cloud = cloud
        self._volumes = volumes

    def image_of(self, step: Step, volume_id: str, *, like: str) -> str:
        """Return a raw image with all bytes of a volume, and the image properties of another volume."""
        name = f"csbsctl-{step.marker.job}-{volume_id[:8]}"
        found = list(self._cloud.glance.pages(f"list images named {name}", "/images", "images", name=name))
        usable = [image for image in found if image["status"] not in FAILED | {"deleted"}]
        if usable:
            image_id = str(usable[0]["id"])
        else:
            step.check()
            image_id = self._upload(volume_id, name)
        self._tag(step, image_id)
        poll(
            lambda: self._cloud.glance.get(f"look at image {image_id}", f"/images/{image_id}"),
            _active,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.image,
            what=f"upload volume {volume_id}",
            check=step.check,
        )
        self._dress(step, image_id, self._volumes.get(like).get("volume_image_metadata") or {})
        return image_id

    def left(self) -> Iterator[Json]:
        """Yield Glance's documents of the images that are there for the time of a restore."""
        return self._cloud.glance.pages("list images", "/images", "images", tag=_TAG)

    def delete(self, image_id: str) -> None:
        """Delete an image; already gone is fine."""
        try:
            self._cloud.glance.delete(f"delete image {image_id}", f"/images/{image_id}")
        except ResourceNotFound:
            return

    def _upload(self, volume_id: str, name: str) -> str:
        answer = self._cloud.cinder.post(
            f"upload volume {volume_id}",
            f"/volumes/{volume_id}/action",
            {
                "os-volume_upload_image": {
                    "image_name": name,
                    "disk_format": "raw",
                    "container_format": "bare",
                }
            },
        )
        return str(answer["os-volume_upload_image"]["image_id"])

    def _tag(self, step: Step, image_id: str) -> None:
        """Say whose an image is. In tags: properties would go over to the volume, and from there to users' images."""
        words = [f"{key}={value}" for key, value in sorted(marks.metadata(step.marker).items())]
        step.check()
        self._cloud.glance.patch(
            f"tag image {image_id}",
            f"/images/{image_id}",
            [{"op": "replace", "path": "/tags", "value": [_TAG, *words]}],
        )

    def _dress(self, step: Step, image_id: str, properties: Json) -> None:
        """Give an image the properties (buses, firmware, agent) that the original's volume was made with."""
        image = self._cloud.glance.get(f"look at image {image_id}", f"/images/{image_id}")
        wanted = {key: str(value) for key, value in properties.items() if key not in _OWN}
        changes = [
            {"op": "add", "path": "/" + key.replace("~", "~0").replace("/", "~1"), "value": value}
            for key, value in sorted(wanted.items())
            if image.get(key) != value and not key.startswith("os_")
        ]
        if changes:
            step.check()
            self._cloud.glance.patch(f"describe image {image_id}", f"/images/{image_id}", changes)


def marker_of(image: Json) -> Marker | None:
    """Return the marker that an uploaded image carries."""
    return marks.marker_of(dict(tag.partition("=")[::2] for tag in image.get("tags", [])))


def _active(image: Json) -> bool:
    if image["status"] in FAILED | {"deleted"}:
        raise CloudUnavailable(f"image {image['id']} ended in state {image['status']}")
    return bool(image["status"] == "active")
