"""The simulated cloud as a whole: the one object that its users hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from csbsctl.clock import Clock
from csbsctl.model.server import Server
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.disk import Disk
from csbsctl_local.cloud.faults import Faults
from csbsctl_local.cloud.filler import Filler
from csbsctl_local.cloud.fills import Sources, no_sources
from csbsctl_local.cloud.images import Images
from csbsctl_local.cloud.inventory import Inventory
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.machines import Machines
from csbsctl_local.cloud.snapshots import Snapshots
from csbsctl_local.cloud.sweep import sweep
from csbsctl_local.cloud.volumes import Volumes


class Cloud:
    """One simulated cloud in one folder, for any number of threads and processes.

    ``reflink=False`` makes snapshots by copy-before-write even where the file system could share blocks; ``sources``
    resolves the descriptions of where lazy disks get their bytes from.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        provider: str = "default",
        reflink: bool = True,
        sources: Sources = no_sources,
    ) -> None:
        self.layout = Layout(folder)
        self.database = Database(self.layout)
        self.inventory = Inventory(self.database, provider)
        self.machines = Machines(self.layout, self.database, clock)
        self.snapshots = Snapshots(self.layout, self.database, sources, may_reflink=reflink)
        self.volumes = Volumes(self.layout, self.database, clock)
        self.images = Images(self.database, clock)
        self.faults = Faults(self.database, clock)
        self.filler = Filler(self.layout, self.database, sources)
        self._sources = sources

    @contextmanager
    def disk(self, volume_id: str) -> Iterator[Disk]:
        """Open one volume as a guest sees it. Raises ResourceNotFound."""
        disk = Disk(self.layout, self.database, self._sources, volume_id)
        try:
            yield disk
        finally:
            disk.close()

    @contextmanager
    def disks(self, server: Server) -> Iterator[list[Disk]]:
        """Open all disks of a server, in order."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.disk(volume.id)) for volume in server.volumes]

    def sweep(self) -> int:
        """Remove files that killed processes left; return how many."""
        return sweep(self.layout, self.database)

    def close(self) -> None:
        """Stop the background and close the database."""
        self.filler.stop()
        self.database.close()
