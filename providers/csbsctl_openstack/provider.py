"""The OpenStack provider: fulfils the contract by handing every step to the part that knows how."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

from csbsctl.ids import new_suffix
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.model.base import Model
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Server, Volume
from csbsctl.provider import (
    Capabilities,
    Damage,
    Depth,
    Host,
    Image,
    Mapping,
    Marked,
    Preflight,
    Provider,
    Quota,
    RestoredVolume,
    RestorePlan,
    Snapshot,
    Step,
    VolumeSnapshot,
)
from csbsctl_openstack import marks
from csbsctl_openstack.backup import Backups
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.consistency import Photographer
from csbsctl_openstack.image import Images
from csbsctl_openstack.inventory import Inventory
from csbsctl_openstack.kept import KeptSnapshots
from csbsctl_openstack.leftovers import Leftovers
from csbsctl_openstack.offers import Offers
from csbsctl_openstack.quotas import Quotas
from csbsctl_openstack.restore import Restorer
from csbsctl_openstack.roots import Roots
from csbsctl_openstack.servers import Servers
from csbsctl_openstack.settings import OpenStackSettings
from csbsctl_openstack.volumes import Volumes
from csbsctl_openstack.ways import Ways


class OpenStackProvider(Provider):
    """One region and project of an OpenStack cloud."""

    kind: ClassVar[str] = "openstack"
    Settings: ClassVar[type[Model]] = OpenStackSettings

    def __init__(self, settings: Any, host: Host) -> None:
        self.settings: OpenStackSettings = settings
        self.cloud = Cloud(settings, host.clock)
        self._inventory = Inventory(self.cloud, host.name)
        self._quotas = Quotas(self.cloud)
        self._photographer = Photographer(self.cloud, self._inventory, self._quotas)
        self._kept = KeptSnapshots(self.cloud)
        self._backups = Backups(self.cloud)
        self._roots = Roots(self.cloud)
        self._volumes = Volumes(self.cloud)
        self._servers = Servers(self.cloud)
        self._images = Images(self.cloud, self._volumes)
        self._ways = Ways(self.cloud, self._backups, self._roots, Offers(self.cloud, self._servers))
        self._restorer = Restorer(self.cloud, self._inventory, self._volumes, self._servers, self._ways)

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        """Say what an OpenStack cloud can do; which level one server reaches depends on the server."""
        return Capabilities(
            consistency=frozenset(Consistency),
            incremental=True,
            chains=True,
            full_every=7,
            instant_restore=True,
            instant_keeps_snapshots=True,
            images=True,
            parallel=self.settings.parallel,
            parallel_disks=self.settings.parallel_disks,
            restores_detached=True,
        )

    # -- inventory -------------------------------------------------------------------------------------------------

    def servers(self) -> Iterator[Server]:
        """Yield every server of the project, ordered by name and ID."""
        return self._inventory.servers()

    def server(self, server_id: str) -> Server:
        """Return one server. Raises ResourceNotFound."""
        return self._inventory.server(server_id)

    def now(self) -> datetime | None:
        """Return the cloud's time."""
        return self.cloud.now()

    def quota(self) -> Quota | None:
        """Return what Cinder allows; it charges the whole volume for an increment, too."""
        return self._quotas.of_backups()

    # -- backup ----------------------------------------------------------------------------------------------------

    def snapshot(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
        """Snapshot all volumes at one instant."""
        return self._photographer.take(step, server_id, need)

    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        """Have Cinder back up one volume from its snapshot; the image of a root that is no volume is its backup."""
        if marks.is_image(snapshot.ref):
            return self._roots.store(step, snapshot)
        return self._backups.store(step, snapshot, parent)

    def release(self, step: Step, snapshot: Snapshot) -> None:
        """Delete the snapshots."""
        self._photographer.release(step, snapshot)

    def keep(
        self, step: Step, snapshot: Snapshot, stored: Sequence[StoredVolume]
    ) -> tuple[StoredVolume, ...]:
        """Keep the snapshots for instant restores."""
        return self._kept.keep(step, snapshot, stored)

    def let_go(self, step: Step, stored: StoredVolume) -> StoredVolume:
        """Delete the snapshot that was kept of one volume."""
        return self._kept.let_go(step, stored)

    def delete(self, step: Step, stored: StoredVolume) -> None:
        """Delete one Cinder backup, and the snapshot that was kept beside it."""
        self._keeper(stored).delete(step, stored)
        self._kept.let_go(step, stored)

    def verify(self, step: Step, stored: StoredVolume, depth: Depth, sample: float = 0.1) -> Sequence[Damage]:
        """Check Cinder's records; beyond ``quick``, restore onto a volume that is thrown away.

        Cinder cannot verify. A trial restore is the one way to have every byte read; a sample is a share of trials.
        """
        problems = self._keeper(stored).check(stored)
        drawn = depth is Depth.FULL or (depth is Depth.SAMPLE and int(new_suffix(), 16) < sample * 0x10000)
        if not problems and drawn and (problem := self._restorer.trial(step, stored)):
            problems.append(Damage(problem))
        return problems

    def protect(self, step: Step, stored: Sequence[StoredVolume], *, protected: bool) -> None:
        """Note in the metadata of Cinder's backups that they are protected, or no longer."""
        for each in stored:
            self._keeper(each).protect(step, each, protected=protected)

    # -- restore ---------------------------------------------------------------------------------------------------

    def check_restore(self, plan: RestorePlan) -> Preflight:
        """Say what the cloud has against a restore, and which way each disk will take."""
        return self._ways.check(plan)

    def stop(self, step: Step, server_id: str) -> None:
        """Shut a server down and wait."""
        self._servers.stop(step, server_id)

    def start(self, step: Step, server_id: str) -> None:
        """Start a server and wait."""
        self._servers.start(step, server_id)

    def restore(self, step: Step, plan: RestorePlan, mapping: Mapping) -> RestoredVolume:
        """Bring one disk's bytes back."""
        return self._restorer.restore(step, plan, mapping)

    def swap(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Put restored disks into their places."""
        return self._restorer.swap(step, plan, restored)

    def build(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Build a new server from restored disks."""
        return self._restorer.build(step, plan, restored)

    def hand_over(
        self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]
    ) -> Sequence[Volume]:
        """Name restored volumes and let go of them."""
        return self._restorer.hand_over(step, plan, restored)

    # -- images ----------------------------------------------------------------------------------------------------

    def create_image(self, step: Step, backup: Backup, name: str) -> Image:
        """Make a bootable image of the whole server."""
        return self._images.create(step, backup, name)

    def images(self) -> Iterator[Image]:
        """Yield the images made from backups."""
        return self._images.all()

    def delete_image(self, step: Step, image_id: str) -> None:
        """Delete an image with everything it consists of."""
        self._images.delete(step, image_id)

    # -- care ------------------------------------------------------------------------------------------------------

    def marked(self, vault_id: str | None = None) -> Iterator[Marked]:
        """Yield everything that carries a marker."""
        return self._leftovers.marked(vault_id)

    def remove(self, step: Step, marked: Marked) -> None:
        """Remove what was left behind; a server that was left paused is resumed."""
        self._leftovers.remove(step, marked)

    def close(self) -> None:
        """Let go of connections and threads."""
        self._ways.close()
        self.cloud.close()

    @functools.cached_property
    def _leftovers(self) -> Leftovers:
        return Leftovers(
            self.cloud,
            photographer=self._photographer,
            backups=self._backups,
            roots=self._roots,
            volumes=self._volumes,
            servers=self._servers,
            images=self._images,
        )

    def _keeper(self, stored: StoredVolume) -> Backups | Roots:
        """Return what works on a stored disk."""
        return self._roots if marks.is_image(stored.ref) else self._backups
