"""Snapshots under a freeze of the guest's file systems: the only one that a tenant can ask for is in createImage.

Nova freezes only if it can, and says nothing when it could not, unless the image that the server was made from demands
it (``os_require_quiesce``): then createImage fails. So only such servers are ever called application-consistent here.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from csbsctl.errors import CloudRefused, CloudUnavailable, ResourceConflict, ResourceNotFound
from csbsctl.model.server import Server
from csbsctl.provider import Step
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.snapshots import SnapshotSet
from csbsctl_openstack.waiting import FAILED, poll
from csbsctl_openstack.wire import truth

Json = dict[str, Any]


class Quiescer:
    """Has Nova freeze a server and snapshot its volumes."""

    def __init__(self, cloud: Cloud, snapshots: SnapshotSet) -> None:
        self._cloud = cloud
        self._set = snapshots

    def take(self, step: Step, server: Server) -> tuple[list[Json], dict[str, Any]]:
        """Return the snapshots and the evidence of the freeze.

        Raises:
            CloudRefused: the server's image does not demand the freeze, or the guest did not answer.
        """
        self._demand(server)
        self._clean(step)
        step.check()
        begun = self._cloud.clock.monotonic()
        image_id = self._create_image(step, server)
        frozen_ms = round(1000 * (self._cloud.clock.monotonic() - begun))
        made = self._snapshots(step, server, image_id)
        self._delete_image(image_id)
        return made, {"freeze": "os_require_quiesce", "image": image_id, "frozen_at_most_ms": frozen_ms}

    def _demand(self, server: Server) -> None:
        root = server.volumes[0]
        answer = self._cloud.cinder.get(f"look at volume {root.name}", f"/volumes/{root.id}")
        properties = answer["volume"].get("volume_image_metadata") or {}
        if not _yes(properties.get("os_require_quiesce")) or not _yes(properties.get("hw_qemu_guest_agent")):
            raise CloudRefused(
                f"server {server.name} cannot be frozen with proof: its image does not demand it",
                hint="build servers from an image with os_require_quiesce=yes and hw_qemu_guest_agent=yes, "
                "or accept `consistency: crash`",
            )

    def _create_image(self, step: Step, server: Server) -> str:
        body = {
            "createImage": {
                "name": f"csbsctl-{step.marker.job}",
                "metadata": {"csbsctl_job": step.marker.job},
            }
        }
        try:
            answer = self._cloud.nova.post(
                f"freeze server {server.name}", f"/servers/{server.id}/action", body
            )
        except ResourceConflict as error:
            raise CloudRefused(
                f"{error.message}: the guest agent did not freeze the file systems",
                hint="see that qemu-guest-agent runs in the guest, or accept `consistency: crash`",
                request_id=error.request_id,
            ) from error
        return str(answer["image_id"])

    def _snapshots(self, step: Step, server: Server, image_id: str) -> list[Json]:
        image = poll(
            lambda: self._cloud.glance.get(f"look at image {image_id}", f"/images/{image_id}"),
            _active,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.snapshot,
            what=f"freeze server {server.name}",
            check=step.check,
        )
        ids = _snapshot_ids(image)
        made = self._cloud.side_by_side(
            *[functools.partial(self._snapshot, snapshot_id) for snapshot_id in ids]
        )
        by_volume = {item["volume_id"]: item for item in made}
        if set(by_volume) != {volume.id for volume in server.volumes}:
            raise ResourceConflict(f"volumes of server {server.name} were attached or detached meanwhile")
        for volume in server.volumes:
            self._set.mark(step.marker, by_volume[volume.id]["id"], volume)
        self._set.settle(step, made, deadline=self._cloud.settings.deadlines.snapshot)
        return [
            by_volume[volume.id] | self._snapshot(by_volume[volume.id]["id"]) for volume in server.volumes
        ]

    def _snapshot(self, snapshot_id: str) -> Json:
        answer = self._cloud.cinder.get(f"look at snapshot {snapshot_id}", f"/snapshots/{snapshot_id}")
        item: Json = answer["snapshot"]
        return item

    def _clean(self, step: Step) -> None:
        """Remove the images, with their snapshots, that earlier tries of this job left."""
        found = self._cloud.glance.pages(
            f"list images of job {step.marker.job}", "/images", "images", csbsctl_job=step.marker.job
        )
        for image in list(found):
            self._set.delete(step, _snapshot_ids(image))
            self._delete_image(image["id"])

    def _delete_image(self, image_id: str) -> None:
        try:
            self._cloud.glance.delete(f"delete image {image_id}", f"/images/{image_id}")
        except ResourceNotFound:
            return


def _active(image: Json) -> bool:
    if image["status"] in FAILED | {"deleted"}:
        raise CloudUnavailable(f"image {image['id']} ended in state {image['status']}")
    return bool(image["status"] == "active")


def _snapshot_ids(image: Json) -> list[str]:
    mapping = json.loads(image.get("block_device_mapping") or "[]")
    return [item["snapshot_id"] for item in mapping if item.get("snapshot_id")]


def _yes(value: Any) -> bool:
    return truth(value) or str(value).lower() == "yes"
