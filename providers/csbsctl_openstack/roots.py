"""Root disks that are no volumes: a server that boots from an image has its root with the hypervisor, out of Cinder's reach.

Nova makes an image of such a disk, and the image is the stored disk: whole every time, standing on nothing, in Glance.
An image says from birth whose it is, in its name. Everything else stands in tags: properties would go over to servers
that are built from it, and from there to images that users make of those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CloudRefused, CloudUnavailable, CsbsError, ProviderError, ResourceNotFound
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl.model.server import Server, Volume
from csbsctl.provider import Damage, Marker, Step, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.waiting import FAILED, poll
from csbsctl_openstack.wire import GIB

Json = dict[str, Any]

_ASKED = Boundary("openstack.root.asked", "Nova was asked for an image of a root disk")
_TAG = f"{marks.PREFIX}disk"
_STORED = f"{marks.PREFIX}stored"
"""On an image that is part of a backup, and no longer a snapshot only."""
_ROLE = "root"
_LENGTH = 200
"""Characters of a packed document in one tag, which holds 255 with its key."""
_GRACE = 5
"""Looks at an image that Nova is done with and Glance does not call active yet."""


class Roots:
    """Makes, finds, checks and deletes images of root disks."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._glance = cloud.glance

    def get(self, image_id: str) -> Json:
        """Return Glance's document of an image. Raises ResourceNotFound."""
        return self._glance.get(f"look at image {image_id}", f"/images/{image_id}")

    def find(self, marker: Marker) -> list[Json]:
        """Return the images that were begun under a marker, whatever became of them."""
        name = marks.describe(marker, _ROLE)
        found = self._glance.pages(f"list images named {name}", "/images", "images", name=name)
        return [image for image in found if image["status"] not in {"deleted", "pending_delete"}]

    def shoot(self, step: Step, server: Server, *, patience: timedelta, hint: str | None) -> Json:
        """Have Nova make an image of a server's root, and return it once Nova has let go of the server.

        Raises:
            CloudRefused: it took longer than ``patience``, with ``hint``; what was made until then is deleted.
            CloudUnavailable: Nova gave it up.
        """
        step.check()
        what = f"make an image of the root of server {server.name}"
        name = marks.describe(step.marker, _ROLE)
        answer = self._cloud.nova.post(
            what, f"/servers/{server.id}/action", {"createImage": {"name": name, "metadata": {}}}
        )
        image_id = str(answer["image_id"])
        _ASKED()
        try:
            self._until_done(step, server, what, patience, hint)
            return self._until_active(image_id, what)
        except CsbsError:
            with suppress(ProviderError):
                self.drop(
                    image_id
                )  # Nova ends an upload that nobody wants, and the server is free the sooner
            raise

    def seal(self, image: Json, document: Json) -> None:
        """Say on the image of a root that the set it belongs to is whole, and what it is."""
        self._tag(image, {marks.SEALED: str(document["count"]), **marks.pack(document, "seal", _LENGTH)})

    def sealed(self, images: list[Json], snapshots: list[Json]) -> Json | None:
        """Return what the seal of a set says, or None when it has none or is not whole."""
        if len(images) != 1 or images[0]["status"] != "active":
            return None
        tags = _tags(images[0])
        if tags.get(marks.SEALED) != str(len(snapshots) + 1):
            return None
        return marks.unpack(tags, "seal")

    def release(self, image_id: str) -> None:
        """Delete the image of a root that became no part of a backup; one that did stays."""
        try:
            image = self.get(image_id)
        except ResourceNotFound:
            return
        if _STORED not in _tags(image):
            self.drop(image_id)

    def drop(self, image_id: str) -> None:
        """Delete an image; already gone is fine."""
        try:
            self._glance.delete(f"delete image {image_id}", f"/images/{image_id}")
        except ResourceNotFound:
            return

    def store(self, step: Step, snapshot: VolumeSnapshot) -> StoredVolume:
        """Make the image of a root a part of its backup: it is stored already, and now says so."""
        image = self.get(marks.image_id(snapshot.ref))
        volume = snapshot.volume
        size = volume.size or image.get("virtual_size") or image["size"]
        step.progress(0, size)
        document = {
            "id": volume.id,
            "name": volume.name,
            "size": size,
            "server": snapshot.extra["document"],
            "about": step.about,
        }
        step.check()
        self._tag(
            image, {_STORED: "1", **marks.metadata(step.marker), **marks.pack(document, "data", _LENGTH)}
        )
        step.progress(size, size)
        return stored_of(self.get(image["id"]))

    def delete(self, step: Step, stored: StoredVolume) -> None:
        """Delete the image of a root; already gone is fine.

        Raises:
            CloudRefused: somebody protected it in Glance.
            ResourceConflict: Glance's store needs it for servers that were built from it.
        """
        image_id = marks.image_id(stored.ref)
        step.check()
        try:
            self.drop(image_id)
        except CloudRefused as error:
            raise CloudRefused(
                error.message,
                hint=f"where somebody protected it: openstack image set --unprotected {image_id}",
                request_id=error.request_id,
            ) from error

    def protect(self, step: Step, stored: StoredVolume, *, protected: bool) -> None:
        """Note on the image of a root whether its backup is protected; one that is gone is left at that."""
        try:
            image = self.get(marks.image_id(stored.ref))
        except ResourceNotFound:
            return
        step.check()
        self._tag(image, {marks.PROTECTED: "yes" if protected else None})

    def check(self, stored: StoredVolume) -> list[Damage]:
        """Say what is wrong with the image of a root as far as Glance's records tell; nothing is read."""
        image_id = marks.image_id(stored.ref)
        try:
            image = self.get(image_id)
        except ResourceNotFound:
            return [Damage(f"image {image_id} is gone from Glance")]
        if image["status"] != "active":
            return [Damage(f"image {image_id} is {image['status']}")]
        now, then = _facts(image), stored.extra
        return [
            Damage(f"image {image_id} is not what was stored: its {key} was {then[key]} and is {now[key]}")
            for key in now
            if then.get(key) != now[key]
        ]

    def left(self) -> Iterator[Json]:
        """Yield Glance's documents of the project's images that are roots of ours, finished or not."""
        for image in self._glance.pages("list images", "/images", "images", owner=self._cloud.project_id):
            if marker_of(image):
                yield image

    def _tag(self, image: Json, more: dict[str, str | None]) -> None:
        """Add to an image's tags, and take off those that are None; users' own stay."""
        ours = _tags(image) | more
        theirs = [tag for tag in image.get("tags", []) if not tag.startswith(marks.PREFIX)]
        tags = sorted([*theirs, _TAG, *(f"{key}={value}" for key, value in ours.items() if value)])
        self._glance.patch(
            f"tag image {image['id']}",
            f"/images/{image['id']}",
            [{"op": "replace", "path": "/tags", "value": tags}],
        )

    def _until_done(
        self, step: Step, server: Server, what: str, patience: timedelta, hint: str | None
    ) -> None:
        """Wait until Nova works on the server no more: until then it cannot even be resumed."""
        clock = self._cloud.clock
        end = clock.monotonic() + patience.total_seconds()

        def look() -> Json:
            body: Json = self._cloud.nova.get(f"look at server {server.id}", f"/servers/{server.id}")[
                "server"
            ]
            return {"status": body.get("OS-EXT-STS:task_state") or "done"}

        def done(seen: Json) -> bool:
            if seen["status"] != "done" and clock.monotonic() > end:
                raise CloudRefused(f"{what}: Nova still says {seen['status']} after {patience}", hint=hint)
            return bool(seen["status"] == "done")

        poll(look, done, clock=clock, deadline=2 * patience, what=what, every=0.3, check=step.check)

    def _until_active(self, image_id: str, what: str) -> Json:
        for _ in range(_GRACE):
            try:
                image = self.get(image_id)
            except ResourceNotFound:
                break
            if image["status"] == "active":
                return image
            if image["status"] in FAILED:
                break
            self._cloud.clock.sleep(1)
        raise CloudUnavailable(f"{what}: Nova gave it up, and tells its operator why, but not you")


def root_of(body: Json, position: int = 0) -> Volume:
    """Return the root disk of a server that boots from an image; ``size`` is 0 where the flavor leaves it to the image."""
    return Volume(
        id=f"root-{body['id']}",
        name=f"{body['name']}-root",
        size=int(body["flavor"].get("disk") or 0) * GIB,
        bootable=True,
        position=position,
    )


def marker_of(image: Json) -> Marker | None:
    """Return the marker of an image of a root, or None where it is no such image."""
    tags = image.get("tags", [])
    if _TAG in tags and (marker := marks.marker_of(_tags(image))):
        return marker
    found = marks.described(image.get("name"))
    return found[0] if found and found[1] == _ROLE else None


def is_stored(image: Json) -> bool:
    """Whether an image of a root is part of a backup."""
    return _STORED in _tags(image)


def stored_of(image: Json) -> StoredVolume:
    """Return the record of a stored root from Glance's document alone."""
    facts = marks.unpack(_tags(image))
    size = image.get("size") or 0
    return StoredVolume(
        volume_id=facts.get("id", image["id"]),
        name=facts.get("name", image["id"]),
        size=facts.get("size", size),
        bootable=True,
        position=0,
        ref=marks.IMAGE + image["id"],
        kind=Kind.FULL,
        stored=size,
        extra=_facts(image),
    )


def tags_of(image: Json) -> Json:
    """Return what an image's tags say, in the form of Cinder's metadata."""
    return {"metadata": _tags(image)}


def _facts(image: Json) -> Json:
    """Return what Glance says of the bytes of an image, which never change."""
    return {
        "image_size": image.get("size"),
        "image_hash": image.get("os_hash_value") or image.get("checksum"),
    }


def _tags(image: Json) -> dict[str, str | None]:
    pairs = (tag.partition("=") for tag in image.get("tags", []) if tag.startswith(marks.PREFIX))
    return {key: value for key, sign, value in pairs if sign}
