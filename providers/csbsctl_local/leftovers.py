"""What carries a marker in the simulated cloud and in its repository, and how it is removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from csbsctl.clock import parse_instant
from csbsctl.errors import ResourceConflict
from csbsctl.provider import Collected, Marked, MarkedKind, Step
from csbsctl_local.imaging import remove_image
from csbsctl_local.shelf import ShelfRecord, stored_volume
from csbsctl_local.steps import Site, read_marker


class Leftovers:
    """Finds and removes what jobs made."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def marked(self, vault_id: str | None) -> Iterator[Marked]:
        """Yield everything that carries a marker, of one vault or of all."""
        for each in (self._snapshots, self._volumes, self._servers, self._images, self._backups):
            for marked in each():
                if vault_id in (None, marked.marker.vault):
                    yield marked

    def remove(self, step: Step, marked: Marked) -> None:
        """Remove one; already gone is fine."""
        self._site.begin("remove", step, marked.marker.server)
        cloud = self._site.cloud
        match marked.kind:
            case MarkedKind.SNAPSHOT:
                cloud.snapshots.release(marked.ref)
            case MarkedKind.BACKUP:
                self._site.shelf.delete(marked.ref)
            case MarkedKind.VOLUME:
                cloud.volumes.remove(marked.ref)
            case MarkedKind.SERVER:
                cloud.machines.delete(marked.ref)
            case MarkedKind.IMAGE:
                remove_image(self._site, marked.ref)
            case MarkedKind.PORT:
                pass  # there is no network in this cloud
            case never:
                assert_never(never)

    def collect(self, step: Step, open_jobs: frozenset[str]) -> Collected:
        """Free what nothing needs, in the repository and in the cloud's folder."""
        self._site.cloud.faults.meet("collect")
        step.check()
        self._site.cloud.sweep()
        done = self._site.shelf.repository.collect(job=step.marker.job, open_jobs=open_jobs, check=step.check)
        if done.busy:
            raise ResourceConflict(f"another collection is at work: job {done.busy}")
        return Collected(freed=done.freed, condemned=done.condemned)

    def _snapshots(self) -> Iterator[Marked]:
        for taken in self._site.cloud.snapshots.list():
            yield Marked(
                MarkedKind.SNAPSHOT,
                taken.id,
                read_marker(taken.marker),
                created_at=taken.taken_at,
                size=sum(volume["size"] for volume in taken.record["volumes"]),
                details={"server": taken.server, "method": taken.method},
            )

    def _volumes(self) -> Iterator[Marked]:
        for volume in self._site.cloud.volumes.loose():
            if volume.marker:
                yield Marked(
                    MarkedKind.VOLUME,
                    volume.id,
                    read_marker(volume.marker),
                    created_at=volume.created_at,
                    size=volume.size,
                    details=volume.details | {"state": volume.state},
                )

    def _servers(self) -> Iterator[Marked]:
        for server_id, marker in self._site.cloud.volumes.built():
            server = self._site.cloud.inventory.server(server_id)
            yield Marked(
                MarkedKind.SERVER,
                server_id,
                read_marker(marker),
                created_at=server.created_at,
                size=sum(volume.size for volume in server.volumes),
                details={"name": server.name, "state": server.state.value},
            )

    def _images(self) -> Iterator[Marked]:
        for image in self._site.cloud.images.list():
            yield Marked(
                MarkedKind.IMAGE,
                image.id,
                read_marker(image.marker),
                created_at=image.created_at,
                size=image.size,
                details={"name": image.name, "backup": image.backup, "state": image.state},
            )

    def _backups(self) -> Iterator[Marked]:
        for record in self._site.shelf.records():
            yield self._backup(record)

    def _backup(self, record: ShelfRecord) -> Marked:
        written = self._site.shelf.written(record.name)
        stored = stored_volume(record, written) if written else None
        return Marked(
            MarkedKind.BACKUP,
            record.name,
            record.marker,
            created_at=parse_instant(record.details["taken_at"]),
            size=record.volume["size"],
            stored=stored,
            details=record.details | {"complete": written is not None},
        )
