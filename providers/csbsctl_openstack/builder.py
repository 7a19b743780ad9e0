"""Building a server from a backup's description: flavour, zone, ports or networks, groups, key, metadata, tags.

Each can be overridden by the user's own word; what the cloud cannot tell (user data, floating addresses) is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csbsctl.provider import Step
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.interfaces import Interfaces
from csbsctl_openstack.offers import Offers
from csbsctl_openstack.servers import Servers
from csbsctl_openstack.wishes import Wishes

Json = dict[str, Any]


class Builder:
    """Turns a spec into a running server."""

    def __init__(self, cloud: Cloud, servers: Servers, offers: Offers) -> None:
        self._servers = servers
        self._offers = offers
        self._interfaces = Interfaces(cloud, offers)

    def build(self, step: Step, name: str, spec: Json, wishes: Wishes, disks: Sequence[str]) -> Json:
        """Return the server that was built under this marker, now or by an earlier try.

        Raises:
            CloudRefused: something that the server needs does not exist, or not any more.
        """
        existing = self._servers.find(step.marker, name)
        if existing is not None and existing["status"] != "ERROR":
            return self._servers.build(step, name, {}, disks)
        request: Json = {
            "flavorRef": self._servers.flavor_id(wishes.flavor or str(spec["flavor"])),
            "metadata": (spec.get("metadata") or {}) if wishes.metadata is None else wishes.metadata,
            **self._interfaces.request(step, spec, wishes),
        }
        optional = {
            "key_name": self._offers.key(spec, wishes),
            "availability_zone": wishes.zone or spec.get("availability_zone"),
            "description": spec.get("description"),
            "config_drive": spec.get("config_drive"),
            "tags": list((spec.get("tags") or ()) if wishes.tags is None else wishes.tags),
        }
        request |= {key: value for key, value in optional.items() if value}
        return self._servers.build(step, name, request, disks)
