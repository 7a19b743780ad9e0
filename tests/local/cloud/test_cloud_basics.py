"""Servers and disks of the simulated cloud, its faults and its fences."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    LeaseLost,
    ResourceConflict,
    ResourceNotFound,
    UsageError,
)
from csbsctl.model.server import ServerState
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.attack import attack
from csbsctl_local.cloud.layout import GRANULE
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.transfer import export_image, import_image, sha256

MiB = 1024 * 1024


def test_a_cloud_that_was_never_written_is_empty_and_reading_does_not_make_it(tmp_path):
    cloud = Cloud(tmp_path / "cloud", SystemClock())

    assert list(cloud.inventory.servers()) == []
    assert cloud.snapshots.list() == []
    assert cloud.faults.list() == []
    with pytest.raises(ResourceNotFound):
        cloud.inventory.find("web-01")
    assert not (tmp_path / "cloud").exists()
    cloud.close()


def test_a_cloud_made_by_another_process_is_seen_by_one_that_found_it_empty(tmp_path, cloud):
    other = Cloud(cloud.layout.folder, SystemClock())
    assert list(other.inventory.servers()) == []

    cloud.machines.create(Wanted("web-01", (MiB,)))

    assert [server.name for server in other.inventory.servers()] == ["web-01"]
    other.close()


def test_ten_thousand_servers_are_made_and_listed_quickly_and_take_no_files(cloud):
    began = time.process_time()

    cloud.machines.load(Wanted(f"web-{n}", (10 * MiB, MiB), metadata={"tier": "web"}) for n in range(10_000))
    servers = list(cloud.inventory.servers())

    assert time.process_time() - began < 5  # generous: a loaded machine; the benchmarks have the figures
    assert len(servers) == 10_000
    assert servers[77].metadata == {"tier": "web"}
    assert not list(cloud.layout.backings.iterdir())


def test_a_name_that_two_servers_have_is_ambiguous_and_an_id_never_is(cloud, make):
    first, _ = make("twin", MiB), make("twin", MiB)

    with pytest.raises(UsageError, match="2 servers"):
        cloud.inventory.find("twin")
    assert cloud.inventory.find(first.id).id == first.id


def test_what_is_written_is_read_back_and_the_rest_is_zeros(cloud, server):
    with cloud.disk(server.volumes[0].id) as disk:
        assert disk.read(0, 10) == bytes(10)
        disk.write(GRANULE - 2, b"over the edge")
        assert disk.read(GRANULE - 4, 17) == b"\0\0over the edge\0\0"
        assert disk.read(disk.size - 5, 100) == bytes(5)


def test_a_write_past_the_end_is_refused(cloud, server):
    with cloud.disk(server.volumes[2].id) as disk, pytest.raises(CloudRefused, match="do not fit"):
        disk.write(MiB - 1, b"xx")


def test_a_stopped_server_cannot_write_and_can_again_when_it_is_started(cloud, server):
    with cloud.disk(server.volumes[0].id) as disk:
        disk.write(0, b"running")
        cloud.machines.set_state(server.id, ServerState.STOPPED)
        with pytest.raises(ResourceConflict):
            disk.write(0, b"stopped")
        assert disk.read(0, 7) == b"running"
        cloud.machines.set_state(server.id, ServerState.ACTIVE)
        disk.write(0, b"started")


def test_a_shared_disk_is_shared_for_both_and_stays_when_one_server_goes(cloud, make):
    one, two = make("one", MiB, MiB), make("two", MiB)
    cloud.machines.attach_existing(two, one.volumes[1].id)

    assert cloud.inventory.find("one").volumes[1].shared
    assert cloud.inventory.find("two").volumes[1].shared
    cloud.machines.delete(one.id)
    assert [volume.shared for volume in cloud.inventory.find("two").volumes] == [False, False]
    with pytest.raises(CloudRefused, match="already"):
        cloud.machines.attach_existing(cloud.inventory.find("two"), one.volumes[1].id)


def test_a_detached_disk_leaves_the_server_and_can_come_back(cloud, server):
    with cloud.disk(server.volumes[1].id) as disk:
        disk.write(0, b"kept")
    cloud.machines.detach(server, server.volumes[1])

    after = cloud.inventory.server(server.id)
    assert [(volume.id, volume.position) for volume in after.volumes] == [
        (server.volumes[0].id, 0),
        (server.volumes[2].id, 1),
    ]
    cloud.machines.attach_existing(after, server.volumes[1].id)
    assert cloud.inventory.server(server.id).volumes[2].id == server.volumes[1].id
    with cloud.disk(server.volumes[1].id) as disk:
        assert disk.read(0, 4) == b"kept"
    with pytest.raises(CloudRefused, match="system disk"):
        cloud.machines.detach(server, server.volumes[0])


def test_a_disk_grows_and_never_shrinks(cloud, server):
    volume = server.volumes[0]
    with cloud.disk(volume.id) as disk:
        disk.write(volume.size - 3, b"end")
        cloud.machines.resize(volume, volume.size + GRANULE + 1)
        assert disk.read(volume.size - 3, 10_000_000) == b"end" + bytes(GRANULE + 1)
        disk.write(volume.size + GRANULE, b"!")
    with pytest.raises(CloudRefused, match="cannot shrink"):
        cloud.machines.resize(cloud.inventory.server(server.id).volumes[0], 10)


def test_an_image_comes_in_and_goes_out_with_the_same_bytes(cloud, server, tmp_path):
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.seek(300_000)
        file.write(b"data" * 1000)
    with cloud.disk(server.volumes[0].id) as disk:
        disk.write(0, b"old" * 100_000)
        import_image(cloud.volumes, server, server.volumes[0], raw)
        export_image(disk, tmp_path / "out")
        digest = sha256(disk)

    import hashlib

    out = (tmp_path / "out").read_bytes()
    assert out == raw.read_bytes().ljust(server.volumes[0].size, b"\0")
    assert digest == hashlib.sha256(out).hexdigest()
    with cloud.disk(server.volumes[0].id) as disk, pytest.raises(CloudRefused, match="not overwritten"):
        export_image(disk, tmp_path / "out")


def test_an_image_larger_than_the_disk_or_absent_is_refused(cloud, server, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(3 * MiB)

    for path in (large, Path("/nowhere"), tmp_path):
        with pytest.raises(CloudRefused):
            import_image(cloud.volumes, server, server.volumes[0], path)


def test_ransomware_changes_every_disk_that_holds_data_the_same_way_for_the_same_seed(cloud, make):
    def attacked(name, seed):
        server = make(name, MiB, MiB, MiB)
        with cloud.disks(server) as disks:
            disks[0].write(0, b"ledger" * 20_000)
            disks[1].write(MiB - 10, b"photograph")
            before = [sha256(disk) for disk in disks]
            assert attack(disks, seed)
            after = [sha256(disk) for disk in disks]
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
        return after

    assert attacked("a", 1) == attacked("b", 1)
    assert attacked("c", 2)[0] != attacked("d", 1)[0]


def test_a_fault_strikes_as_often_as_ordered_and_only_the_server_meant(cloud, server):
    cloud.faults.add("store", "unavailable", server=server.id, times=2)

    cloud.faults.meet("store", "another")
    cloud.faults.meet("snapshot", server.id)
    for _ in range(2):
        with pytest.raises(CloudUnavailable, match="ordered"):
            cloud.faults.meet("store", server.id, server.name)
    cloud.faults.meet("store", server.id, server.name)
    assert cloud.faults.list() == []


def test_faults_and_delays_last_until_they_are_cleared(cloud):
    cloud.faults.add("delete", "conflict")
    cloud.faults.delay("stop", 0.05)
    for _ in range(3):
        with pytest.raises(ResourceConflict):
            cloud.faults.meet("delete", "any")
    began = time.monotonic()
    cloud.faults.meet("stop")
    assert time.monotonic() - began >= 0.05

    cloud.faults.clear()

    cloud.faults.meet("delete", "any")
    assert cloud.faults.delays() == {}


def test_a_step_or_an_error_that_does_not_exist_is_named_with_the_nearest(cloud):
    with pytest.raises(UsageError, match="'snapshoot'") as caught:
        cloud.faults.add("snapshoot", "conflict")
    assert caught.value.hint == "did you mean 'snapshot'?"
    with pytest.raises(UsageError):
        cloud.faults.add("snapshot", "explosion")


def test_a_lower_fence_is_refused_for_that_server_and_vault_only(cloud):
    cloud.faults.fence("vault", "server", 5)
    cloud.faults.fence("vault", "server", 7)

    with pytest.raises(LeaseLost):
        cloud.faults.fence("vault", "server", 6)
    cloud.faults.fence("vault", "server", 7)
    cloud.faults.fence("vault", "other", 1)
    cloud.faults.fence("elsewhere", "server", 1)
    cloud.faults.fence("vault", "server", 0)


def test_a_cloud_of_a_newer_version_is_refused(cloud, server):
    with cloud.database.change() as change:
        change.execute("PRAGMA user_version = 99")

    newer = Cloud(cloud.layout.folder, SystemClock())
    with pytest.raises(CloudRefused, match="newer"):
        list(newer.inventory.servers())
    newer.close()


def test_what_is_no_database_is_said_to_be_damaged(tmp_path):
    (tmp_path / "cloud").mkdir()
    (tmp_path / "cloud" / "cloud.db").write_bytes(b"this is not it" * 1000)
    cloud = Cloud(tmp_path / "cloud", SystemClock())

    with pytest.raises(CloudRefused, match="damaged"):
        list(cloud.inventory.servers())
    cloud.close()


def test_many_threads_write_to_one_server_and_nothing_is_lost(cloud, server):
    def work(number):
        with cloud.disk(server.volumes[0].id) as disk:
            for at in range(50):
                disk.write((at * 8 + number) * 100, bytes([number + 1]) * 100)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with cloud.disk(server.volumes[0].id) as disk:
        assert disk.read(0, 40_000) == b"".join(bytes([n % 8 + 1]) * 100 for n in range(400))
