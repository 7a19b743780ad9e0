"""Snapshots of all disks at one instant, while another process writes as fast as it can."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import CloudRefused
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.workload import check, check_at_rest, run

MiB = 1024 * 1024
SIZES = (2 * MiB, 2 * MiB, MiB)


def judge(cloud, server, snapshot):
    with ExitStack() as stack:
        frozen = [cloud.snapshots.open(snapshot, volume.id) for volume in server.volumes]
        for disk in frozen:
            stack.callback(disk.close)
        return check(frozen)


def freeze_many(cloud, server, count, freeze):
    """Take snapshots as writers go on, read each twice, the second time when much has been overwritten."""
    last, kept = 0, []
    for _ in range(count):
        snapshot = freeze(server)
        verdict = judge(cloud, server, snapshot)
        assert verdict.consistent, verdict
        assert verdict.last >= last
        last = verdict.last
        kept.append((snapshot, verdict))
        if len(kept) == 4:
            for old, before in kept:
                assert judge(cloud, server, old) == before
                cloud.snapshots.release(old)
            kept.clear()
    return last


def test_copy_before_write_snapshots_under_a_workload_are_all_prefixes(cloud, server, workload, freeze):
    writer = workload(server)

    last = freeze_many(cloud, server, 24, freeze)

    assert writer.poll() is None
    assert last > 500, "the writer was starved"


def test_disks_copied_one_after_the_other_are_caught(cloud, server, workload):
    writer = workload(server)
    time.sleep(0.2)

    class Copy:
        def __init__(self, disk):
            self.size = disk.size
            self._bytes = disk.read(0, disk.size)
            time.sleep(0.02)

        def read(self, offset, length):
            return self._bytes[offset : offset + length]

    with cloud.disks(server) as disks:
        torn = [Copy(disk) for disk in disks]
    verdict = check(torn)

    assert writer.poll() is None
    assert not verdict.consistent
    assert f"record {verdict.hole} of {verdict.last} is missing" in str(verdict)


def test_two_servers_are_frozen_at_once_by_two_processes_worth_of_clouds(cloud, make, workload, freeze):
    first, second = make("one", *SIZES), make("two", *SIZES)
    workload(first)
    workload(second)
    with_own_connections = Cloud(cloud.layout.folder, SystemClock())

    for _ in range(6):
        one = freeze(first)
        two = with_own_connections.snapshots.take(second.id, dict, one, {}, SystemClock().now()).id
        assert judge(cloud, first, one).consistent
        assert judge(with_own_connections, second, two).consistent

    with_own_connections.close()


def test_a_snapshot_taken_while_its_process_is_killed_is_whole_or_not_there(cloud, server, workload, spawn):
    program = """
import sys
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl_local.cloud import Cloud
cloud = Cloud(Path(sys.argv[1]), SystemClock())
print("ready", flush=True)
cloud.snapshots.take(sys.argv[2], dict, sys.argv[3], {}, SystemClock().now())
"""
    writer = workload(server)
    for step, there in (("cloud.snapshot.files", False), ("cloud.snapshot.taken", True)):
        killed = spawn(
            program,
            str(cloud.layout.folder),
            server.id,
            step,
            env={**os.environ, "CSBSCTL_FAULT": f"kill:{step}"},
        )
        assert killed.wait(20) == -9
        taken = cloud.snapshots.claimed(step)
        assert (taken is not None) is there
        if taken:
            assert judge(cloud, server, taken.id).consistent
    assert writer.poll() is None, "a process that died with the locks stopped the writers"
    assert cloud.sweep() == 1
    with cloud.disks(server) as disks:
        assert check_at_rest(disks).consistent


def test_a_writer_killed_at_any_moment_leaves_a_prefix(cloud, server, workload, freeze):
    for _ in range(3):
        writer = workload(server)
        time.sleep(0.05)
        snapshot = freeze(server)
        time.sleep(0.05)
        writer.kill()
        writer.wait()

        assert judge(cloud, server, snapshot).consistent
        with cloud.disks(server) as disks:
            assert check_at_rest(disks).consistent
            run(disks, more=lambda written: written < 100)
        cloud.snapshots.release(snapshot)


def test_a_server_with_a_shared_disk_or_none_is_not_frozen(cloud, make, freeze):
    one, two, bare = make("one", MiB, MiB), make("two", MiB), make("bare")
    cloud.machines.attach_existing(two, one.volumes[1].id)

    with pytest.raises(CloudRefused, match="shared"):
        freeze(one)
    with pytest.raises(CloudRefused, match="no disk"):
        freeze(bare)


def test_a_frozen_disk_outlives_resize_deletion_and_first_writes_of_its_volume(cloud, make, freeze):
    server = make("short-lived", MiB, MiB)
    with cloud.disks(server) as disks:
        disks[0].write(1000, b"before")
    snapshot = freeze(server)
    cloud.machines.resize(server.volumes[0], 2 * MiB)
    with cloud.disks(server) as disks:
        disks[0].write(1000, b"later!" * 300_000)
        disks[1].write(0, b"later!" * 1000)
    cloud.machines.delete(server.id)

    frozen = [cloud.snapshots.open(snapshot, volume.id) for volume in server.volumes]

    assert frozen[0].size == MiB
    assert frozen[0].read(998, 10) == b"\0\0before\0\0"
    assert frozen[0].read(MiB - 4, 100) == bytes(4)
    assert frozen[1].read(0, MiB) == bytes(MiB)
    for disk in frozen:
        disk.close()
    cloud.snapshots.release(snapshot)
    assert not list(cloud.layout.backings.iterdir())
    assert not list(cloud.layout.snapshots.iterdir())


@pytest.fixture
def reflinking_folder(tmp_path: Path):
    """Mount a file system that can share blocks; skip where that takes rights or tools we have not."""
    image, mount = tmp_path / "xfs.img", tmp_path / "mount"
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    with image.open("wb") as file:
        file.truncate(320 * MiB)
    mount.mkdir()
    try:
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no xfs to mount here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_reflink_snapshots_under_a_workload_are_all_prefixes(reflinking_folder, workload):
    cloud = Cloud(reflinking_folder / "cloud", SystemClock())
    server = cloud.inventory.server(cloud.machines.create(Wanted("guest", SIZES)))
    writer = workload(server, cloud)
    count = iter(range(1000))

    def freeze(server):
        taken = cloud.snapshots.take(server.id, dict, f"claim {next(count)}", {}, SystemClock().now())
        assert taken.method == "reflink"
        return taken.id

    last = freeze_many(cloud, server, 24, freeze)

    assert writer.poll() is None
    assert last > 500
    writer.kill()
    writer.wait()
    cloud.close()


def test_reflink_is_left_alone_where_the_settings_say_never(reflinking_folder):
    cloud = Cloud(reflinking_folder / "cloud", SystemClock(), reflink=False)
    server = cloud.machines.create(Wanted("guest", SIZES))

    taken = cloud.snapshots.take(server, dict, "claim", {}, SystemClock().now())

    assert taken.method == "copy-before-write"
    cloud.close()
