"""What the cloud has of what a new server needs, and what stands in the way of one. Changes nothing.

Names and IDs are both understood, as the ``openstack`` client does. A thing that the backup's server had and that is
gone is refused rather than left out where that would change who may reach the server.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from csbsctl.errors import CloudRefused, ResourceNotFound
from csbsctl.model.server import Refusal
from csbsctl.provider import RestorePlan
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.room import against_server
from csbsctl_openstack.servers import Servers
from csbsctl_openstack.wire import GIB, gib
from csbsctl_openstack.wishes import NONE, Wishes

Json = dict[str, Any]

_WRONG = "CSBS.9001"


class Offers:
    """Looks things up; what is asked for again and again is read once."""

    def __init__(self, cloud: Cloud, servers: Servers) -> None:
        self._cloud = cloud
        self._servers = servers

    def against(self, plan: RestorePlan, wishes: Wishes) -> Iterator[Refusal]:
        """Yield what the cloud does not have of a server, each with the setting that names something else."""
        spec = plan.backup.spec
        flavor = wishes.flavor or spec.get("flavor")
        try:
            flavor_id = self._servers.flavor_id(str(flavor))
        except CloudRefused:
            yield Refusal("CSBS.6019", f"flavor {flavor} is not there: name another one, --set flavor=NAME")
        else:
            yield from against_server(self._cloud, flavor_id)
            yield from self._against_root(plan, str(flavor), flavor_id)
        zone = wishes.zone or spec.get("availability_zone")
        if zone and zone not in self._zones:
            known = ", ".join(sorted(self._zones))
            yield Refusal(
                "CSBS.6025", f"zone {zone} is not there: --set availability_zone=NAME, one of {known}"
            )
        if wishes.key and wishes.key != NONE and not self._has_key(wishes.key):
            yield Refusal(_WRONG, f"key pair {wishes.key} is not there, or another user's")
        yield from self._against_ports(spec, wishes)

    def _against_root(self, plan: RestorePlan, flavor: str, flavor_id: str) -> Iterator[Refusal]:
        """Yield that a flavor has no room for a root disk that is no volume."""
        sizes = [m.stored.size for m in plan.mappings if marks.is_image(m.stored.ref)]
        if not sizes:
            return
        answer = self._cloud.nova.get(f"look at flavor {flavor}", f"/flavors/{flavor_id}")
        room = answer["flavor"]["disk"]
        if room * GIB < sizes[0] and (room or flavor != plan.backup.spec.get("flavor")):
            yield Refusal(
                "CSBS.6024",
                f"flavor {flavor} has a root disk of {room} GiB, and {gib(sizes[0])} GiB are needed: --set flavor=NAME",
            )

    def against_disks(self, plan: RestorePlan, wishes: Wishes) -> Iterator[Refusal]:
        """Yield the volume types of new volumes that the cloud does not have."""
        disks = {name for volume in plan.backup.volumes for name in (volume.volume_id, volume.name)}
        for name in sorted(wishes.types.keys() - disks - {""}):
            yield Refusal("CSBS.6017", f"{name!r} is not a disk of backup {plan.backup.name}")
        for stored in (mapping.stored for mapping in plan.mappings):
            kind = wishes.type_of(stored)
            if kind and kind not in self._types:
                yield Refusal(
                    "CSBS.6013",
                    f"volume {stored.name}: volume type {kind} is gone or private: "
                    f"--set volume_type={stored.name}=TYPE",
                )
            elif stored.extra.get("encrypted") and not self._is_type(kind, own := stored.extra.get("type")):
                yield Refusal(
                    "CSBS.6013",
                    f"volume {stored.name} is encrypted: Cinder restores it onto volumes of its own type {own} only, "
                    f"not of {kind}",
                )

    def notes(self, plan: RestorePlan, wishes: Wishes) -> Iterator[str]:
        """Yield what the new server will not have like the old one, and what may surprise."""
        key = plan.backup.spec.get("key_name")
        if key and wishes.key is None and not self._has_key(key):
            yield f"key pair {key} is gone or another user's: the new server has none (--set key_name=NAME)"
        if not plan.power_on:
            yield "Nova only creates running servers: the new one is started and stopped at once"
        if any(port["fixed_ips"] for port in self._old_ports(plan.backup.spec, wishes)):
            yield "fixed addresses are kept where they are free, else the networks give new ones"
        if any(body["name"] == plan.name for body in self._servers.named(str(plan.name))):
            yield f"there is a server named {plan.name} already: this makes another one"

    def key(self, spec: Json, wishes: Wishes) -> str | None:
        """Return the key pair that a new server gets; those of other users cannot be given."""
        wanted = wishes.key or spec.get("key_name")
        return str(wanted) if wanted and wanted != NONE and self._has_key(wanted) else None

    def network(self, name: str) -> str:
        """Return the ID of a network. Raises CloudRefused when none, or several, have that name."""
        return self._one("network", "/networks", "networks", name)

    def group(self, name: str) -> str:
        """Return the ID of a security group. Raises CloudRefused when none, or several, have that name."""
        return self._one("security group", "/security-groups", "security_groups", name)

    def volume_zone(self, zone: str | None) -> str | None:
        """Return where volumes of a server in a zone belong: in Cinder's zone of that name, if it has one."""
        return zone if zone in self._volume_zones else None

    def _against_ports(self, spec: Json, wishes: Wishes) -> Iterator[Refusal]:
        for name in wishes.ports or ():
            yield from self._against_port(name)
        old = self._old_ports(spec, wishes)
        yield from _each(self.network, [*(wishes.networks or ()), *(port["network"] for port in old)])
        groups = wishes.groups
        if groups is None and wishes.ports is None:
            groups = tuple(group for port in old for group in port["security_groups"])
            if wishes.networks:
                groups = tuple(spec.get("security_groups") or ())
        yield from _each(self.group, groups or ())

    def _against_port(self, port_id: str) -> Iterator[Refusal]:
        try:
            port = self._cloud.neutron.get(f"look at port {port_id}", f"/ports/{port_id}")["port"]
        except ResourceNotFound:
            yield Refusal(_WRONG, f"port {port_id} is not there")
            return
        if port.get("device_id"):
            yield Refusal(_WRONG, f"port {port_id} is in use by server {port['device_id']}")

    def _old_ports(self, spec: Json, wishes: Wishes) -> list[Json]:
        return [] if wishes.networks is not None or wishes.ports is not None else list(spec.get("ports", []))

    def _one(self, what: str, path: str, key: str, name: str) -> str:
        """Return the ID of the one thing that has a name or ID."""
        found = self._cloud.neutron.get(f"look for {what} {name}", path, name=name)[key]
        found = found or self._cloud.neutron.get(f"look for {what} {name}", path, id=name)[key]
        ids = sorted({str(item["id"]) for item in found})
        if len(ids) == 1:
            return ids[0]
        option = what.replace(" ", "_")
        if ids:
            raise CloudRefused(f"{what} {name} is not one: {', '.join(ids)}", code=_WRONG, hint="give the ID")
        raise CloudRefused(
            f"{what} {name} is not there", code=_WRONG, hint=f"name another one, --set {option}=NAME"
        )

    def _has_key(self, name: str) -> bool:
        try:
            self._cloud.nova.get(f"look for key pair {name}", f"/os-keypairs/{name}")
        except ResourceNotFound:
            return False
        return True

    @functools.cached_property
    def _zones(self) -> frozenset[str]:
        answer = self._cloud.nova.get("list zones", "/os-availability-zone")
        return frozenset(zone["zoneName"] for zone in answer["availabilityZoneInfo"])

    @functools.cached_property
    def _volume_zones(self) -> frozenset[str]:
        answer = self._cloud.cinder.get("list zones of volumes", "/os-availability-zone")
        return frozenset(z["zoneName"] for z in answer["availabilityZoneInfo"] if z["zoneState"]["available"])

    def _is_type(self, words: str | None, name: str | None) -> bool:
        """Whether a volume type's name or ID means the type of a name."""
        return words == name or self._types.get(str(words)) == self._types.get(str(name))

    @functools.cached_property
    def _types(self) -> dict[str, str]:
        """IDs of volume types by name, and by themselves."""
        found = self._cloud.cinder.pages("list volume types", "/types", "volume_types")
        return {name: item["id"] for item in found for name in (item["name"], item["id"])}


def _each(look: Any, names: Iterable[str]) -> Iterator[Refusal]:
    for name in dict.fromkeys(names):
        try:
            look(name)
        except CloudRefused as error:
            yield Refusal(error.code, f"{error.message}: {error.hint}")
