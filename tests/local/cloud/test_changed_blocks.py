"""Changed-block tracking: what it reports holds everything that changed, whatever happened in between."""

from __future__ import annotations

import random

import pytest

from csbsctl_local.cloud.layout import GRANULE

MiB = 1024 * 1024


def content(cloud, snapshot, volume):
    frozen = cloud.snapshots.open(snapshot, volume)
    try:
        return frozen.read(0, frozen.size)
    finally:
        frozen.close()


def covers(ranges, old, new):
    """Say whether the bytes differ nowhere outside the ranges."""
    size = max(len(old), len(new))
    patched = bytearray(old.ljust(size, b"\0"))
    for offset, length in ranges:
        patched[offset : offset + length] = new[offset : offset + length]
    return bytes(patched) == new


def test_only_what_was_written_is_reported(cloud, server, freeze):
    disk = server.volumes[0].id
    first = freeze(server)
    with cloud.disk(disk) as guest:
        guest.write(5 * GRANULE + 10, b"x")
        guest.write(8 * GRANULE - 1, b"xx")
    second = freeze(server)

    assert cloud.snapshots.changed_since(disk, first, second) == [
        (5 * GRANULE, GRANULE),
        (7 * GRANULE, 2 * GRANULE),
    ]
    assert cloud.snapshots.changed_since(disk, second, second) == []
    assert cloud.snapshots.changed_since(server.volumes[1].id, first, second) == []


def test_a_released_snapshot_still_serves_as_a_starting_point(cloud, server, freeze):
    disk = server.volumes[0].id
    first = freeze(server)
    cloud.snapshots.release(first)
    with cloud.disk(disk) as guest:
        guest.write(0, b"x")

    assert cloud.snapshots.changed_since(disk, first, freeze(server)) == [(0, GRANULE)]


def test_nothing_is_proved_from_a_stranger_or_backwards(cloud, server, freeze):
    disk = server.volumes[0].id
    first, second = freeze(server), freeze(server)

    assert cloud.snapshots.changed_since(disk, "unknown", second) is None
    assert cloud.snapshots.changed_since(disk, second, first) is None


def test_nothing_is_proved_across_a_resize(cloud, server, freeze):
    volume = server.volumes[0]
    first = freeze(server)
    cloud.machines.resize(volume, 8 * MiB)

    assert cloud.snapshots.changed_since(volume.id, first, freeze(server)) is None


def test_nothing_is_proved_across_new_bytes(cloud, server, freeze):
    volume = server.volumes[0]
    first = freeze(server)
    cloud.volumes.replace(server.id, volume.id, volume.size, lambda _fd: None)

    assert cloud.snapshots.changed_since(volume.id, first, freeze(server)) is None


def test_nothing_is_proved_across_a_restart_of_the_machine(cloud, server, freeze):
    disk = server.volumes[0].id
    first = freeze(server)
    with cloud.database.change() as change:
        change.execute("UPDATE volumes SET boot = 'an earlier one'")
    second = freeze(server)

    assert cloud.snapshots.changed_since(disk, first, second) is None
    assert cloud.snapshots.changed_since(disk, second, freeze(server)) == []


def test_nothing_is_proved_in_a_cloud_that_was_put_back_to_an_earlier_state(cloud, server, freeze, tmp_path):
    disk = server.volumes[0].id
    freeze(server)
    rows = cloud.database.rows("SELECT era FROM volumes WHERE id = ?", (disk,))
    mark = freeze(server)
    with cloud.database.change() as change:  # what a copy of the folder from before would hold
        change.execute("DELETE FROM marks WHERE snapshot = ?", (mark,))
        change.execute("UPDATE volumes SET era = ? WHERE id = ?", (rows[0]["era"], disk))

    assert cloud.snapshots.changed_since(disk, mark, freeze(server)) is None


class History:
    """A disk's life at random: writes, snapshots kept and released, restores, resizes, restarts of the process."""

    def __init__(self, cloud, server, freeze, seed):
        self.cloud, self.server, self.freeze = cloud, server, freeze
        self.random = random.Random(seed)
        self.disk = server.volumes[0].id
        self.points: list[tuple[str, bytes]] = []
        self.proved = 0

    def live(self):
        for _ in range(40):
            self.random.choices(
                [self.write, self.point, self.forget, self.exchange, self.grow], weights=[12, 8, 2, 1, 1]
            )[0]()

    def write(self):
        with self.cloud.disk(self.disk) as guest:
            for _ in range(self.random.randint(1, 5)):
                length = self.random.choice([1, 100, GRANULE, 3 * GRANULE + 5])
                offset = self.random.randrange(guest.size - length)
                guest.write(offset, self.random.randbytes(length))

    def point(self):
        """Freeze, and hold what is reported since every earlier point against the bytes."""
        snapshot = self.freeze(self.server)
        new = content(self.cloud, snapshot, self.disk)
        for mark, old in self.points:
            ranges = self.cloud.snapshots.changed_since(self.disk, mark, snapshot)
            if ranges is not None:
                self.proved += 1
                assert covers(ranges, old, new)
        if self.random.random() < 0.7:  # as a backup does that went well
            self.cloud.snapshots.release(snapshot)
        self.points.append((snapshot, new))

    def forget(self):
        """Lose a point: its backup failed or was deleted."""
        if self.points:
            mark, _ = self.points.pop(self.random.randrange(len(self.points)))
            self.cloud.snapshots.release(mark)

    def exchange(self):
        size = self.cloud.inventory.server(self.server.id).volumes[0].size
        self.cloud.volumes.replace(self.server.id, self.disk, size, lambda _fd: None)

    def grow(self):
        volume = self.cloud.inventory.server(self.server.id).volumes[0]
        self.cloud.machines.resize(volume, volume.size + self.random.choice([1, GRANULE, 5000]))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_what_is_reported_holds_all_that_changed(cloud, make, freeze, seed):
    history = History(cloud, make("guest", MiB + 777), freeze, seed)

    history.live()

    assert history.proved, "nothing was tracked at all"
