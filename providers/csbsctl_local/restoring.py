"""Restore steps: bring disks back, put them in place, build servers of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from csbsctl.errors import CloudRefused, Damaged, NotFound
from csbsctl.model.backup import StoredVolume
from csbsctl.model.server import Refusal, Server, ServerState, Volume
from csbsctl.provider import Mapping, Preflight, RestoredVolume, RestorePlan, Step
from csbsctl.units import format_size
from csbsctl_local.cloud.fills import Source
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.sparse import Extent
from csbsctl_local.cloud.volumes import RESTORING, LooseVolume
from csbsctl_local.edge import provider_errors
from csbsctl_local.steps import Site, claim, marker_document

if TYPE_CHECKING:
    from csbsctl_local.repository import Reader


class StoredSource:
    """A stored disk as the source of a lazy one."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read(self, offset: int, length: int) -> bytes:
        """See Source; the cloud pads what lies past the end."""
        return self._reader.read(offset, length) if offset < self._reader.size else b""

    def extents(self) -> Iterable[Extent]:
        """See Source."""
        return self._reader.extents()


class OpenDisk:
    """A stored disk as the contract has it: the repository's reader, with errors in the contract's words."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        """See StoredDisk."""
        return self._reader.size

    def read(self, offset: int, length: int) -> bytes:
        """See StoredDisk."""
        with provider_errors():
            return self._reader.read(offset, length)

    def extents(self) -> Iterator[Extent]:
        """See StoredDisk."""
        with provider_errors():
            yield from self._reader.extents()

    def close(self) -> None:
        """See StoredDisk; there is nothing to let go of."""


class RestoreSteps:
    """The restore half of the local provider."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def source(self, description: dict[str, Any]) -> Source:
        """Resolve what a lazy disk says of where its bytes are."""
        return StoredSource(self._site.shelf.open(description["manifest"]))

    def check(self, plan: RestorePlan) -> Preflight:
        """See Provider.check_restore."""
        refusals: list[Refusal] = []
        notes: list[str] = []
        server = self._site.cloud.inventory.server(plan.server.id) if plan.server else None
        try:
            overridden(plan.backup.spec, plan.overrides)
        except CloudRefused as error:
            refusals.append(Refusal(error.code, f"{error.message}: {error.hint}"))
        for mapping in plan.mappings:
            refusals += self._against(mapping, server)
            stored = mapping.stored
            way = "readable at once, filled in the background" if plan.instant else "restored whole"
            if mapping.target and not plan.instant:
                way += ", then put in place"
            where = f"volume {mapping.target.name}" if mapping.target else "a new volume"
            notes.append(f"{stored.name} ({format_size(stored.size)}) to {where}: {way}")
        return Preflight(tuple(refusals), tuple(notes))

    def stop(self, step: Step, server_id: str) -> None:
        """See Provider."""
        self._site.begin("stop", step, server_id)
        self._site.cloud.machines.set_state(server_id, ServerState.STOPPED)

    def start(self, step: Step, server_id: str) -> None:
        """See Provider."""
        self._site.begin("start", step, server_id)
        self._site.cloud.machines.set_state(server_id, ServerState.ACTIVE)

    def restore(self, step: Step, plan: RestorePlan, mapping: Mapping) -> RestoredVolume:
        """See Provider."""
        self._site.begin("restore", step, plan.server.id if plan.server else None)
        stored, target = mapping.stored, mapping.target
        ours = claim("restore", step.marker, stored.ref, target.id if target else "")
        done = self._site.cloud.volumes.swapped(ours)
        if done:
            return RestoredVolume(mapping, done)
        volume = self._site.cloud.volumes.create(
            ours,
            marker_document(step.marker),
            name=target.name if target else stored.name,
            size=max(stored.size, target.size if target else 0),
            bootable=stored.bootable,
            details={"manifest": stored.ref, "target": target.id if target else None},
        )
        if volume.state == RESTORING:
            self.write(step, volume, stored.ref, lazily=plan.instant)
        return RestoredVolume(mapping, volume.id)

    def write(self, step: Step, volume: LooseVolume, manifest: str, *, lazily: bool) -> None:
        """Bring a stored disk's bytes onto a loose volume, now or when they are needed."""
        if lazily:
            description = {"manifest": manifest}
            self._site.cloud.volumes.fill_lazily(volume, description, self.source(description).extents())
            return
        fd = os.open(volume.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # see the cloud's sweep
            self._site.shelf.repository.restore(
                manifest,
                fd,
                check=step.check,
                progress=step.progress,
                threads=self._site.shelf.readers(self._site.settings.threads),
            )
            os.ftruncate(fd, volume.size)  # the target may be larger: its tail becomes zeros
        finally:
            os.close(fd)
        self._site.cloud.volumes.ready(volume.id)

    def swap(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """See Provider."""
        if plan.server is None:
            raise CloudRefused("disks can be put in place only on a server that exists")
        self._site.begin("swap", step, plan.server.id)
        places = [(volume.ref, volume.mapping.target.id) for volume in restored if volume.mapping.target]
        self._site.cloud.volumes.swap(plan.server.id, places)
        self._site.cloud.filler.start()
        return self._site.cloud.inventory.server(plan.server.id)

    def build(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """See Provider."""
        self._site.begin("build", step)
        ordered = sorted(restored, key=lambda volume: volume.mapping.stored.position)
        name = plan.name or f"{plan.backup.server.name}-restored"
        wanted = wanted_server(name, overridden(plan.backup.spec, plan.overrides), power_on=plan.power_on)
        server_id = self._site.cloud.volumes.build(
            claim("build", step.marker),
            marker_document(step.marker),
            wanted,
            [volume.ref for volume in ordered],
        )
        self._site.cloud.filler.start()
        return self._site.cloud.inventory.server(server_id)

    def hand_over(
        self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]
    ) -> Sequence[Volume]:
        """See Provider."""
        self._site.begin("hand-over", step)
        name = plan.name or plan.backup.server.name
        names = {each.ref: f"{name}-disk-{each.mapping.stored.position}" for each in restored}
        kept = self._site.cloud.volumes.keep(names)
        self._site.cloud.filler.start()
        return kept

    def open(self, step: Step, stored: StoredVolume) -> OpenDisk:
        """See Provider.open_disk."""
        self._site.begin("read", step)
        return OpenDisk(self._site.shelf.open(stored.ref))

    def _against(self, mapping: Mapping, server: Server | None) -> list[Refusal]:
        refusals = []
        stored, target = mapping.stored, mapping.target
        try:
            self._site.shelf.repository.describe(stored.ref)
        except NotFound:
            refusals.append(Refusal("CSBS.4000", f"the data of {stored.name} is not there"))
        except Damaged as error:
            refusals.append(Refusal("CSBS.4000", f"the data of {stored.name} is damaged: {error.message}"))
        if target is None:
            return refusals
        now = next((volume for volume in server.volumes if volume.id == target.id), None) if server else None
        if now is None:
            refusals.append(
                Refusal("CSBS.6014", f"volume {target.name} ({target.id}) is not attached to the server")
            )
            return refusals
        if now.size < stored.size:
            sizes = f"{format_size(now.size)}, the backup of {stored.name} {format_size(stored.size)}"
            refusals.append(Refusal("CSBS.6024", f"volume {now.name} has {sizes}"))
        if now.shared:
            refusals.append(Refusal("CSBS.6021", f"volume {now.name} is shared with another server"))
        if now.bootable and not stored.bootable:
            refusals.append(
                Refusal("CSBS.6023", f"data disk {stored.name} cannot go onto system disk {now.name}")
            )
        return refusals


def overridden(spec: dict[str, Any], overrides: dict[str, list[str]]) -> dict[str, Any]:
    """Return a backup's spec with what the user wants otherwise. Raises CloudRefused for what servers do not have."""
    changed = dict(spec)
    for key, values in overrides.items():
        match key:
            case "availability_zone":
                changed[key] = values[-1]
            case "tag":
                changed["tags"] = values
            case "metadata" if all("=" in value for value in values):
                changed[key] = dict(value.split("=", 1) for value in values)
            case _:
                raise CloudRefused(
                    f"a new server has no setting {key}={','.join(values)}",
                    code="CSBS.9001",
                    hint="it has availability_zone=ZONE, tag=TAG, metadata=KEY=VALUE",
                )
    return changed


def wanted_server(name: str, spec: dict[str, Any], *, power_on: bool, image: str | None = None) -> Wanted:
    """Return the server that a backup's spec describes, without its disks."""
    return Wanted(
        name=name,
        zone=spec.get("availability_zone"),
        metadata=dict(spec.get("metadata") or {}),
        tags=tuple(spec.get("tags") or ()),
        state=ServerState.ACTIVE if power_on else ServerState.STOPPED,
        image=image,
    )
