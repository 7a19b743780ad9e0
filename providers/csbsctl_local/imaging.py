"""Images: whole servers kept for making more of them, with data of their own that outlives the backup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from csbsctl.errors import CloudRefused, ResourceConflict
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup
from csbsctl.model.server import Server
from csbsctl.provider import Image, Marker, Step
from csbsctl_local.cloud.images import AVAILABLE, ImageRecord
from csbsctl_local.cloud.sparse import Extent
from csbsctl_local.restoring import RestoreSteps, wanted_server
from csbsctl_local.steps import Site, claim, marker_document

if TYPE_CHECKING:
    from csbsctl_local.repository import Reader


class ImageSteps:
    """The image part of the local provider."""

    def __init__(self, site: Site, restores: RestoreSteps) -> None:
        self._site, self._restores = site, restores

    def create(self, step: Step, backup: Backup, name: str) -> Image:
        """See Provider.create_image."""
        self._site.begin("image", step)
        if not any(volume.bootable for volume in backup.volumes):
            raise CloudRefused(f"backup {backup.name} has no system disk to boot from", code="CSBS.8009")
        disks = [
            {"name": volume.name, "size": volume.size, "bootable": volume.bootable, "from": volume.ref}
            for volume in sorted(backup.volumes, key=lambda volume: volume.position)
        ]
        record = self._site.cloud.images.register(
            claim("image", step.marker),
            marker_document(step.marker),
            name=name,
            backup=backup.id,
            size=backup.size,
            content={"disks": disks, "spec": backup.spec},
        )
        if record.state != AVAILABLE:
            for number, disk in enumerate(disks):
                self._keep(step, record.part(number), str(disk["from"]))
            self._site.cloud.images.complete(record.id)
        return as_image(self._site.cloud.images.find(record.id))

    def list(self) -> Iterator[Image]:
        """See Provider.images."""
        self._site.cloud.faults.meet("images")
        for record in self._site.cloud.images.list():
            yield as_image(record)

    def delete(self, step: Step, image_id: str) -> None:
        """See Provider.delete_image."""
        self._site.begin("delete-image", step)
        remove_image(self._site, image_id)

    def boot(self, wanted: str, name: str, changes: dict[str, Any]) -> Server:
        """Make a server from an image (id or unique name), running; ``changes`` that are empty change nothing."""
        record = self._site.cloud.images.find(wanted)
        if record.state != AVAILABLE:
            raise ResourceConflict(f"image {record.name} is {record.state}")
        attempt = new_id()
        volumes = []
        for number, disk in enumerate(record.content["disks"]):
            volume = self._site.cloud.volumes.create(
                f"boot {attempt} {number}",
                {},
                name=name,
                size=disk["size"],
                bootable=disk["bootable"],
                details={},
            )
            self._restores.write(
                Step(Marker(vault="", job=attempt, server="")), volume, record.part(number), lazily=False
            )
            volumes.append(volume.id)
        spec = record.content["spec"] | {key: value for key, value in changes.items() if value}
        server = wanted_server(name, spec, power_on=True, image=record.id)
        return self._site.cloud.inventory.server(
            self._site.cloud.volumes.build(f"boot {attempt}", {}, server, volumes)
        )

    def _keep(self, step: Step, manifest: str, origin: str) -> None:
        """Store the disk under a second name: the chunks are shared, only the list of them is new."""
        source = _StoredDisk(self._site.shelf.open(origin))
        self._site.shelf.repository.write(
            source, manifest=manifest, parent=origin, changed=(), job=step.marker.job, check=step.check
        )


class _StoredDisk:
    """A stored disk as a source to store from."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        return self._reader.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._reader.read(offset, len(buffer))

    def extents(self) -> Iterator[Extent]:
        return iter(self._reader.extents())


def remove_image(site: Site, image_id: str) -> None:
    """Remove an image and its data; already gone is fine."""
    record = site.cloud.images.get(image_id)
    if record:
        for manifest in record.parts():
            site.shelf.repository.delete(manifest)
        site.cloud.images.forget(image_id)


def as_image(record: ImageRecord) -> Image:
    """Return an image of the cloud as the contract has it."""
    return Image(record.id, record.name, record.backup, record.size, record.created_at, record.state)
