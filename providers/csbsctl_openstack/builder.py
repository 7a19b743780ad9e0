"""Building a server from a backup's description: flavour, zone, ports or networks, groups, key, metadata, tags.

Each can be overridden by the user's own word; what the cloud cannot tell (user data, floating addresses) is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csbsctl.errors import CloudRefused, ProviderError, ResourceNotFound
from csbsctl.provider import Step
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.marks import PREFIX
from csbsctl_openstack.servers import Servers

Json = dict[str, Any]

OVERRIDES = frozenset(
    {"flavor", "availability_zone", "key_name", "security_groups", "networks", "ports", "metadata", "tags"}
)


class Builder:
    """Turns a spec into a running server."""

    def __init__(self, cloud: Cloud, servers: Servers) -> None:
        self._cloud = cloud
        self._servers = servers

    def build(self, step: Step, name: str, spec: Json, overrides: Json, volumes: Sequence[str]) -> Json:
        """Return the server that was built under this marker, now or by an earlier try.

        Raises:
            CloudRefused: an override that does not exist, or the flavour is gone.
        """
        if unknown := sorted(set(overrides) - OVERRIDES):
            raise CloudRefused(
                f"a new server has no {', '.join(unknown)}", hint=f"known: {', '.join(sorted(OVERRIDES))}"
            )
        existing = self._servers.find(step.marker, name)
        if existing is not None and existing["status"] != "ERROR":
            return self._servers.build(step, name, {}, volumes)
        wanted = {**spec, **overrides}
        request: Json = {
            "flavorRef": self._servers.flavor_id(str(wanted["flavor"])),
            "metadata": wanted.get("metadata") or {},
            "networks": self._networks(step, wanted, overrides),
        }
        for key in ("key_name", "availability_zone", "description", "config_drive"):
            if wanted.get(key):
                request[key] = wanted[key]
        if wanted.get("tags"):
            request["tags"] = list(wanted["tags"])
        if request["networks"] not in ("none", "auto") and all(
            "uuid" in item for item in request["networks"]
        ):
            groups = wanted.get("security_groups") or []
            request["security_groups"] = [{"name": group} for group in groups]
        return self._servers.build(step, name, request, volumes)

    def _networks(self, step: Step, wanted: Json, overrides: Json) -> Any:
        """Return Nova's ``networks``: the ports that are free, new ones like those that are not."""
        if "networks" in overrides:
            networks = overrides["networks"]
            return [{"uuid": network} for network in networks] if networks else "none"
        if "ports" in overrides:
            return [{"port": port} for port in overrides["ports"]]
        ports = [self._port(step, number, port) for number, port in enumerate(wanted.get("ports") or [])]
        return [{"port": port} for port in ports] or "none"

    def _port(self, step: Step, number: int, port: Json) -> str:
        """Return the old port when nobody uses it, the one an earlier try made, or a new one like it."""
        try:
            old = self._cloud.neutron.get(f"look at port {port['id']}", f"/ports/{port['id']}")["port"]
            if not old.get("device_id"):
                return str(old["id"])
        except ResourceNotFound:
            pass
        name = f"{PREFIX}{step.marker.job}-{number}"
        made = self._cloud.neutron.get(f"list ports named {name}", "/ports", name=name).get("ports", [])
        if made:
            return str(made[0]["id"])
        request = {
            "network_id": port["network"],
            "name": name,
            "security_groups": port["security_groups"],
            "binding:vnic_type": port["vnic_type"],
        }
        step.check()
        try:
            return self._make({**request, "fixed_ips": port["fixed_ips"]})
        except ProviderError:  # mostly an address that somebody else has by now: the network gives another
            return self._make(request)

    def _make(self, request: Json) -> str:
        answer = self._cloud.neutron.post(f"create port {request['name']}", "/ports", {"port": request})
        return str(answer["port"]["id"])
