"""Servers with their volumes: Nova's and Cinder's lists read side by side, a thousand a page, and joined.

Says of each server whether it can be protected and why not, with CSBS's codes. Changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from csbsctl.errors import ResourceNotFound
from csbsctl.model.server import Refusal, Server, ServerState, Volume
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.marks import foreign
from csbsctl_openstack.roots import root_of
from csbsctl_openstack.wire import GIB, instant, server_state, truth

Json = dict[str, Any]
_AT_ONCE = 40
"""IDs in one query, which has to fit into a URL."""


class Inventory:
    """Reads servers; ``name`` is the provider's name in the configuration."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._name = name

    def servers(self) -> Iterator[Server]:
        """Yield every server of the project, ordered by name and ID."""
        bodies, volumes = self._cloud.side_by_side(self._all_servers, self._all_volumes)
        by_id = {volume["id"]: volume for volume in volumes}
        mapped = self._mapped(bodies)
        for body in sorted(bodies, key=lambda body: (body["name"], body["id"])):
            yield self.join(body, by_id, mapped)

    def server(self, server_id: str) -> Server:
        """Return one server. Raises ResourceNotFound."""
        body = self.body(server_id)
        return self.join(body, self.volumes_of(body), self._mapped([body]))

    def body(self, server_id: str) -> Json:
        """Return Nova's document of a server. Raises ResourceNotFound."""
        answer = self._cloud.nova.get(f"look at server {server_id}", f"/servers/{server_id}")
        server: Json = answer["server"]
        return server

    def volumes_of(self, body: Json) -> dict[str, Json]:
        """Return Cinder's documents of a server's volumes, by ID; those that are gone are left out."""
        ids = [item["id"] for item in body["os-extended-volumes:volumes_attached"]]
        found = self._cloud.side_by_side(*[functools.partial(self._volume, i) for i in ids])
        return {volume["id"]: volume for volume in found if volume}

    def join(self, body: Json, volumes: dict[str, Json], mapped: Collection[str]) -> Server:
        """Return a server from Nova's document and Cinder's of its volumes; ``mapped`` are images that stand for volumes."""
        ids = [item["id"] for item in body["os-extended-volumes:volumes_attached"]]
        state = server_state(body)
        if any(volume_id not in volumes for volume_id in ids):
            state = ServerState.BUSY  # attached or detached between the two lists: look again
        disks = sorted(
            (volumes[i] for i in set(ids) if i in volumes), key=lambda volume: _device(volume, body["id"])
        )
        roots = (root_of(body),) if body.get("image") and body["image"]["id"] not in mapped else ()
        return Server(
            id=body["id"],
            name=body["name"],
            provider=self._name,
            state=state,
            volumes=(*roots, *(_volume(item, position) for position, item in enumerate(disks, len(roots)))),
            availability_zone=body.get("OS-EXT-AZ:availability_zone") or None,
            metadata=foreign(body.get("metadata")),
            tags=tuple(body.get("tags") or ()),
            created_at=instant(body.get("created")),
            spec=spec_of(body),
            refusal=_refusal(body, state),
            image_backed_root=bool(roots),
        )

    def ports(self, server_id: str) -> list[Json]:
        """Return a server's ports, reduced to what a new one needs, in a stable order; [] without Neutron."""
        found = self._cloud.neutron.get(
            f"list the ports of server {server_id}", "/ports", device_id=server_id
        )
        return [_port(port) for port in sorted(found.get("ports", []), key=lambda port: port["id"])]

    def _mapped(self, bodies: Iterable[Json]) -> frozenset[str]:
        """Return which images of servers only point at snapshots: what Nova builds from these has its root on a volume.

        Nova names the image of such a server like that of any other. Of an image that is gone nobody can tell, and the
        server is taken for one whose root is no volume: it is refused, rather than backed up without its root.
        """
        wanted = sorted({body["image"]["id"] for body in bodies if body.get("image")})
        found: set[str] = set()
        for start in range(0, len(wanted), _AT_ONCE):
            ids = ",".join(wanted[start : start + _AT_ONCE])
            images = self._cloud.glance.pages("list images of servers", "/images", "images", id=f"in:{ids}")
            found |= {image["id"] for image in images if image.get("block_device_mapping")}
        return frozenset(found)

    def _all_servers(self) -> list[Json]:
        return list(self._cloud.nova.pages("list servers", "/servers/detail", "servers"))

    def _all_volumes(self) -> list[Json]:
        return list(self._cloud.cinder.pages("list volumes", "/volumes/detail", "volumes"))

    def _volume(self, volume_id: str) -> Json | None:
        try:
            answer = self._cloud.cinder.get(f"look at volume {volume_id}", f"/volumes/{volume_id}")
        except ResourceNotFound:
            return None
        volume: Json = answer["volume"]
        return volume


def volumes_of(server: Server) -> tuple[Volume, ...]:
    """Return the disks of a server that are volumes: all but a root that is with the hypervisor."""
    return server.volumes[1:] if server.image_backed_root else server.volumes


def spec_of(body: Json) -> Json:
    """Return what is needed to build a server anew, as far as Nova's document tells."""
    return {
        "flavor": body["flavor"].get("original_name") or body["flavor"].get("id"),
        "key_name": body.get("key_name"),
        "security_groups": sorted({group["name"] for group in body.get("security_groups") or []}),
        "availability_zone": body.get("OS-EXT-AZ:availability_zone") or None,
        "metadata": foreign(body.get("metadata")),
        "tags": list(body.get("tags") or ()),
        "description": body.get("description"),
        "config_drive": truth(body.get("config_drive")),
        "server_groups": list(body.get("server_groups") or ()),
    }


def _device(volume: Json, server_id: str) -> tuple[int, str, str]:
    """Return the key that orders a server's disks: vda, vdb, ..., vdz, vdaa."""
    devices = [
        item.get("device") or "" for item in volume["attachments"] if item.get("server_id") == server_id
    ]
    device = devices[0] if devices else "~"
    return len(device), device, volume["id"]


def _volume(item: Json, position: int) -> Volume:
    return Volume(
        id=item["id"],
        name=item.get("name") or item["id"],
        size=item["size"] * GIB,
        bootable=position == 0 and truth(item.get("bootable")),
        shared=truth(item.get("multiattach")) or len(item["attachments"]) > 1,
        position=position,
        type=item.get("volume_type"),
        state=item["status"],
        encrypted=truth(item.get("encrypted")),
    )


def _refusal(body: Json, state: ServerState) -> Refusal | None:
    if state is ServerState.ERROR:
        return Refusal("CSBS.6006", f"server {body['name']} is {body['status']}")
    return None


def _port(port: Json) -> Json:
    return {
        "id": port["id"],
        "network": port["network_id"],
        "fixed_ips": [
            {"subnet_id": ip["subnet_id"], "ip_address": ip["ip_address"]} for ip in port.get("fixed_ips", [])
        ],
        "mac": port.get("mac_address"),
        "security_groups": list(port.get("security_groups") or ()),
        "vnic_type": port.get("binding:vnic_type") or "normal",
        "name": port.get("name") or "",
    }
