"""What a cloud must offer so that its provider can be held to the contract: a Harness.

To hold another provider to it: write a fixture ``<name>_harness`` that returns a Harness, and add it to ``PROVIDERS``.
A real cloud takes larger disks (``disk_size``) and longer; nothing else in the suite depends on the cloud.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from csbsctl.blobs import PlainSealer, ScopedStore
from csbsctl.clock import SystemClock
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, ServerRef, StoredVolume, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Server
from csbsctl.provider import Host, Mapping, Marker, Provider, RestorePlan, Snapshot, Step
from csbsctl.vault.stores.directory import DirectoryStore

_REAL_CLOUD = (pytest.mark.openstack, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore"))
PROVIDERS = ["local_harness", pytest.param("openstack_harness", marks=_REAL_CLOUD)]


class Harness(Protocol):
    """A cloud as the suite needs it. ``provider`` is the one under test."""

    provider: Provider
    disk_size: int
    """Bytes of the smallest disk the cloud makes."""

    def reopen(self) -> Provider:
        """Replace ``provider`` by one that remembers nothing, as a new process would have it."""
        ...

    def server(self, name: str, disks: int) -> Server:
        """Make a running server with so many disks of ``disk_size``."""
        ...

    def write(self, server: Server, disk: int, offset: int, data: bytes) -> None:
        """Write to a disk, through the guest or beside it; durable on return."""
        ...

    def digest(self, server: Server, disk: int) -> str:
        """Return the SHA-256 of a disk's bytes."""
        ...

    def grow(self, server: Server, disk: int, size: int) -> None:
        """Enlarge a disk."""
        ...


@dataclass
class Flow:
    """Backups and restores by the provider's steps alone, as a job would make them."""

    harness: Harness
    vault: str = field(default_factory=new_id)

    @property
    def provider(self) -> Provider:
        return self.harness.provider

    def step(self, server: Server | None = None, **changes: Any) -> Step:
        job = new_id()
        marker = Marker(vault=self.vault, job=job, server=server.id if server else "", backup=job)
        return Step(replace(marker, **changes))

    def freeze(self, server: Server, step: Step | None = None) -> tuple[Step, Snapshot]:
        step = step or self.step(server)
        return step, self.provider.snapshot(step, server.id, Consistency.CRASH)

    def backup(self, server: Server, parent: Backup | None = None, *, keep: bool = False) -> Backup:
        step, snapshot = self.freeze(server)
        parents = {volume.volume_id: volume for volume in parent.volumes} if parent else {}
        stored = [self.provider.store(step, each, parents.get(each.volume.id)) for each in snapshot.volumes]
        if keep:
            stored = list(self.provider.keep(step, snapshot, stored))
        else:
            self.provider.release(step, snapshot)
        return self.record(step, snapshot, stored)

    def record(self, step: Step, snapshot: Snapshot, stored: Sequence[StoredVolume]) -> Backup:
        server = snapshot.server
        return Backup(
            id=step.marker.backup,
            name="manualbk_0001",
            server=ServerRef(id=server.id, name=server.name),
            provider="default",
            trigger=Trigger.MANUAL,
            state=BackupState.AVAILABLE,
            job=step.marker.job,
            consistency=snapshot.consistency,
            volumes=tuple(stored),
            started_at=datetime.now(UTC),
            taken_at=snapshot.taken_at,
            spec=server.spec,
        )

    def plan(self, backup: Backup, server: Server, **changes: Any) -> RestorePlan:
        targets = {volume.id: volume for volume in server.volumes}
        mappings = tuple(Mapping(stored, targets[stored.volume_id]) for stored in backup.volumes)
        return replace(RestorePlan(backup, mappings, server), **changes)

    def plan_new(self, backup: Backup, name: str, **changes: Any) -> RestorePlan:
        mappings = tuple(Mapping(stored) for stored in backup.volumes)
        return replace(RestorePlan(backup, mappings, name=name), **changes)

    def restore(self, backup: Backup, server: Server, **changes: Any) -> Server:
        step, plan = self.step(server), self.plan(backup, server, **changes)
        self.provider.stop(step, server.id)
        server = self.put_back(step, plan)
        self.provider.start(step, server.id)
        return self.provider.server(server.id)

    def put_back(self, step: Step, plan: RestorePlan) -> Server:
        """Restore all disks of a stopped server and put them into their places."""
        restored = [self.provider.restore(step, plan, mapping) for mapping in plan.mappings]
        return self.provider.swap(step, plan, restored)

    def build(self, backup: Backup, name: str, step: Step | None = None, **changes: Any) -> Server:
        step, plan = step or self.step(), self.plan_new(backup, name, **changes)
        return self.provider.build(
            step, plan, [self.provider.restore(step, plan, each) for each in plan.mappings]
        )

    def digests(self, server: Server) -> list[str]:
        return [self.harness.digest(server, disk) for disk in range(len(server.volumes))]

    def scribble(self, server: Server, seed: int, *, size: int = 200_000) -> None:
        """Write something that depends on the seed to every disk."""
        for disk in range(len(server.volumes)):
            data = hashlib.shake_128(f"{seed} {disk}".encode()).digest(size)
            self.harness.write(server, disk, 70_000 * (seed + 1), data)


class LocalHarness:
    """The simulated cloud in a folder."""

    disk_size = 4 * 1024 * 1024

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.provider = self._open()

    def reopen(self) -> Provider:
        self.provider.close()
        self.provider = self._open()
        return self.provider

    def server(self, name: str, disks: int) -> Server:
        from csbsctl_local.cloud.machines import Wanted

        cloud = self.provider.cloud
        return cloud.inventory.server(cloud.machines.create(Wanted(name, (self.disk_size,) * disks, "az1")))

    def write(self, server: Server, disk: int, offset: int, data: bytes) -> None:
        with self.provider.cloud.disk(server.volumes[disk].id) as target:
            target.write(offset, data)

    def digest(self, server: Server, disk: int) -> str:
        from csbsctl_local.cloud.transfer import sha256

        with self.provider.cloud.disk(server.volumes[disk].id) as source:
            return sha256(source)

    def grow(self, server: Server, disk: int, size: int) -> None:
        self.provider.cloud.machines.resize(server.volumes[disk], size)

    def _open(self) -> Any:
        from csbsctl_local.provider import LocalProvider
        from csbsctl_local.settings import LocalSettings

        blobs = ScopedStore(DirectoryStore(self._folder / "vault"), "data/default/")
        return LocalProvider(
            LocalSettings(), Host("default", self._folder, SystemClock(), blobs, PlainSealer())
        )


@pytest.fixture
def local_harness(tmp_path: Path) -> Iterator[LocalHarness]:
    harness = LocalHarness(tmp_path)
    yield harness
    harness.provider.close()


@pytest.fixture
def openstack_harness() -> Iterator[Any]:
    """The test bed of ``tests/openstack``, whose conftest knows how to work it."""
    path = Path(__file__).parents[2] / "openstack" / "conftest.py"
    spec = importlib.util.spec_from_file_location("openstack_bench", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    harness = module.OpenStackHarness()
    yield harness
    harness.close()


@pytest.fixture(params=PROVIDERS)
def harness(request: pytest.FixtureRequest) -> Harness:
    found: Harness = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def flow(harness: Harness) -> Flow:
    return Flow(harness)
