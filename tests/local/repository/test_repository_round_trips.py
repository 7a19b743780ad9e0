from __future__ import annotations

import os
import random

import pytest

from csbsctl.errors import NotFound, StoreUnavailable, UsageError

CHUNK = 65536
LEAF = 256 * CHUNK


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 12345, LEAF, LEAF + 1])
def test_a_disk_of_any_size_comes_back_byte_for_byte(place, size):
    disk = place.filled(size)
    written = place.open().write(disk, manifest="m", job="j")
    assert place.restored("m") == disk.content()
    assert (written.size, written.read, written.parent) == (size, size, None)


@pytest.mark.parametrize("seed", range(6))
def test_any_history_of_changes_comes_back_from_every_increment(place, seed):
    rng = random.Random(seed)
    disk = place.disk(rng.choice([LEAF * 2 + 777, 3 * LEAF, 20 * CHUNK + 1]))
    repository, states, parent = place.open(), {}, None
    for number in range(5):
        for _ in range(rng.randrange(6)):
            length = rng.choice([1, 512, 4096, 3 * CHUNK])
            content = rng.choice([rng.randbytes, bytes, lambda count: b"text " * (count // 5 + 1)])
            disk.put(rng.randrange(disk.size), content(length)[:length])
        if rng.random() < 0.4:
            disk.resize(
                rng.choice([disk.size + CHUNK // 2, disk.size + LEAF, max(1, disk.size - 3 * CHUNK - 9)])
            )
        changed = disk.changed if parent else None
        repository.write(
            disk, manifest=f"m{number}", parent=parent, changed=changed, job="j", threads=rng.choice([1, 2])
        )
        disk.changed = []
        states[f"m{number}"], parent = disk.content(), f"m{number}"
    for name, content in states.items():
        assert place.restored(name, threads=rng.choice([1, 3])) == content
        assert place.open().verify(name) == []


def test_an_increment_with_a_block_map_reads_only_what_changed(place):
    disk = place.dotted(3 * LEAF)
    repository = place.open()
    repository.write(disk, manifest="a", job="j")
    disk.put(LEAF + 5, b"x")
    disk.reads = 0
    written = repository.write(disk, manifest="b", parent="a", changed=[(LEAF + 5, 1)], job="j")
    assert disk.reads == 1
    assert (written.read, written.new) == (CHUNK, CHUNK)
    assert place.restored("b") == disk.content()


def test_what_is_there_already_is_not_stored_again(place):
    disk = place.filled(40 * CHUNK)
    place.open().write(disk, manifest="a", job="j")
    again = place.open().write(disk, manifest="b", job="j")
    assert (again.read, again.new) == (40 * CHUNK, 0)
    assert again.stored == 0


def test_scattered_writes_cost_their_chunks_and_little_else(place):
    disk = place.dotted(4 * LEAF)
    repository = place.open()
    repository.write(disk, manifest="a", job="j")
    disk.changed = []
    rng = random.Random(3)
    for _ in range(50):
        disk.put(rng.randrange(disk.size // 4096) * 4096, rng.randbytes(4096))
    written = repository.write(disk, manifest="b", parent="a", changed=disk.changed, job="j")
    assert written.new <= 50 * CHUNK
    assert written.stored < written.new * 1.03
    assert place.restored("b") == disk.content()


def test_zeros_and_holes_are_neither_stored_nor_written_back(place):
    disk = place.disk(8 * LEAF)
    disk.put(LEAF, bytes(LEAF))
    disk.put(5 * LEAF, b"data")
    written = place.open().write(disk, manifest="m", job="j")
    assert written.new == CHUNK
    assert written.read <= LEAF + CHUNK
    assert place.restored("m") == disk.content()
    assert (place.folder / "restored").stat().st_blocks * 512 <= 2 * CHUNK


def test_a_restore_replaces_all_of_an_old_file(place):
    disk = place.filled(3 * CHUNK)
    place.open().write(disk, manifest="m", job="j")
    target = place.folder / "old"
    target.write_bytes(b"\xff" * (10 * CHUNK))
    with target.open("r+b") as file:
        place.open().restore("m", file.fileno())
    assert target.read_bytes() == disk.content()


def test_the_same_name_again_changes_nothing_and_returns_what_was_written(place):
    disk = place.filled(2 * CHUNK)
    first = place.open().write(disk, manifest="m", job="j")
    disk.put(0, b"other")
    assert place.open().write(disk, manifest="m", job="j") == first
    assert place.restored("m") != disk.content()


def test_a_parent_can_go_before_its_child(place):
    disk = place.dotted(2 * LEAF)
    repository = place.open()
    repository.write(disk, manifest="a", job="j")
    disk.put(9, b"changed")
    repository.write(disk, manifest="b", parent="a", changed=[(9, 7)], job="j")
    repository.delete("a")
    place.collected()
    assert place.restored("b") == disk.content()
    assert place.open().verify("b") == []


def test_any_range_of_a_stored_disk_can_be_read(place):
    disk = place.disk(3 * LEAF + 100)
    rng = random.Random(5)
    for _ in range(30):
        disk.put(rng.randrange(disk.size), rng.randbytes(rng.randrange(1, 3 * CHUNK)))
    place.open().write(disk, manifest="m", job="j")
    reader, content = place.open().open("m"), disk.content()
    for _ in range(60):
        start, length = rng.randrange(disk.size + 10), rng.randrange(3 * CHUNK)
        assert reader.read(start, length) == content[start : start + length]
    covered = bytearray(len(content))
    for start, length in reader.extents():
        covered[start : start + length] = content[start : start + length]
    assert covered == content


def test_progress_ends_at_the_total_and_an_interruption_leaves_no_manifest(place):
    disk = place.dotted(2 * LEAF)
    seen = []
    place.open().write(disk, manifest="m", job="j", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8 * 5 * CHUNK, 8 * 5 * CHUNK)
    assert seen == sorted(seen)

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        place.open().write(disk, manifest="n", job="j", check=stop)
    assert [info.name for info in place.open().manifests()] == ["m"]
    assert place.keys("sessions/") == []


def test_a_cache_spares_the_store_and_is_not_trusted(place):
    disk = place.filled(6 * CHUNK)
    cache = place.folder / "cache"
    place.open(cache).write(disk, manifest="a", job="j")
    place.open(cache).open("a")
    (kept,) = (cache / "index").iterdir()
    kept.write_bytes(b"rubbish")
    assert place.open(cache).write(disk, manifest="b", job="j").new == 0
    assert place.open(cache).open("a").read(5, 10) == disk.content()[5:15]


def test_many_small_writes_keep_the_index_small_in_number(place):
    disk = place.filled(2 * CHUNK)
    for number in range(40):
        disk.put(0, f"state {number}".encode())
        place.open().write(disk, manifest=f"m{number:02}", job="j")
    assert len(place.keys("index/")) < 12
    assert place.restored("m39") == disk.content()


def test_names_that_could_leave_the_folder_are_refused(plain_place):
    for name in ("../x", "", ".hidden", "a/b", "x" * 201):
        with pytest.raises(UsageError):
            plain_place.open().delete(name)


def test_what_is_not_there_is_said_to_be_missing(plain_place):
    with pytest.raises(NotFound, match="no manifest nothing"):
        plain_place.open().open("nothing")
    with pytest.raises(NotFound):
        plain_place.open().write(plain_place.filled(9), manifest="m", parent="nothing", changed=[], job="j")


def test_a_file_that_shrinks_under_the_reader_is_an_error(plain_place):
    disk = plain_place.filled(4 * CHUNK)
    plain_place.open().write(disk, manifest="a", job="j")
    os.truncate(disk.path, CHUNK)
    with pytest.raises(StoreUnavailable, match="ends at byte"):
        plain_place.open().write(disk, manifest="b", parent="a", changed=[(2 * CHUNK, 9)], job="j")


def test_two_disks_of_one_job_are_written_at_the_same_time(place):
    first, second = place.filled(9 * CHUNK), place.filled(9 * CHUNK, seed=2, name="second")
    first.on_read = lambda _count: place.open().write(second, manifest="b", job="j")
    place.open().write(first, manifest="a", job="j")
    assert place.restored("a") == first.content()
    assert place.restored("b") == second.content()
