"""Cinder volumes during a restore: made from backups, restored onto, attached, detached, deleted.

Every function is idempotent: it looks first and goes on from what it finds. New volumes are marked in their
description, which Cinder keeps while it replaces their metadata by the backup's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CloudUnavailable, ProviderError, ResourceConflict, ResourceNotFound
from csbsctl.model.backup import StoredVolume
from csbsctl.provider import Marker, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud, Service
from csbsctl_openstack.waiting import FAILED, Hub, poll
from csbsctl_openstack.wire import gib, truth

Json = dict[str, Any]

_MADE = Boundary("openstack.volume.made", "a new volume is being filled from a backup")
_DETACHED = Boundary("openstack.volume.detached", "a volume is off its server, to be restored onto")
_ONTO = Boundary("openstack.volume.onto", "Cinder was asked to restore onto an existing volume")
_MESSAGES = "3.5"
_ON_A_SERVER = frozenset({"attaching", "in-use", "reserved"})
"""A volume is put onto a server only when it is whole."""


class Volumes:
    """Works on volumes."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._cinder = cloud.cinder
        self._hub = Hub(self.get, self._all, cloud.clock)

    def get(self, volume_id: str) -> Json:
        """Return Cinder's document of a volume. Raises ResourceNotFound."""
        body: Json = self._cinder.get(f"look at volume {volume_id}", f"/volumes/{volume_id}")["volume"]
        return body

    def exists(self, volume_id: str) -> bool:
        """Whether Cinder has a volume."""
        try:
            self.get(volume_id)
        except ResourceNotFound:
            return False
        return True

    def find(self, marker: Marker, role: str, name: str) -> Json | None:
        """Return the volume that carries a marker and a role, or None."""
        for item in self._cinder.pages(f"list volumes named {name}", "/volumes/detail", "volumes", name=name):
            found = marks.described(item.get("description"))
            if found and marks.identity(found[0]) == marks.identity(marker) and found[1] == role:
                return item
        return None

    def from_backup(
        self,
        step: Step,
        stored: StoredVolume,
        *,
        name: str,
        size: int,
        role: str,
        kind: str | None = None,
        zone: str | None = None,
        snapshot: str | None = None,
    ) -> Json:
        """Return a new volume with a backup's bytes (an image's for a root that was none), maybe already on the server that an earlier try built with it.

        ``size`` in bytes may be larger than the backup's; ``kind`` is a volume type, that of the backup's volume where
        None; ``zone`` is one of Cinder's, its default where None; ``snapshot`` is one that was kept of the same bytes.
        """
        step.progress(0, stored.size)
        mine = self.find(step.marker, role, name)
        if mine is not None and mine["status"] in _ON_A_SERVER:
            step.progress(stored.size, stored.size)
            return mine
        if mine is not None and mine["status"] in FAILED:
            self.delete(step, mine["id"])
            mine = None
        if mine is None:
            source = {"snapshot_id": snapshot} if snapshot else _source_of(stored)
            request = {"name": name, "size": gib(size), "volume_type": kind or stored.extra.get("type")}
            zoned = {"availability_zone": zone} if zone else {}
            mine = self._create(step, role, {**request, **source, **zoned})
            _MADE()
        filled = self._until_filled(step, stored, mine["id"])
        if truth(mine.get("encrypted")) and stored.extra.get("encrypted") is False:
            self._refuse_plain(step, stored, mine)
        if stored.bootable and not truth(filled.get("bootable")):
            self._cinder.post(
                f"make volume {name} bootable",
                f"/volumes/{filled['id']}/action",
                {"os-set_bootable": {"bootable": True}},
            )
        return filled

    def onto(self, step: Step, stored: StoredVolume, volume_id: str) -> Json:
        """Restore a backup onto an available volume, overwriting it, and return the volume."""
        step.progress(0, stored.size)
        if self.get(volume_id)["status"] != "restoring-backup":  # an earlier try may have got so far
            step.check()
            self._cinder.post(
                f"restore backup {stored.ref} onto volume {volume_id}",
                f"/backups/{stored.ref}/restore",
                {"restore": {"volume_id": volume_id}},
            )
            _ONTO()
        return self._until_filled(step, stored, volume_id)

    def revert(self, step: Step, stored: StoredVolume, volume_id: str, snapshot: str) -> Json:
        """Take an available volume back to its newest snapshot, and return the volume."""
        step.progress(0, stored.size)
        if self.get(volume_id)["status"] != "reverting":  # an earlier try may have got so far
            step.check()
            self._cinder.post(
                f"take volume {volume_id} back to snapshot {snapshot}",
                f"/volumes/{volume_id}/action",
                {"revert": {"snapshot_id": snapshot}},
            )
            _ONTO()
        return self._until_filled(step, stored, volume_id)

    def detach(self, step: Step, server_id: str, volume_id: str) -> None:
        """Take a volume off a server; already off is fine."""
        body = self.get(volume_id)
        if any(item["server_id"] == server_id for item in body["attachments"]) and body["status"] == "in-use":
            step.check()
            with suppress(ResourceNotFound):
                self._cloud.nova.delete(
                    f"detach volume {volume_id}", f"/servers/{server_id}/os-volume_attachments/{volume_id}"
                )
        self._until(step, volume_id, "available", f"detach volume {volume_id}")
        _DETACHED()

    def attach(
        self, step: Step, server_id: str, volume_id: str, *, delete_on_termination: bool = False
    ) -> None:
        """Put a volume onto a server; already there is fine."""
        body = self.get(volume_id)
        if not any(item["server_id"] == server_id for item in body["attachments"]) and body["status"] not in {
            "attaching",
            "reserved",
        }:
            step.check()
            attachment = {"volumeId": volume_id, "delete_on_termination": delete_on_termination}
            self._cloud.nova.post(
                f"attach volume {volume_id}",
                f"/servers/{server_id}/os-volume_attachments",
                {"volumeAttachment": attachment},
            )
        self._until(step, volume_id, "in-use", f"attach volume {volume_id}")

    def rename(self, step: Step, volume_id: str, name: str, description: str) -> Json:
        """Give a volume a name and a description, which takes its marker off, and return Cinder's document of it."""
        step.check()
        body: Json = self._cinder.put(
            f"rename volume {volume_id}",
            f"/volumes/{volume_id}",
            {"volume": {"name": name, "description": description}},
        )["volume"]
        return body

    def reset(self, step: Step, admin: Service, volume_id: str, status: str) -> None:
        """Have an administrator set a volume's state; the attachment itself is left alone."""
        step.check()
        wanted = {"status": status} | ({"attach_status": "attached"} if status == "in-use" else {})
        admin.post(
            f"reset the state of volume {volume_id}",
            f"/volumes/{volume_id}/action",
            {"os-reset_status": wanted},
        )

    def delete(self, step: Step, volume_id: str) -> None:
        """Delete a volume and wait until it is gone; already gone is fine.

        Raises:
            ResourceConflict: it is attached to a server.
        """
        with suppress(ResourceNotFound):
            if self.get(volume_id)["status"] == "in-use":
                raise ResourceConflict(f"volume {volume_id} is attached to a server")
        clock = self._cloud.clock
        end = clock.monotonic() + self._cloud.settings.deadlines.volume.total_seconds()
        while True:
            step.check()
            try:
                self._cinder.delete(f"delete volume {volume_id}", f"/volumes/{volume_id}")
                break
            except ResourceNotFound:
                return
            except ResourceConflict:
                if clock.monotonic() > end:
                    raise
                clock.sleep(1)
        self._hub.wait(
            volume_id,
            lambda seen: seen["status"] in FAILED | {"gone", "available"},
            deadline=self._cloud.settings.deadlines.volume,
            what=f"delete volume {volume_id}",
            check=step.check,
        )

    def why(self, volume_id: str) -> str:
        """Return what Cinder tells users of a volume that failed, '' when nothing."""
        try:
            answer = self._cinder.get(
                "list messages", "/messages", microversion=_MESSAGES, resource_uuid=volume_id
            )
        except ProviderError:
            return ""
        messages = sorted(answer.get("messages", []), key=lambda item: item["created_at"])
        return str(messages[-1]["user_message"]) if messages else ""

    def _create(self, step: Step, role: str, request: Json) -> Json:
        request = {**request, "description": marks.describe(step.marker, role)}
        step.check()
        made: Json = self._cinder.post(f"create volume {request['name']}", "/volumes", {"volume": request})[
            "volume"
        ]
        return made

    def _refuse_plain(self, step: Step, stored: StoredVolume, made: Json) -> None:
        """Delete a new volume that was to be encrypted, and say why: Cinder laid a plain volume's bytes onto it in plain.

        Which volume types are encrypted, only administrators can ask; of a volume that is being made everybody sees it.
        """
        self.delete(step, made["id"])
        kind = made.get("volume_type")
        raise CloudRefused(
            f"restore volume {stored.name}: volumes of type {kind} are encrypted, the backup's was not, and Cinder "
            "restores it in plain whatever the type says",
            code="CSBS.6013",
            hint=f"name a type that is not encrypted (--set volume_type={stored.name}=TYPE), and encrypt the volume "
            f"then: openstack volume set --type {kind} --retype-policy on-demand VOLUME",
        )

    def _until_filled(self, step: Step, stored: StoredVolume, volume_id: str) -> Json:
        what = f"restore volume {stored.name}"
        body = self._hub.wait(
            volume_id,
            lambda seen: seen["status"] in FAILED | {"available", "gone"},
            deadline=self._cloud.settings.deadlines.restore,
            what=what,
            check=step.check,
        )
        if body["status"] != "available":
            reason = self.why(volume_id)
            raise CloudUnavailable(
                f"{what}: volume {volume_id} is {body['status']}{reason and ': ' + reason}"
            )
        step.progress(stored.size, stored.size)
        return body

    def _until(self, step: Step, volume_id: str, status: str, what: str) -> None:
        def done(seen: Json) -> bool:
            if seen["status"] in FAILED:
                raise CloudUnavailable(f"{what}: it ended in state {seen['status']}")
            return bool(seen["status"] == status)

        poll(
            lambda: self.get(volume_id),
            done,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.volume,
            what=what,
            check=step.check,
        )

    def _all(self) -> list[Json]:
        return list(self._cinder.pages("list volumes", "/volumes/detail", "volumes"))


def _source_of(stored: StoredVolume) -> Json:
    if marks.is_image(stored.ref):
        return {"imageRef": marks.image_id(stored.ref)}
    return {"backup_id": stored.ref}
