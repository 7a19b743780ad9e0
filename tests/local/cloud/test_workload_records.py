"""The records of a workload: what counts as a prefix, and what is caught."""

from __future__ import annotations

import pytest

from csbsctl.errors import CloudRefused
from csbsctl_local.cloud.workload import BASE, PAGE, check, record, run

SLOTS = 8


class Memory:
    """A disk in memory."""

    def __init__(self, size=BASE + SLOTS * PAGE):
        self.bytes = bytearray(size)

    @property
    def size(self):
        return len(self.bytes)

    def read(self, offset, length):
        return bytes(self.bytes[offset : offset + length])

    def write(self, offset, data):
        self.bytes[offset : offset + len(data)] = data


def written(count, disks=3):
    made = [Memory() for _ in range(disks)]
    run(made, more=lambda done: done < count)
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 3, 23, 24, 25, 60, 1000])
def test_what_was_written_in_order_is_a_prefix_however_often_the_ring_went_round(count):
    verdict = check(written(count))

    assert verdict.consistent
    assert str(verdict) == f"prefix 1..{count}"


@pytest.mark.parametrize("count", [5, 24, 60])
@pytest.mark.parametrize("lag", [1, 2, 3, 7])
@pytest.mark.parametrize("old", [0, 1, 2])
def test_one_disk_older_than_the_others_is_caught(count, lag, old):
    torn, earlier = written(count + lag), written(count)
    changed = torn[old].bytes != earlier[old].bytes
    torn[old] = earlier[old]

    # an older copy of the disk that the last records did not touch is no older copy
    last_there = max(n for n in range(1, count + lag + 1) if (n - 1) % 3 != old or not changed)
    lost = [n for n in range(count + 1, last_there) if (n - 1) % 3 == old]
    assert check(torn).consistent is not bool(lost)


def test_a_record_that_was_damaged_is_named_with_its_place():
    disks = written(10)
    disks[1].bytes[BASE + PAGE + 50] ^= 1

    verdict = check(disks)

    assert (verdict.hole, verdict.last) == (5, 10)
    assert "disk 1 has something else at offset" in str(verdict)


def test_disks_with_other_data_hold_no_record_one():
    disks = written(0)
    disks[2].write(BASE + 100, b"a file system")

    assert check(disks).hole == 1


def test_a_workload_goes_on_after_what_is_there():
    disks = written(10)

    assert run(disks, more=lambda done: done < 5) == (5, 15)
    assert str(check(disks)) == "prefix 1..15"


def test_a_workload_goes_on_in_its_ring_after_the_disks_have_grown():
    disks = written(10)
    for disk in disks:
        disk.bytes += bytes(100 * PAGE)

    run(disks, more=lambda done: done < 100)

    assert str(check(disks)) == "prefix 1..110"


def test_a_workload_does_not_hide_a_hole_unless_it_starts_over():
    disks = written(10)
    disks[0].write(BASE, bytes(PAGE))

    with pytest.raises(CloudRefused, match="no prefix"):
        run(disks, more=lambda done: done < 5)
    assert run(disks, more=lambda done: done < 5, fresh=True) == (5, 5)
    assert str(check(disks)) == "prefix 1..5"


def test_another_number_of_disks_than_when_it_was_written_is_told():
    assert "3 disks" in str(check(written(10)[:2]))


def test_a_disk_too_small_for_a_record_is_refused():
    with pytest.raises(CloudRefused):
        run([Memory(BASE)], more=lambda _done: True)


def test_records_differ():
    assert len({record(number, 3, SLOTS) for number in range(100)}) == 100
