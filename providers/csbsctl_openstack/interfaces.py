"""What a new server is connected to: the ports of old where they are free, ports like them, or what the user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from csbsctl.errors import ProviderError, ResourceNotFound
from csbsctl.provider import Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.offers import Offers
from csbsctl_openstack.wishes import Wishes

Json = dict[str, Any]


def unused_ports(cloud: Cloud) -> Iterator[Json]:
    """Yield the ports that no server has; nothing where there is no Neutron."""
    yield from cloud.neutron.get("list ports that no server has", "/ports", device_id="").get("ports", [])


def delete_port(cloud: Cloud, step: Step, port_id: str) -> None:
    """Delete a port; already gone is fine."""
    step.check()
    with suppress(ResourceNotFound):
        cloud.neutron.delete(f"delete port {port_id}", f"/ports/{port_id}")


class Interfaces:
    """Finds and makes ports; those made are named after the job, so that a retry finds them, and marked."""

    def __init__(self, cloud: Cloud, offers: Offers) -> None:
        self._cloud = cloud
        self._offers = offers

    def request(self, step: Step, spec: Json, wishes: Wishes) -> Json:
        """Return what a request for a server says of networks and security groups."""
        if wishes.networks is not None:
            networks = [{"uuid": self._offers.network(name)} for name in wishes.networks]
            wanted = spec.get("security_groups") or () if wishes.groups is None else wishes.groups
            groups = [{"name": self._offers.group(name)} for name in wanted]
            return {"networks": networks or "none", **({"security_groups": groups} if groups else {})}
        if wishes.ports is not None:
            ports = list(wishes.ports)
            for port in ports if wishes.groups is not None else ():
                self._protect(step, port, wishes)
        else:
            ports = [self._port(step, n, port, wishes) for n, port in enumerate(spec.get("ports") or [])]
        return {"networks": [{"port": port} for port in ports] or "none"}

    def _port(self, step: Step, number: int, port: Json, wishes: Wishes) -> str:
        """Return the old port when nobody uses it, the one an earlier try made, or a new one like it."""
        try:
            old = self._cloud.neutron.get(f"look at port {port['id']}", f"/ports/{port['id']}")["port"]
            if not old.get("device_id"):
                if wishes.groups is not None:
                    self._protect(step, old["id"], wishes)
                return str(old["id"])
        except ResourceNotFound:
            pass
        name = f"{marks.PREFIX}{step.marker.job}-{number}"
        made = self._cloud.neutron.get(f"list ports named {name}", "/ports", name=name).get("ports", [])
        if made:
            return str(made[0]["id"])
        request = {
            "network_id": port["network"],
            "name": name,
            "description": marks.describe(step.marker, f"port-{number}"),
            "security_groups": port["security_groups"] if wishes.groups is None else self._groups(wishes),
            "binding:vnic_type": port["vnic_type"],
        }
        step.check()
        try:
            return self._make({**request, "fixed_ips": port["fixed_ips"]})
        except ProviderError:  # mostly an address that somebody else has by now: the network gives another
            return self._make(request)

    def _protect(self, step: Step, port_id: str, wishes: Wishes) -> None:
        step.check()
        groups = {"port": {"security_groups": self._groups(wishes)}}
        self._cloud.neutron.put(f"set the security groups of port {port_id}", f"/ports/{port_id}", groups)

    def _groups(self, wishes: Wishes) -> list[str]:
        return [self._offers.group(name) for name in wishes.groups or ()]

    def _make(self, request: Json) -> str:
        answer = self._cloud.neutron.post(f"create port {request['name']}", "/ports", {"port": request})
        return str(answer["port"]["id"])
