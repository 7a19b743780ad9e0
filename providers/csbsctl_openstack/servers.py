"""Nova servers as a restore needs them: stopped, started, built anew, rebuilt, renamed. Idempotent throughout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CloudUnavailable, ResourceConflict, ResourceNotFound
from csbsctl.provider import Marker, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.waiting import poll

Json = dict[str, Any]

_BUILDING = Boundary("openstack.server.building", "Nova was asked to build a server")


class Servers:
    """Works on servers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._nova = cloud.nova

    def get(self, server_id: str) -> Json:
        """Return Nova's document of a server. Raises ResourceNotFound."""
        body: Json = self._nova.get(f"look at server {server_id}", f"/servers/{server_id}")["server"]
        return body

    def stop(self, step: Step, server_id: str) -> None:
        """Shut a server down and wait; already stopped is fine, a paused one is resumed first."""
        body = self._settled(step, server_id)
        if body["status"] == "SHUTOFF":
            return
        if body["status"] == "PAUSED":
            self._act(step, server_id, "unpause", None)
            self.until(step, server_id, "ACTIVE", "resume")
        self._act(step, server_id, "os-stop", None)
        self.until(step, server_id, "SHUTOFF", "stop")

    def start(self, step: Step, server_id: str) -> None:
        """Start a server and wait; already running is fine."""
        if self._settled(step, server_id)["status"] == "ACTIVE":
            return
        self._act(step, server_id, "os-start", None)
        self.until(step, server_id, "ACTIVE", "start")

    def rebuild(self, step: Step, server_id: str, image_id: str) -> None:
        """Write an image over a stopped server's root disk, and leave it stopped; a rebuild under way ends first."""
        patience = self._cloud.settings.deadlines.image
        self._settled(step, server_id, patience)
        self._act(step, server_id, "rebuild", {"imageRef": image_id})
        after = self.until(step, server_id, "SHUTOFF", "rebuild", also="ACTIVE", patience=patience)
        # A server that an earlier rebuild left in error comes back running.
        if after["status"] == "ACTIVE":
            self.stop(step, server_id)

    def rename(self, step: Step, server_id: str, name: str) -> None:
        """Give a server another name."""
        step.check()
        self._nova.put(
            f"rename server {server_id}", f"/servers/{server_id}", {"server": {"name": name[:255]}}
        )

    def detach_port(self, step: Step, server_id: str, port_id: str) -> None:
        """Take a port off a server, the port stays if somebody made it; already off is fine."""
        step.check()
        try:
            self._nova.delete(f"detach port {port_id}", f"/servers/{server_id}/os-interface/{port_id}")
        except ResourceNotFound:
            return

    def find(self, marker: Marker, name: str) -> Json | None:
        """Return the server that was built under a marker, or None."""
        for body in self.named(name):
            if marks.same(marker, body.get("metadata")):
                return body
        return None

    def named(self, name: str) -> Iterator[Json]:
        """Yield the servers that may have a name: a name that Nova could take for a pattern yields all."""
        pattern = f"^{re.escape(name)}$" if re.fullmatch(r"[\w.-]+", name) else ""
        query = {"name": pattern} if pattern else {}
        return self._nova.pages(f"list servers named {name}", "/servers/detail", "servers", **query)

    def build(self, step: Step, name: str, request: Json, disks: Sequence[str]) -> Json:
        """Return a server that boots from the first disk and has the others in order, once it runs.

        Disks are IDs of volumes; the first may be the name of an image, of which the hypervisor makes the root.
        """
        body = self.find(step.marker, name)
        if body is not None and body["status"] == "ERROR":
            self.delete(step, body["id"])
            body = None
        if body is None:
            step.check()
            devices = [_device(disk, number) for number, disk in enumerate(disks)]
            own = {**request.get("metadata", {}), **marks.metadata(step.marker)}
            request = {**request, "name": name, "metadata": own, "block_device_mapping_v2": devices}
            if marks.is_image(disks[0]):
                request["imageRef"] = marks.image_id(disks[0])
            body = self._nova.post(f"build server {name}", "/servers", {"server": request})["server"]
            _BUILDING()
        assert body is not None
        deadlines = self._cloud.settings.deadlines
        patience = deadlines.image if marks.is_image(disks[0]) else deadlines.server
        return self.until(step, body["id"], "ACTIVE", "build", also="SHUTOFF", patience=patience)

    def settle(self, server_id: str) -> None:
        """Say on a server that csbsctl built that it is whole, so that nothing takes it for a leftover."""
        self._nova.post(
            f"mark server {server_id} as built",
            f"/servers/{server_id}/metadata",
            {"metadata": {marks.BUILT: "yes"}},
        )

    def delete(self, step: Step, server_id: str) -> None:
        """Delete a server and wait until it is gone; already gone is fine."""
        step.check()
        try:
            self._nova.delete(f"delete server {server_id}", f"/servers/{server_id}")
        except ResourceNotFound:
            return
        poll(
            lambda: self._or_gone(server_id),
            lambda seen: bool(seen["status"] in {"gone", "DELETED"}),
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.server,
            what=f"delete server {server_id}",
            check=step.check,
        )

    def until(
        self,
        step: Step,
        server_id: str,
        status: str,
        what: str,
        *,
        also: str = "",
        patience: timedelta | None = None,
    ) -> Json:
        """Return a server once it is in a state and has nothing to do. Raises CloudUnavailable when it fails."""

        def done(seen: Json) -> bool:
            if seen["status"] == "ERROR":
                fault = (seen.get("fault") or {}).get("message", "no reason given")
                raise CloudUnavailable(f"{what} server {server_id}: {fault}")
            return seen["status"] in {status, also} and not seen.get("OS-EXT-STS:task_state")

        return poll(
            lambda: self.get(server_id),
            done,
            clock=self._cloud.clock,
            deadline=patience or self._cloud.settings.deadlines.server,
            what=f"{what} server {server_id}",
            check=step.check,
        )

    def flavor_id(self, name: str) -> str:
        """Return the ID of a flavour from its name or ID. Raises CloudRefused when it is gone."""
        for flavor in self._nova.pages("list flavours", "/flavors", "flavors"):
            if name in {flavor["name"], flavor["id"]}:
                return str(flavor["id"])
        raise CloudRefused(
            f"flavour {name} is gone from the cloud", hint="name another one for the new server"
        )

    def _settled(self, step: Step, server_id: str, patience: timedelta | None = None) -> Json:
        return poll(
            lambda: self.get(server_id),
            lambda seen: not seen.get("OS-EXT-STS:task_state"),
            clock=self._cloud.clock,
            deadline=patience or self._cloud.settings.deadlines.server,
            what=f"wait for server {server_id}",
            check=step.check,
        )

    def _act(self, step: Step, server_id: str, action: str, body: Any) -> None:
        step.check()
        try:
            self._nova.post(f"{action} server {server_id}", f"/servers/{server_id}/action", {action: body})
        except ResourceConflict as error:
            if "locked" in error.message:
                raise CloudRefused(f"server {server_id} is locked", hint="unlock it first") from error
            raise

    def _or_gone(self, server_id: str) -> Json:
        try:
            return self.get(server_id)
        except ResourceNotFound:
            return {"status": "gone"}


def _device(disk: str, number: int) -> Json:
    if marks.is_image(disk):
        return {
            "uuid": marks.image_id(disk),
            "source_type": "image",
            "destination_type": "local",
            "boot_index": 0,
            "delete_on_termination": True,
        }
    return {
        "uuid": disk,
        "source_type": "volume",
        "destination_type": "volume",
        "boot_index": 0 if number == 0 else -1,
        "delete_on_termination": False,
    }
