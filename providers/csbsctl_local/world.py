"""The world around the simulated cloud, as policy tests play it: servers come and go, guests write, things break."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from csbsctl.errors import ResourceNotFound
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.attack import attack
from csbsctl_local.cloud.disk import Disk
from csbsctl_local.cloud.layout import GRANULE
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.sparse import all_zero
from csbsctl_local.edge import provider_errors


class World:
    """See ``csbsctl.simulator.Simulator`` for every method."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(
        self,
        name: str,
        disks: Sequence[int],
        *,
        server_id: str,
        zone: str | None = None,
        metadata: dict[str, str] | None = None,
        tags: Sequence[str] = (),
    ) -> Server:
        """See Simulator."""
        with provider_errors():
            wanted = Wanted(name, tuple(disks), zone, metadata or {}, tuple(tags), id=server_id)
            return self._server(self._cloud.machines.create(wanted))

    def delete(self, server_id: str) -> None:
        """See Simulator."""
        with provider_errors():
            self._cloud.machines.delete(server_id)

    def power(self, server_id: str, *, on: bool) -> None:
        """See Simulator."""
        with provider_errors():
            self._cloud.machines.set_state(server_id, ServerState.ACTIVE if on else ServerState.STOPPED)

    def attach(self, server_id: str, size: int) -> None:
        """See Simulator."""
        with provider_errors():
            self._cloud.machines.attach(self._server(server_id), size)

    def detach(self, server_id: str, position: int) -> None:
        """See Simulator."""
        with provider_errors():
            server = self._server(server_id)
            self._cloud.machines.detach(server, _volume(server, position))

    def resize(self, server_id: str, position: int, size: int) -> None:
        """See Simulator."""
        with provider_errors():
            self._cloud.machines.resize(_volume(self._server(server_id), position), size)

    def write(self, server_id: str, position: int, offset: int, data: bytes) -> None:
        """See Simulator."""
        with provider_errors(), self._cloud.disk(_volume(self._server(server_id), position).id) as disk:
            disk.write(offset, data)

    def attack(self, server_id: str, seed: int) -> None:
        """See Simulator."""
        with provider_errors(), self._cloud.disks(self._server(server_id)) as disks:
            attack(disks, seed)

    def fingerprints(self, server_id: str) -> tuple[str, ...]:
        """See Simulator."""
        with provider_errors(), self._cloud.disks(self._server(server_id)) as disks:
            return tuple(map(_fingerprint, disks))

    def fail(self, step: str, error: str, server: str | None = None) -> None:
        """See Simulator."""
        self._cloud.faults.add(step, error, server=server)

    def mend(self) -> None:
        """See Simulator."""
        self._cloud.faults.clear()

    def _server(self, server_id: str) -> Server:
        return self._cloud.inventory.server(server_id)


def _volume(server: Server, position: int) -> Volume:
    if position >= len(server.volumes):
        raise ResourceNotFound(
            f"server {server.name} has {len(server.volumes)} disks, no number {position} (the first is 0)"
        )
    return server.volumes[position]


def _fingerprint(disk: Disk) -> str:
    digest = hashlib.sha256(str(disk.size).encode())
    for start, length in disk.extents():
        for offset in range(start, start + length, GRANULE):
            piece = disk.read(offset, min(GRANULE, start + length - offset))
            if not all_zero(piece):  # whether a hole is a hole or zeros is the file system's affair
                digest.update(offset.to_bytes(8, "big") + piece)
    return digest.hexdigest()
