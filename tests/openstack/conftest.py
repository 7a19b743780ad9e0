"""What the tests of the OpenStack provider need: the test bed's cloud, real bytes in its volumes, and servers to try on.

The tests are marked ``openstack`` and need OS_CLIENT_CONFIG_FILE and TESTBED (``tests/openstack/testbed/up.sh`` prints
both). They leave nothing behind.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from csbsctl.clock import SystemClock
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, ServerRef, StoredVolume, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.provider import Host, Mapping, MarkedKind, Marker, RestorePlan, Step
from csbsctl_openstack.wire import instant  # noqa: F401 - for measure.py

HERE = Path(__file__).parent
VAULT = "vault-of-the-tests"
_BY_WORKER = {"gw1": "other", "gw2": "third", "gw3": "fourth"}
PROJECT = os.environ.get("TESTBED_CLOUD") or _BY_WORKER.get(os.environ.get("PYTEST_XDIST_WORKER", ""), "demo")
"""The entry of clouds.yaml whose project is used, and swept; runs side by side need one each."""
MIB = 1 << 20
PATIENT: dict[str, Any] = {"max_pause": "2m", "deadlines": {"request": "5m"}}
"""Settings for a machine that may be busy with something else: what takes long there is not to be an error."""

LONGEST = (
    "test_from_an_empty_folder_to_a_drift_report",
    "test_data_volumes_keep_their_ids_and_the_root_is_rebuilt_with_a_members_rights",
    "test_an_instant_restore_is_readable_and_writable_at_once",
    "test_a_member_does_all_but_the_reset_of_a_root_and_goes_on_another_way",
    "test_a_lost_vault_is_brought_back_and_told_from_another_one",
    "test_an_image_is_made_listed_booted_and_deleted",
    "test_a_chain_is_restored_as_a_new_server_like_the_old_one",
    "test_an_increment_adds_less_than_a_full_and_each_restores_its_own_instant",
    "test_a_run_goes_on_with_the_others_when_the_cloud_refuses_in_the_middle_of_one",
    "test_restores_in_place",
    "test_whatever_carries_a_marker_can_be_removed_twice",
    "test_restores_as_a_new_server",
    "test_an_encrypted_server_comes_back_from_its_chain_in_place_and_anew",
)
"""What takes minutes, longest first. It begins first, so that nobody waits for the last one alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first."""
    names = list(LONGEST)
    items.sort(
        key=lambda item: names.index(name) if (name := item.name.partition("[")[0]) in names else len(names)
    )


@pytest.fixture(autouse=True)
def _ignore_what_the_sdk_says(recwarn: pytest.WarningsRecorder) -> None:
    """openstacksdk warns of its own future; that is not ours to fail on."""


def pauses() -> Iterator[float]:
    """Yield seconds between looks, ever longer ones: asking takes much of the CPUs that the cloud runs on."""
    return itertools.chain((0.3, 0.4, 0.6, 0.8, 1.0, 1.5), itertools.repeat(2.0))


@dataclass
class Testbed:
    """The cloud, as its owner sees it: openstacksdk connections, and the bytes below Cinder."""

    directory: Path
    _connections: dict[str, Any] = field(default_factory=dict)

    def connect(self, cloud: str = PROJECT) -> Any:
        import openstack

        if cloud not in self._connections:
            self._connections[cloud] = openstack.connect(cloud=cloud)
        return self._connections[cloud]

    def ports(self) -> list[Any]:
        """Return the ports of the tests' project; whoever owns a shared network sees those of others on it, too."""
        cloud = self.connect()
        mine = cloud.current_project_id
        return [port for port in cloud.network.ports(project_id=mine) if port.project_id == mine]

    def bytes_of(self, *arguments: object, data: bytes = b"") -> str:
        """Run the helper that reads and writes volumes below Cinder."""
        return self.helper("rbdio.py", *arguments, data=data)

    def helper(self, script: str, *arguments: object, data: bytes = b"") -> str:
        """Run a script of the test bed in its own environment, and return what it prints."""
        command = [self.directory / "venv/bin/python", HERE / "testbed" / script, *map(str, arguments)]
        environment = {**os.environ, "CEPH_CONF": str(self.directory / "etc/ceph/ceph.conf")}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment
        ).stdout.strip()

    def write(self, volume: str, offset: int, length: int, seed: int) -> None:
        self.bytes_of("write", f"volume-{volume}", offset, length, seed)

    def digest(self, volume: str, snapshot: str | None = None) -> str:
        return self.bytes_of("hash", f"volume-{volume}" + (f"@snapshot-{snapshot}" if snapshot else ""))


@dataclass
class Bench:
    """Servers to try on, and a provider; everything it made is gone at the end."""

    testbed: Testbed
    cloud: Any
    provider: Any
    project: str = PROJECT
    job: str = field(default_factory=new_id)
    server_ids: list[str] = field(default_factory=list)

    def server(
        self, disks: int = 2, *, running: bool = True, name: str = "", kind: str = "ceph", **request: Any
    ) -> str:
        """Make a server that boots from the first of some volumes of 1 GiB; ``kind`` is their volume type."""
        name = name or f"t-{new_id()[:8]}"
        with ThreadPoolExecutor(disks) as pool:
            volumes = list(
                pool.map(lambda n: self.volume(f"{name}-{n}", bootable=n == 0, kind=kind), range(disks))
            )
        server_id = self.boot(name, volumes, **request)
        if not running:
            self.cloud.compute.stop_server(server_id)
            self.until(lambda: self.status(server_id), "SHUTOFF")
        return server_id

    def boot(self, name: str, disks: list[str], *, flavor: str = "t1", **request: Any) -> str:
        """Boot a server from the first of some volumes, or from ``image/ID``, of which the hypervisor makes its root."""
        devices = [_device(disk, number) for number, disk in enumerate(disks)]
        request = {"networks": "none", "flavorRef": self.cloud.compute.find_flavor(flavor).id, **request}
        if disks and disks[0].startswith("image/"):
            request["imageRef"] = disks[0].removeprefix("image/")
        body = {"name": name, "block_device_mapping_v2": devices, **request}
        answer = self.cloud.compute.post("/servers", json={"server": body}, microversion="2.93")
        assert answer.status_code == 202, answer.text
        server_id = str(answer.json()["server"]["id"])
        self.server_ids.append(server_id)
        self.until(lambda: self.status(server_id), "ACTIVE")
        return server_id

    def volume(self, name: str, *, bootable: bool = False, size: int = 1, kind: str = "ceph") -> str:
        volume = self.cloud.block_storage.create_volume(size=size, name=name, volume_type=kind)
        self.until(lambda: self.cloud.block_storage.get_volume(volume.id).status, "available")
        if bootable:
            self.cloud.block_storage.set_volume_bootable_status(volume, True)
        return str(volume.id)

    def extend(self, volume: str, size: int) -> None:
        body = {"os-extend": {"new_size": size}}
        answer = self.cloud.block_storage.post(f"/volumes/{volume}/action", json=body, microversion="3.42")
        assert answer.status_code == 202, answer.text

    def status(self, server_id: str) -> str:
        return str(self.cloud.compute.get_server(server_id).status)

    def until(self, look: Callable[[], str], wanted: str, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        for pause in pauses():
            if (seen := look()) == wanted:
                return
            assert "error" not in seen.lower(), seen
            assert time.monotonic() < end, f"still {seen}, not {wanted}"
            time.sleep(pause)

    def step(self, server_id: str, *, job: str | None = None, backup: str = "", **hooks: Any) -> Step:
        return Step(Marker(VAULT, job or self.job, server_id, backup), **hooks)

    def back_up(
        self,
        server_id: str,
        parent: Backup | None = None,
        need: Consistency = Consistency.CRASH,
        *,
        keep: bool = False,
    ) -> Backup:
        """Do what the core does for one backup of one server; ``keep`` keeps its snapshots for instant restores."""
        backup_id, job = new_id(), new_id()
        step = self.step(server_id, job=job, backup=backup_id)
        started = self.provider.now()
        snapshot = self.provider.snapshot(step, server_id, need)
        parents = {v.volume_id: v for v in parent.volumes} if parent else {}
        stored = tuple(
            self.provider.store(step, disk, parents.get(disk.volume.id)) for disk in snapshot.volumes
        )
        if keep:
            stored = self.provider.keep(step, snapshot, stored)
        else:
            self.provider.release(step, snapshot)
        return Backup(
            id=backup_id,
            name=f"autobk_{backup_id[:4]}",
            server=ServerRef(id=server_id, name=snapshot.server.name),
            provider="default",
            trigger=Trigger.AUTO,
            state=BackupState.AVAILABLE,
            job=job,
            consistency=snapshot.consistency,
            method=snapshot.method,
            evidence=snapshot.evidence,
            volumes=stored,
            started_at=started,
            taken_at=snapshot.taken_at,
            spec=snapshot.server.spec,
        )

    def plan_new(self, backup: Backup, name: str, **more: Any) -> RestorePlan:
        return RestorePlan(backup, tuple(Mapping(stored) for stored in backup.volumes), name=name, **more)

    def plan_in_place(self, backup: Backup, volumes: list[StoredVolume] | None = None) -> RestorePlan:
        server = self.provider.server(backup.server.id)
        targets = {volume.id: volume for volume in server.volumes}
        chosen = volumes or list(backup.volumes)
        mappings = tuple(Mapping(stored, targets[stored.volume_id]) for stored in chosen)
        return RestorePlan(backup, mappings, server=server)

    def clear(self) -> None:
        """Remove everything: this is the test bed, nothing in it is dear."""
        for server_id in self.server_ids:
            self.cloud.compute.delete_server(server_id, ignore_missing=True)
        for marked in list(self.provider.marked(VAULT)):
            if marked.kind is MarkedKind.SERVER:
                self.cloud.compute.delete_server(marked.ref, ignore_missing=True)
        sweep(self.testbed)


def _device(disk: str, number: int) -> dict[str, Any]:
    if disk.startswith("image/"):
        local = {"source_type": "image", "destination_type": "local", "delete_on_termination": True}
        return {"uuid": disk.removeprefix("image/"), "boot_index": 0, **local}
    index = 0 if number == 0 else -1
    return {"uuid": disk, "source_type": "volume", "destination_type": "volume", "boot_index": index}


def sweep(testbed: Testbed) -> None:
    """Delete all servers, images, ports, backups, snapshots and volumes of the tests' project."""
    cloud = testbed.connect()
    storage = cloud.block_storage
    begun = time.monotonic()
    forgotten: set[str] = set()
    for pause in pauses():
        servers = [s for s in cloud.compute.servers() if not s.name.startswith("keep-")]
        for server in servers:
            cloud.compute.delete_server(server, ignore_missing=True)
        for image in cloud.image.images():
            if image.name.startswith(("t-", "csbsctl ")):
                cloud.image.delete_image(image, ignore_missing=True)
        ports = [port for port in testbed.ports() if port.name.startswith("csbsctl:")]
        for port in ports if not servers else ():  # a member must not delete what Nova has not let go of
            testbed.connect("admin").network.delete_port(port, ignore_missing=True)
        left = len(servers) + len(ports)
        if time.monotonic() > begun + _FORGOTTEN:
            _take_back_deletions(testbed, forgotten)
        for things, delete in (
            (storage.backups(), storage.delete_backup),
            (storage.snapshots(), storage.delete_snapshot),
            (storage.volumes(), storage.delete_volume),
        ):
            for thing in list(things):
                left += 1
                if thing.status in {"available", "error", "error_restoring", "error_deleting"}:
                    try:
                        delete(thing)
                    except Exception:  # noqa: BLE001 - busy or needed: the next round gets it
                        continue
        if not left:
            return
        if time.monotonic() > begun + 300:
            pytest.fail(f"project {PROJECT} of the test bed cannot be cleared: {left} things are left")
        time.sleep(pause)


_FORGOTTEN = 90
"""Seconds after which a deletion of a snapshot is not believed in any more: of twenty at once, Cinder lost one."""


def _take_back_deletions(testbed: Testbed, known: set[str]) -> None:
    """Reset, once each, snapshots whose deletion never ends, so that they can be deleted again."""
    admin = testbed.connect("admin").block_storage
    for snapshot in testbed.connect().block_storage.snapshots():
        if snapshot.status == "deleting" and snapshot.id not in known:
            known.add(snapshot.id)
            admin.post(f"/snapshots/{snapshot.id}/action", json={"os-reset_status": {"status": "error"}})


class OpenStackHarness:
    """The test bed as ``tests/conformance/provider`` wants a cloud."""

    disk_size = 1 << 30
    settings: ClassVar = {"admin_cloud": "admin"}
    """Roots by reset, the quickest way; the others have tests of their own."""

    def __init__(self) -> None:
        testbed = find_testbed()
        self._bench = Bench(testbed, testbed.connect(), make_provider(**self.settings))

    @property
    def provider(self) -> Any:
        return self._bench.provider

    def reopen(self) -> Any:
        self.provider.close()
        self._bench.provider = make_provider(**self.settings)
        return self.provider

    def server(self, name: str, disks: int) -> Any:
        return self.provider.server(self._bench.server(disks, name=name))

    def write(self, server: Any, disk: int, offset: int, data: bytes) -> None:
        self._bench.testbed.bytes_of("put", f"volume-{server.volumes[disk].id}", offset, data=data)

    def digest(self, server: Any, disk: int) -> str:
        return self._bench.testbed.digest(server.volumes[disk].id).split()[1]

    def grow(self, server: Any, disk: int, size: int) -> None:
        volume = server.volumes[disk].id
        self._bench.extend(volume, -(-size >> 30))
        self._bench.until(lambda: str(self.provider.server(server.id).volumes[disk].size), str(size))

    def close(self) -> None:
        self._bench.clear()
        self.provider.close()


def make_provider(**settings: Any) -> Any:
    """Return a provider of the tests' project, unless the settings say otherwise."""
    from csbsctl_openstack.provider import OpenStackProvider
    from csbsctl_openstack.settings import OpenStackSettings

    host = Host("default", Path(), SystemClock())
    return OpenStackProvider(OpenStackSettings(**{"cloud": PROJECT, **PATIENT, **settings}), host)


@functools.cache
def find_testbed() -> Testbed:
    """Return the running test bed, rid of what earlier runs left in the tests' project, or skip."""
    directory = os.environ.get("TESTBED")
    if not directory or not os.environ.get("OS_CLIENT_CONFIG_FILE"):
        pytest.skip("no test bed: run tests/openstack/testbed/up.sh and set what it prints")
    found = Testbed(Path(directory))
    sweep(found)
    return found


@pytest.fixture(scope="session")
def testbed() -> Testbed:
    return find_testbed()


@pytest.fixture
def provider_of() -> Iterator[Callable[..., Any]]:
    """Make providers with settings; all are closed at the end."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        made.append(make_provider(**settings))
        return made[-1]

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def bench(testbed: Testbed, provider_of: Callable[..., Any]) -> Iterator[Bench]:
    made = Bench(testbed, testbed.connect(), provider_of())
    yield made
    made.clear()


@pytest.fixture
def another_type(testbed: Testbed, bench: Bench) -> Iterator[str]:
    """A volume type of this test's own, on the same store as all others."""
    admin = testbed.connect("admin").block_storage
    made = admin.create_type(name=f"t-{new_id()[:8]}", extra_specs={"volume_backend_name": "ceph"})
    yield made.name
    bench.clear()
    admin.delete_type(made)
