"""Disks that are used before their bytes have arrived."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import CloudUnavailable
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.layout import GRANULE
from csbsctl_local.cloud.transfer import sha256

SIZE = 20 * GRANULE + 1000


class FileSource:
    """Bytes in a file; keeps count of what was fetched."""

    def __init__(self, path):
        self.bytes = Path(path).read_bytes()
        self.fetched = 0

    def read(self, offset, length):
        self.fetched += length
        return self.bytes[offset : offset + length]

    def extents(self):
        yield 0, 10 * GRANULE
        yield 15 * GRANULE, SIZE - 15 * GRANULE


@pytest.fixture
def stored(tmp_path):
    """Return a file with a disk's bytes, a hole in the middle."""
    path = tmp_path / "stored"
    data = bytearray(random.Random(5).randbytes(SIZE))
    data[10 * GRANULE : 15 * GRANULE] = bytes(5 * GRANULE)
    path.write_bytes(data)
    return path


@pytest.fixture
def lazy(tmp_path, stored):
    """Return a cloud, and a running server whose one disk is lazy."""
    opened = Cloud(
        tmp_path / "cloud", SystemClock(), sources=lambda description: FileSource(description["file"])
    )
    yield opened, lazy_server(opened, stored)
    opened.close()


def lazy_server(cloud, stored, size=SIZE, claim="restore"):
    from csbsctl_local.cloud.machines import Wanted

    volume = cloud.volumes.create(claim, {"m": 1}, name="lazy", size=size, bootable=True, details={})
    cloud.volumes.fill_lazily(volume, {"file": str(stored)}, FileSource(stored).extents())
    return cloud.inventory.server(
        cloud.volumes.build(f"build {claim}", {"m": 1}, Wanted("lazy"), [volume.id])
    )


def all_of(cloud, server):
    with cloud.disk(server.volumes[0].id) as disk:
        return disk.read(0, disk.size)


def test_a_lazy_disk_reads_as_its_source_at_once_and_misses_less_with_every_read(lazy, stored):
    cloud, server = lazy
    volume = server.volumes[0].id
    before = cloud.filler.pending()[volume]

    with cloud.disk(volume) as disk:
        assert disk.read(3 * GRANULE + 5, 10) == stored.read_bytes()[3 * GRANULE + 5 :][:10]
    assert cloud.filler.pending()[volume] == before - GRANULE
    assert all_of(cloud, server) == stored.read_bytes()
    assert cloud.filler.pending()[volume] == 0


def test_a_write_into_what_is_missing_keeps_the_bytes_around_it(lazy, stored):
    cloud, server = lazy
    expected = bytearray(stored.read_bytes())
    expected[GRANULE - 3 : GRANULE + 3] = b"writes"
    with cloud.disk(server.volumes[0].id) as disk:
        disk.write(GRANULE - 3, b"writes")

    cloud.filler.run()

    assert all_of(cloud, server) == bytes(expected)
    assert cloud.filler.pending() == {}


def test_a_disk_larger_than_its_source_ends_in_zeros(tmp_path, stored, lazy):
    cloud, _ = lazy
    server = lazy_server(cloud, stored, size=SIZE + 3 * GRANULE, claim="larger")

    assert all_of(cloud, server) == stored.read_bytes() + bytes(3 * GRANULE)
    cloud.filler.run()
    assert all_of(cloud, server) == stored.read_bytes() + bytes(3 * GRANULE)


def test_a_snapshot_of_a_filling_disk_is_right_before_during_and_after_the_filling(lazy, stored, freeze_in):
    cloud, server = lazy
    volume = server.volumes[0].id
    with cloud.disk(volume) as disk:
        disk.write(100, b"first")
        expected = bytearray(stored.read_bytes())
        expected[100:105] = b"first"
        snapshot = freeze_in(cloud, server)
        frozen = cloud.snapshots.open(snapshot, volume)
        assert frozen.read(0, SIZE) == expected
        disk.write(100, b"later")
        disk.write(16 * GRANULE - 2, b"later")
    assert frozen.read(0, SIZE) == expected
    cloud.filler.run()

    assert frozen.read(0, SIZE) == expected
    assert cloud.filler.needed() == [{"file": str(stored)}], "the snapshot still reads from the source"
    frozen.close()
    cloud.snapshots.release(snapshot)
    assert cloud.filler.needed() == []


@pytest.fixture
def freeze_in():
    return lambda cloud, server: cloud.snapshots.take(server.id, dict, "claim", {}, SystemClock().now()).id


def test_filling_is_continued_by_the_next_process_when_one_is_killed(lazy, stored, spawn):
    cloud, server = lazy
    program = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from csbsctl.clock import SystemClock
from csbsctl_local.cloud import Cloud

class Source:
    def __init__(self):
        self.bytes = Path(sys.argv[2]).read_bytes()
    def read(self, offset, length):
        return self.bytes[offset:offset + length]

cloud = Cloud(Path(sys.argv[1]), SystemClock(), sources=lambda _: Source())
cloud.filler.run()
"""
    killed = spawn(
        program,
        *(str(cloud.layout.folder), str(stored), ""),
        env={**os.environ, "CSBSCTL_FAULT": "kill:cloud.fill.arrived"},
    )
    assert killed.wait(20) == -9
    assert list(cloud.filler.pending().values()) == [0]
    with cloud.disk(server.volumes[0].id) as disk:
        disk.write(0, b"mine")

    cloud.filler.run()

    assert cloud.filler.pending() == {}
    assert all_of(cloud, server) == b"mine" + stored.read_bytes()[4:]


def test_guests_write_while_the_background_fills(lazy, stored):
    cloud, server = lazy
    expected = bytearray(stored.read_bytes())
    chance = random.Random(9)
    cloud.filler.start()
    with cloud.disk(server.volumes[0].id) as disk:
        for _ in range(300):
            offset = chance.randrange(SIZE - 10)
            disk.write(offset, b"0123456789")
            expected[offset : offset + 10] = b"0123456789"
    cloud.filler.run()

    assert all_of(cloud, server) == bytes(expected)


def test_a_lazy_disk_put_in_anothers_place_goes_on_filling_there(lazy, stored):
    from csbsctl.model.server import ServerState

    cloud, server = lazy
    volume = cloud.volumes.create("again", {"m": 1}, name="lazy", size=SIZE, bootable=True, details={})
    cloud.volumes.fill_lazily(volume, {"file": str(stored)}, FileSource(stored).extents())
    with cloud.disk(server.volumes[0].id) as disk:
        disk.write(0, b"gone")
        cloud.machines.set_state(server.id, ServerState.STOPPED)
        cloud.volumes.swap(server.id, [(volume.id, server.volumes[0].id)])

        assert disk.read(0, SIZE) == stored.read_bytes()

    cloud.filler.run()
    assert cloud.filler.needed() == []
    with cloud.disk(server.volumes[0].id) as disk:
        assert sha256(disk)
        assert disk.read(0, SIZE) == stored.read_bytes()


def test_a_source_that_cannot_be_reached_is_an_error_for_who_needs_it_and_for_nobody_else(lazy, stored):
    cloud, server = lazy
    with cloud.disk(server.volumes[0].id) as disk:
        disk.read(0, 1)
    alone = Cloud(cloud.layout.folder, SystemClock())
    alone.filler.start()

    with alone.disk(server.volumes[0].id) as disk:
        assert disk.read(0, 5) == stored.read_bytes()[:5]
        with pytest.raises(CloudUnavailable, match="still being filled"):
            disk.read(GRANULE, 5)
    alone.close()
