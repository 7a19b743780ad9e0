"""The local provider: a simulated cloud that keeps its backups in the vault. The face of this package.

It joins two things that know nothing of each other, the cloud and the repository, and adds what a provider owes:
idempotence under markers, fences, faults on demand, and everybody's errors in the contract's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.model.base import Model
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Server, Volume
from csbsctl.provider import (
    Capabilities,
    Collected,
    Damage,
    Depth,
    Host,
    Image,
    Mapping,
    Marked,
    Preflight,
    Problem,
    Provider,
    Quota,
    RestoredVolume,
    RestorePlan,
    Snapshot,
    Step,
    StoredDisk,
    VolumeSnapshot,
)
from csbsctl.simulator import Simulator
from csbsctl_local.backing import BackupSteps
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.fills import Source
from csbsctl_local.edge import provider_errors
from csbsctl_local.imaging import ImageSteps
from csbsctl_local.leftovers import Leftovers
from csbsctl_local.restoring import RestoreSteps
from csbsctl_local.settings import LocalSettings
from csbsctl_local.shelf import Shelf
from csbsctl_local.steps import Site
from csbsctl_local.world import World


class LocalProvider(Provider):
    """A cloud on this machine's disk; see Provider for every method."""

    kind: ClassVar[str] = "local"
    Settings: ClassVar[type[Model]] = LocalSettings

    def __init__(self, settings: LocalSettings, host: Host) -> None:
        folder = host.base / Path(settings.path).expanduser()
        self._host, self._settings = host, settings
        self._shelf = Shelf(host, folder / "cache")
        self.cloud = Cloud(
            folder, host.clock, provider=host.name, reflink=settings.reflink == "auto", sources=self._source
        )
        site = Site(host.name, self.cloud, self._shelf, settings)
        self._backups = BackupSteps(site, host.clock)
        self._restores = RestoreSteps(site)
        self._images = ImageSteps(site, self._restores)
        self._leftovers = Leftovers(site)

    @property
    def capabilities(self) -> Capabilities:
        """See Provider."""
        return Capabilities(
            consistency=frozenset({Consistency.NONE, Consistency.CRASH}),
            incremental=True,
            chains=False,
            full_every=None,
            instant_restore=True,
            images=True,
            parallel=self._settings.parallel,
            disk_access=True,
        )

    # -- inventory -------------------------------------------------------------------------------------------------

    def servers(self) -> Iterator[Server]:
        """See Provider."""
        with provider_errors():
            self.cloud.faults.meet("servers")
            yield from self.cloud.inventory.servers()

    def server(self, server_id: str) -> Server:
        """See Provider."""
        with provider_errors():
            self.cloud.faults.meet("server", server_id)
            return self.cloud.inventory.server(server_id)

    def now(self) -> datetime | None:
        """See Provider; the simulated cloud lives in the caller's time."""
        return self._host.clock.now()

    def quota(self) -> Quota | None:
        """See Provider."""
        with provider_errors():
            return self._backups.quota()

    # -- backup ----------------------------------------------------------------------------------------------------

    def snapshot(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
        """See Provider."""
        with provider_errors():
            self.cloud.filler.start()
            return self._backups.snapshot(step, server_id, need)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        """See Provider."""
        with provider_errors():
            return self._backups.store(step, snapshot, parent)

    def release(self, step: Step, snapshot: Snapshot) -> None:
        """See Provider."""
        with provider_errors():
            self._backups.release(step, snapshot)

    def delete(self, step: Step, stored: StoredVolume) -> None:
        """See Provider."""
        with provider_errors():
            self._backups.delete(step, stored)

    def verify(self, step: Step, stored: StoredVolume, depth: Depth, sample: float = 0.1) -> Sequence[Damage]:
        """See Provider."""
        with provider_errors():
            return self._backups.verify(step, stored, depth, sample)

    def check(
        self, step: Step, stored: Sequence[StoredVolume], *, read_data: bool = False, repair: bool = False
    ) -> Sequence[Problem]:
        """See Provider."""
        with provider_errors():
            return self._backups.check(step, stored, read_data=read_data, repair=repair)

    def collect(self, step: Step, open_jobs: frozenset[str]) -> Collected:
        """See Provider; also removes files of the cloud that nobody owns any more."""
        with provider_errors():
            return self._leftovers.collect(step, open_jobs)

    # -- restore ---------------------------------------------------------------------------------------------------

    def check_restore(self, plan: RestorePlan) -> Preflight:
        """See Provider."""
        with provider_errors():
            return self._restores.check(plan)

    def stop(self, step: Step, server_id: str) -> None:
        """See Provider."""
        with provider_errors():
            self._restores.stop(step, server_id)

    def start(self, step: Step, server_id: str) -> None:
        """See Provider."""
        with provider_errors():
            self.cloud.filler.start()
            self._restores.start(step, server_id)

    def restore(self, step: Step, plan: RestorePlan, mapping: Mapping) -> RestoredVolume:
        """See Provider."""
        with provider_errors():
            return self._restores.restore(step, plan, mapping)

    def swap(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """See Provider."""
        with provider_errors():
            return self._restores.swap(step, plan, restored)

    def build(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """See Provider."""
        with provider_errors():
            return self._restores.build(step, plan, restored)

    def hand_over(
        self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]
    ) -> Sequence[Volume]:
        """See Provider."""
        with provider_errors():
            return self._restores.hand_over(step, plan, restored)

    def open_disk(self, step: Step, stored: StoredVolume) -> StoredDisk:
        """See Provider; only the vault is asked, so that it works when the cloud's folder is gone."""
        with provider_errors():
            return self._restores.open(step, stored)

    # -- images ----------------------------------------------------------------------------------------------------

    def create_image(self, step: Step, backup: Backup, name: str) -> Image:
        """See Provider."""
        with provider_errors():
            return self._images.create(step, backup, name)

    def images(self) -> Iterator[Image]:
        """See Provider."""
        with provider_errors():
            yield from self._images.list()

    def delete_image(self, step: Step, image_id: str) -> None:
        """See Provider."""
        with provider_errors():
            self._images.delete(step, image_id)

    def boot(
        self,
        image: str,
        name: str,
        *,
        zone: str | None = None,
        metadata: dict[str, str],
        tags: tuple[str, ...] = (),
    ) -> Server:
        """Make a running server from an image, by its id or unique name; what is not given is as in the backup."""
        with provider_errors():
            return self._images.boot(
                image, name, {"availability_zone": zone, "metadata": metadata, "tags": tags}
            )

    # -- care ------------------------------------------------------------------------------------------------------

    def marked(self, vault_id: str | None = None) -> Iterator[Marked]:
        """See Provider."""
        with provider_errors():
            self.cloud.faults.meet("marked")
            yield from self._leftovers.marked(vault_id)

    def remove(self, step: Step, marked: Marked) -> None:
        """See Provider."""
        with provider_errors():
            self._leftovers.remove(step, marked)

    def simulator(self) -> Simulator:
        """See Provider."""
        return World(self.cloud)

    def close(self) -> None:
        """See Provider; what is still being filled is continued by whoever comes next."""
        self.cloud.close()

    def _source(self, description: dict[str, object]) -> Source:
        return self._restores.source(description)
