"""Everything in the cloud that carries csbsctl's marker, and how each kind of it is removed.

A server that is still paused is listed as a snapshot, for it is one that was not finished: removing it resumes the
server. What is whole and in use is listed too, and says so in its details: whose leftover it is, the core knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from csbsctl.clock import parse_instant
from csbsctl.errors import ResourceNotFound
from csbsctl.provider import Marked, MarkedKind, Marker, Step
from csbsctl_openstack import marks, roots
from csbsctl_openstack.backup import Backups, about_of, server_of, stored_of
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.consistency import Photographer
from csbsctl_openstack.grouping import Grouper
from csbsctl_openstack.image import Images, snapshot_ids
from csbsctl_openstack.interfaces import delete_port, unused_ports
from csbsctl_openstack.pausing import paused_by
from csbsctl_openstack.roots import Roots
from csbsctl_openstack.servers import Servers
from csbsctl_openstack.snapshots import SnapshotSet
from csbsctl_openstack.uploads import Uploads, marker_of
from csbsctl_openstack.volumes import Volumes
from csbsctl_openstack.waiting import poll
from csbsctl_openstack.wire import GIB, instant

Json = dict[str, Any]

_PAUSE = "pause/"
_IMAGE_FIELDS = ("vault", "job", "server", "backup")
_PATIENCE = timedelta(seconds=60)


class Leftovers:
    """Lists and removes what is marked."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        photographer: Photographer,
        backups: Backups,
        roots: Roots,
        volumes: Volumes,
        servers: Servers,
        images: Images,
    ) -> None:
        self._cloud = cloud
        self._photographer = photographer
        self._backups = backups
        self._roots = roots
        self._volumes = volumes
        self._servers = servers
        self._images = images
        self._set = SnapshotSet(cloud)
        self._grouper = Grouper(cloud)
        self._uploads = Uploads(cloud, volumes)

    def marked(self, vault_id: str | None) -> Iterator[Marked]:
        """Yield everything marked by one vault, or by all."""
        cinder, nova = self._cloud.cinder, self._cloud.nova
        snapshots, backups, volumes, servers, images, uploads, roots, ports = self._cloud.side_by_side(
            lambda: list(cinder.pages("list snapshots", "/snapshots/detail", "snapshots")),
            lambda: list(cinder.pages("list backups", "/backups/detail", "backups")),
            lambda: list(cinder.pages("list volumes", "/volumes/detail", "volumes")),
            lambda: list(nova.pages("list servers", "/servers/detail", "servers")),
            lambda: list(self._images.parts()),
            lambda: list(self._uploads.left()),
            lambda: list(self._roots.left()),
            lambda: list(unused_ports(self._cloud)),
        )
        kept = {item["id"] for item in snapshots if marks.KEPT in (item.get("metadata") or {})}
        pointed = {snapshot for image in images for snapshot in snapshot_ids(image)}
        behind = {item["volume_id"] for item in snapshots if item["id"] in pointed}
        everything = [
            *map(_snapshot, (item for item in snapshots if item["id"] not in pointed)),
            *(_backup(item, kept) for item in backups),
            *map(_volume, (item for item in volumes if item["id"] not in behind)),
            *map(_server, servers),
            *map(_pause, servers),
            *map(_image, images),
            *map(_upload, uploads),
            *map(_root, roots),
            *map(_port, ports),
            *map(_group, self._grouper.left()),
        ]
        yield from (
            item for item in everything if item and (vault_id is None or item.marker.vault == vault_id)
        )

    def remove(self, step: Step, marked: Marked) -> None:
        """Remove one thing; already gone is fine.

        Raises:
            ResourceConflict: something depends on it, or the cloud still works on it.
        """
        match marked.kind:
            case MarkedKind.SNAPSHOT if marked.ref.startswith(_PAUSE):
                self._resume(marked.ref.removeprefix(_PAUSE))
            case MarkedKind.SNAPSHOT if marked.ref.startswith(marks.GROUP):
                self._grouper.clear(step, marked.ref.removeprefix(marks.GROUP))
            case MarkedKind.SNAPSHOT | MarkedKind.BACKUP if marks.is_image(marked.ref):
                self._remove_root(step, marked)
            case MarkedKind.SNAPSHOT:
                self._set.delete(step, [marked.ref])
            case MarkedKind.BACKUP:
                self._remove_backup(step, marked)
            case MarkedKind.VOLUME:
                self._volumes.delete(step, marked.ref)
            case MarkedKind.SERVER:
                self._servers.delete(step, marked.ref)
            case MarkedKind.IMAGE:
                self._images.delete(step, marked.ref)
            case MarkedKind.PORT:
                delete_port(self._cloud, step, marked.ref)

    def _resume(self, server_id: str) -> None:
        try:
            self._photographer.rescue(server_id)
        except ResourceNotFound:
            return

    def _remove_root(self, step: Step, marked: Marked) -> None:
        if marked.stored:
            self._roots.delete(step, marked.stored)
        else:
            step.check()
            self._roots.release(marks.image_id(marked.ref))

    def _remove_backup(self, step: Step, marked: Marked) -> None:
        """Delete a backup; one that Cinder still makes cannot be, and is given a minute to be done."""
        assert marked.stored
        with suppress(ResourceNotFound):
            poll(
                lambda: self._backups.get(marked.ref),
                lambda seen: bool(seen["status"] not in {"creating", "restoring"}),
                clock=self._cloud.clock,
                deadline=_PATIENCE,
                what=f"wait for backup {marked.ref}",
                check=step.check,
            )
        self._backups.delete(step, marked.stored)


def _snapshot(item: Json) -> Marked | None:
    marker = marks.marker_of(item.get("metadata"))
    if marker is None:
        return None
    when = instant(item["created_at"])
    return Marked(MarkedKind.SNAPSHOT, item["id"], marker, when, item["size"] * GIB)


def _backup(item: Json, kept: frozenset[str] | set[str]) -> Marked | None:
    marker = marks.marker_of(item.get("metadata"))
    if marker is None:
        return None
    stored = stored_of(item)
    if item.get("snapshot_id") in kept:
        stored = stored.model_copy(update={"extra": {**stored.extra, "snapshot": item["snapshot_id"]}})
    complete = item["status"] in {"available", "restoring"}
    details = _details(marker, item, complete=complete)
    return Marked(
        MarkedKind.BACKUP, item["id"], marker, instant(item["created_at"]), stored.size, stored, details
    )


def _details(marker: Marker, item: Json, *, complete: bool) -> Json:
    """Return what a rebuild needs, from something with metadata of ours."""
    server = server_of(item)
    return {
        "complete": complete,
        "server": {"id": marker.server, "name": server.get("server") or marker.server},
        "availability_zone": server.get("zone"),
        "spec": server.get("spec") or {},
        "consistency": server.get("consistency"),
        "method": server.get("method"),
        "evidence": server.get("evidence") or {},
        "taken_at": server.get("taken_at"),
        "volumes": server.get("count"),
        "about": about_of(item),
    }


def _volume(item: Json) -> Marked | None:
    found = marks.described(item.get("description"))
    if found is None:
        return None
    marker, role = found
    when = instant(item["created_at"])
    return Marked(
        MarkedKind.VOLUME,
        item["id"],
        marker,
        when,
        item["size"] * GIB,
        details={"role": role, "attached": bool(item["attachments"])},
    )


def _server(item: Json) -> Marked | None:
    metadata = item.get("metadata") or {}
    marker = marks.marker_of(metadata)
    if marker is None:
        return None
    details = {"built": marks.BUILT in metadata}
    return Marked(MarkedKind.SERVER, item["id"], marker, instant(item["created"]), details=details)


def _pause(item: Json) -> Marked | None:
    found = paused_by(item)
    if found is None:
        return None
    marker, since = found
    return Marked(
        MarkedKind.SNAPSHOT,
        _PAUSE + item["id"],
        marker,
        _when(since),
        details={"paused": item["status"] == "PAUSED"},
    )


def _group(item: Json) -> Marked | None:
    found = marks.described(item.get("description"))
    if found is None:
        return None
    return Marked(MarkedKind.SNAPSHOT, marks.GROUP + item["id"], found[0], instant(item["created_at"]))


def _image(item: Json) -> Marked | None:
    vault, job, server, backup = (str(item.get(f"csbsctl_{name}", "")) for name in _IMAGE_FIELDS)
    marker, size = Marker(vault, job, server, backup), int(item.get("csbsctl_size", 0))
    return Marked(MarkedKind.IMAGE, item["id"], marker, instant(item["created_at"]), size)


def _root(item: Json) -> Marked | None:
    marker, ref, when = roots.marker_of(item), marks.IMAGE + item["id"], instant(item["created_at"])
    if marker is None:
        return None
    if not roots.is_stored(item):
        return Marked(MarkedKind.SNAPSHOT, ref, marker, when, item.get("size") or 0)
    stored = roots.stored_of(item)
    details = _details(marker, roots.tags_of(item), complete=item["status"] == "active")
    return Marked(MarkedKind.BACKUP, ref, marker, when, stored.size, stored, details)


def _upload(item: Json) -> Marked | None:
    marker = marker_of(item)
    if marker is None:
        return None
    return Marked(MarkedKind.IMAGE, item["id"], marker, instant(item["created_at"]), item.get("size") or 0)


def _port(item: Json) -> Marked | None:
    found = marks.described(item.get("description"))
    if found is None:
        return None
    return Marked(MarkedKind.PORT, item["id"], found[0], instant(item.get("created_at")))


def _when(text: str) -> datetime | None:
    try:
        return parse_instant(text)
    except ValueError:
        return None
