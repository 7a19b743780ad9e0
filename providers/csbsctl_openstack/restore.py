"""Bringing volumes back: onto new volumes, onto the server's own, and into place.

Data volumes are detached, restored onto and attached again, and so keep their IDs. Nova never detaches a root volume:
it is reset, rebuilt or replaced, as settings and rights allow (``ways.py`` decides and tells the preflight). A root that
is no volume comes from its image: Nova builds or rebuilds the server from it. The bytes come first, the server's change last, and every step finds what an earlier try did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import ProviderError, ResourceConflict, ResourceNotFound
from csbsctl.model.backup import StoredVolume
from csbsctl.model.server import Server, Volume
from csbsctl.provider import Mapping, RestoredVolume, RestorePlan, Step
from csbsctl_openstack import marks
from csbsctl_openstack.builder import Builder
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.inventory import Inventory
from csbsctl_openstack.kept import KeptSnapshots
from csbsctl_openstack.servers import Servers
from csbsctl_openstack.uploads import Uploads
from csbsctl_openstack.volumes import Volumes
from csbsctl_openstack.ways import Way, Ways
from csbsctl_openstack.wire import GIB, truth
from csbsctl_openstack.wishes import Wishes, read_wishes

Json = dict[str, Any]

_RESET = Boundary("openstack.root.reset", "an administrator set a root volume available, to be restored onto")
_UPLOADED = Boundary(
    "openstack.root.uploaded", "the restored root is an image, the server is not rebuilt yet"
)
_REBUILT = Boundary("openstack.root.rebuilt", "Nova rebuilt the server, image and volume are still there")
_FREED = Boundary("openstack.replace.freed", "data volumes and ports are off the server that is replaced")
_SWAPPED = Boundary("openstack.swap.volume", "one more restored volume is in its place")


class Restorer:
    """Carries out the steps of a restore."""

    def __init__(
        self, cloud: Cloud, inventory: Inventory, volumes: Volumes, servers: Servers, ways: Ways
    ) -> None:
        self._inventory = inventory
        self._volumes = volumes
        self._servers = servers
        self._ways = ways
        self._kept = KeptSnapshots(cloud)
        self._uploads = Uploads(cloud, volumes)
        self._builder = Builder(cloud, servers, ways.offers)

    def restore(self, step: Step, plan: RestorePlan, mapping: Mapping) -> RestoredVolume:
        """Bring one disk's bytes back by the way that fits it."""
        way = self._ways.of(plan, mapping)
        stored, target = mapping.stored, mapping.target
        if way in (Way.BOOT, Way.REWRITE):  # Nova reads the image itself, when the server is built or rebuilt
            step.progress(stored.size, stored.size)
            return RestoredVolume(mapping, stored.ref, {"way": way.value})
        if target is None or way in (Way.NEW, Way.REBUILD, Way.REPLACE):
            body = self._fresh(step, plan, mapping)
            return RestoredVolume(mapping, body["id"], {"way": way.value})
        assert plan.server
        self._demand_stopped(plan.server.id)
        snapshot = self._kept.to_revert_to(plan, mapping)
        extra = {"way": way.value, "delete_on_termination": self._deleted_with(plan.server.id, target.id)}
        if way is Way.RESET:
            if self._volumes.get(target.id)["status"] == "in-use":
                self._volumes.reset(step, self._ways.admin, target.id, "available")
                _RESET()
        else:
            self._volumes.detach(step, plan.server.id, target.id)
        if snapshot:
            self._volumes.revert(step, stored, target.id, snapshot)
        else:
            self._volumes.onto(step, stored, target.id)
        return RestoredVolume(mapping, target.id, extra)

    def swap(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Put restored volumes into their places; the server stays stopped."""
        assert plan.server
        server_id = plan.server.id
        ordered = sorted(restored, key=_place_of)
        if ordered and ordered[0].extra["way"] == Way.REPLACE:
            return self._replace(step, plan, ordered[0])
        self._demand_stopped(server_id)
        for item in ordered:
            self._place(step, server_id, item)
            _SWAPPED()
        return self._inventory.server(server_id)

    def build(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Build a new server from restored volumes and the backup's description of the old one."""
        name = plan.name or plan.backup.server.name
        ordered = [item.ref for item in sorted(restored, key=lambda item: item.mapping.stored.position)]
        body = self._builder.build(step, name, plan.backup.spec, read_wishes(plan.overrides), ordered)
        if not plan.power_on:
            self._servers.stop(step, body["id"])
        self._servers.settle(body["id"])
        return self._inventory.server(body["id"])

    def hand_over(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> list[Volume]:
        """Name restored volumes and take the marker off them: nobody's job has them any more."""
        name = plan.name or plan.backup.server.name
        kept = []
        for item in restored:
            stored = item.mapping.stored
            body = self._volumes.rename(
                step, item.ref, f"{name}-disk-{stored.position}", f"Restored from backup {plan.backup.name}"
            )
            kept.append(
                Volume(
                    id=body["id"],
                    name=body["name"],
                    size=body["size"] * GIB,
                    bootable=truth(body.get("bootable")),
                    type=body.get("volume_type"),
                    state=body["status"],
                )
            )
        return kept

    def trial(self, step: Step, stored: StoredVolume) -> str | None:
        """Read every byte of a backup by restoring it onto a volume that is then deleted; return what went wrong."""
        role = f"trial-{stored.ref[:8]}"
        problem = None
        try:
            self._volumes.from_backup(step, stored, name=f"csbsctl-{role}", size=stored.size, role=role)
        except ResourceNotFound:
            raise
        except ProviderError as error:
            problem = error.message
        mine = self._volumes.find(step.marker, role, f"csbsctl-{role}")
        if mine:
            self._volumes.delete(step, mine["id"])
        return problem

    def _fresh(self, step: Step, plan: RestorePlan, mapping: Mapping) -> Json:
        stored, target = mapping.stored, mapping.target
        role = f"disk-{stored.position}"
        name = (
            stored.name if stored.name != stored.volume_id else f"{plan.backup.server.name}-{stored.position}"
        )
        size = max(stored.size, target.size) if target else stored.size
        wishes = Wishes() if plan.server else read_wishes(plan.overrides)
        zone = wishes.zone or plan.backup.spec.get("availability_zone")
        like_before = wishes.zone is None and wishes.type_of(stored) in (None, stored.extra.get("type"))
        kept = self._kept.of(stored) if plan.instant and like_before else None
        return self._volumes.from_backup(
            step,
            stored,
            name=name,
            size=size,
            role=role,
            kind=wishes.type_of(stored),
            zone=None if kept else self._ways.offers.volume_zone(zone),
            snapshot=kept["id"] if kept else None,
        )

    def _place(self, step: Step, server_id: str, item: RestoredVolume) -> None:
        way = Way(item.extra["way"])
        if way is Way.RESET:
            self._volumes.reset(step, self._ways.admin, item.ref, "in-use")
        elif way is Way.REWRITE:
            self._servers.rebuild(step, server_id, marks.image_id(item.ref))
            _REBUILT()
        elif way is Way.REBUILD:
            self._rebuild(step, server_id, item)
        else:
            doomed = bool(item.extra.get("delete_on_termination"))
            self._volumes.attach(step, server_id, item.ref, delete_on_termination=doomed)

    def _rebuild(self, step: Step, server_id: str, item: RestoredVolume) -> None:
        """Upload the restored root as an image of the volume's full size, and have Nova write it over the root."""
        target = item.mapping.target
        assert target
        if not self._volumes.exists(item.ref):  # it goes last: an earlier try was done with all of this
            return
        image_id = self._uploads.image_of(step, item.ref, like=target.id)
        _UPLOADED()
        self._servers.rebuild(step, server_id, image_id)
        _REBUILT()
        self._uploads.delete(image_id)
        self._volumes.delete(step, item.ref)

    def _replace(self, step: Step, plan: RestorePlan, root: RestoredVolume) -> Server:
        """Build a new server on the old one's ports and data volumes; the old one stays, stopped and renamed."""
        assert plan.server
        name, old_id = plan.server.name, plan.server.id
        data = [volume.id for volume in plan.server.volumes if volume.position > 0]
        ports = self._inventory.ports(old_id)
        body = self._servers.find(step.marker, name)
        if body is None:
            self._servers.rename(step, old_id, f"{name} (replaced)")
            for volume_id in data:
                self._volumes.detach(step, old_id, volume_id)
            for port in ports:
                self._servers.detach_port(step, old_id, port["id"])
            _FREED()
        spec = {**plan.server.spec, "ports": ports or plan.backup.spec.get("ports", [])}
        body = self._builder.build(step, name, spec, Wishes(), [root.ref, *data])
        self._servers.stop(step, body["id"])
        self._servers.settle(body["id"])
        return self._inventory.server(body["id"])

    def _demand_stopped(self, server_id: str) -> None:
        """Keep the disks of a running server from being overwritten under it."""
        if self._servers.get(server_id)["status"] in {"ACTIVE", "PAUSED"}:
            raise ResourceConflict(f"server {server_id} is running", hint="stop it first")

    def _deleted_with(self, server_id: str, volume_id: str) -> bool:
        attached = self._servers.get(server_id)["os-extended-volumes:volumes_attached"]
        return any(item["id"] == volume_id and item.get("delete_on_termination") for item in attached)


def _place_of(item: RestoredVolume) -> int:
    """Return where a disk belongs in its server."""
    return item.mapping.target.position if item.mapping.target else item.mapping.stored.position
