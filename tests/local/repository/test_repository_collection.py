from __future__ import annotations

import random

import pytest

from csbsctl.errors import Conflict, Damaged, LeaseLost

CHUNK = 65536
LEAF = 256 * CHUNK
NOBODY: frozenset[str] = frozenset()


def bytes_of(place):
    return sum(blob.size for blob in place.store.list("packs/"))


def test_what_nothing_needs_goes_in_two_rounds(place):
    disk = place.filled(5 * CHUNK)
    repository = place.open()
    repository.write(disk, manifest="m", job="j")
    repository.delete("m")
    first = repository.collect(job="c", open_jobs=NOBODY)
    assert (first.freed, first.condemned) == (0, bytes_of(place))
    second = repository.collect(job="c", open_jobs=NOBODY)
    assert second.freed == first.condemned
    assert place.keys() == []


def test_what_is_needed_stays_whatever_goes_around_it(place):
    rng = random.Random(2)
    disk, states = place.dotted(LEAF // 4), {}
    repository, parent = place.open(), None
    for number in range(6):
        disk.changed = []
        for _ in range(4):
            disk.put(rng.randrange(disk.size), rng.randbytes(3 * CHUNK))
        name = f"m{number}"
        repository.write(
            disk, manifest=name, parent=parent, changed=disk.changed if parent else None, job="j"
        )
        states[name], parent = disk.content(), name
    for name in rng.sample(sorted(states), len(states)):
        repository.delete(name)
        del states[name]
        place.collected(2)
        for other, content in states.items():
            assert place.open().verify(other) == []
            assert place.restored(other) == content
    assert place.keys() == []


def test_deletion_waits_for_every_job_that_was_open_when_packs_were_condemned(place):
    disk = place.filled(3 * CHUNK)
    repository = place.open()
    repository.write(disk, manifest="m", job="j")
    repository.delete("m")
    repository.collect(job="c1", open_jobs=frozenset({"c1", "slow"}))
    assert repository.collect(job="c2", open_jobs=frozenset({"c2", "slow", "young"})).freed == 0
    assert repository.collect(job="c3", open_jobs=frozenset({"c3", "young"})).freed > 0


def test_a_writer_that_relied_on_a_pack_before_it_was_condemned_stores_its_chunks_anew(place):
    """The collector condemns between the writer's lookups and its commit; the writer sees the verdict."""
    disk = place.dotted(LEAF + 3 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    other = place.open()

    def collect(count):
        if count == 2:  # the first chunks are already found in the old pack
            assert other.collect(job="c", open_jobs=frozenset({"c", "w"})).condemned > 0

    disk.reads, disk.on_read = 0, collect
    place.open().write(disk, manifest="new", job="w", threads=1)
    disk.on_read = lambda _count: None
    place.collected()
    assert place.open().verify("new") == []
    assert place.restored("new") == disk.content()


def test_a_writer_that_committed_without_seeing_the_verdict_keeps_its_packs_alive(place):
    """The verdict falls after the writer's last look and before its manifest: deletion waits for it and marks again."""
    disk = place.filled(5 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    other = place.open()
    checks = []

    def condemn():  # the last check comes after the writer's last look at the doom list
        checks.append(1)
        if len(checks) == 2:
            assert other.collect(job="c", open_jobs=frozenset({"c", "w"})).condemned > 0
            assert other.collect(job="c", open_jobs=frozenset({"c", "w"})).freed == 0

    place.open().write(disk, manifest="new", job="w", check=condemn, threads=1)
    assert len(checks) == 2
    place.collected()
    assert place.open().verify("new") == []
    assert place.restored("new") == disk.content()
    assert place.keys("doom/") == []


def test_a_writer_whose_job_was_ended_cannot_commit_when_it_wakes_up(place):
    disk = place.filled(5 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    other = place.open()
    checks = []

    def sleep():
        checks.append(1)
        if len(checks) == 2:  # meanwhile somebody else ended the job, and two collections pass
            other.collect(job="c", open_jobs=frozenset({"c", "w"}))
            assert other.collect(job="d", open_jobs=frozenset({"d"})).freed > 0

    with pytest.raises(LeaseLost):
        place.open().write(disk, manifest="new", job="w", check=sleep, threads=1)
    assert place.keys("manifests/") == []


def test_a_parent_deleted_under_its_child_being_written_is_kept_as_far_as_the_child_needs_it(place):
    disk = place.dotted(2 * LEAF)
    place.open().write(disk, manifest="a", job="j")
    disk.put(5, b"changed")
    other = place.open()

    def lose_the_parent(_count):
        other.delete("a")
        other.collect(job="c", open_jobs=frozenset({"c", "w"}))
        other.collect(job="c", open_jobs=frozenset({"c", "w"}))

    disk.on_read = lose_the_parent
    place.open().write(disk, manifest="b", parent="a", changed=[(5, 7)], job="w")
    place.collected()
    assert place.open().verify("b") == []
    assert place.restored("b") == disk.content()


def test_a_new_writer_does_not_reuse_what_is_condemned(place):
    disk = place.filled(5 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    place.open().collect(job="c", open_jobs=NOBODY)
    assert place.open().write(disk, manifest="new", job="w").new == 5 * CHUNK
    place.collected()
    assert place.restored("new") == disk.content()


def test_mostly_dead_packs_are_compacted_within_the_budget(place):
    disk = place.filled(40 * CHUNK)
    place.open().write(disk, manifest="a", job="j")
    disk.put(0, random.Random(9).randbytes(30 * CHUNK))
    place.open().write(disk, manifest="b", job="j")
    place.open().delete("a")
    assert place.open().collect(job="c", open_jobs=NOBODY, budget_bytes=5 * CHUNK).copied == 0
    assert place.open().collect(job="c", open_jobs=NOBODY).copied > 9 * CHUNK
    place.collected()
    assert bytes_of(place) < 40.5 * CHUNK
    assert place.open().verify("b") == []
    assert place.restored("b") == disk.content()


def test_a_crowd_of_small_packs_becomes_few(plain_place):
    place = plain_place
    disk = place.filled(4 * CHUNK)
    for number in range(12):
        disk.put(0, f"{number}".encode())
        place.open().write(disk, manifest=f"m{number}", job="j")
    place.collected(4)
    assert len(place.keys("packs/")) <= 4
    for number in range(12):
        assert place.open().verify(f"m{number}") == []


def test_a_reader_that_opened_before_a_compaction_goes_on_after_it(place):
    disk = place.filled(40 * CHUNK)
    place.open().write(disk, manifest="a", job="j")
    disk.put(0, random.Random(9).randbytes(30 * CHUNK))
    place.open().write(disk, manifest="b", job="j")
    reader = place.open().open("b")
    place.open().delete("a")
    place.collected(4)
    assert reader.read(0, disk.size) == disk.content()


def test_two_collections_at_once_are_one(place):
    disk = place.filled(3 * CHUNK)
    repository, other = place.open(), place.open()
    repository.write(disk, manifest="m", job="j")
    answers = []

    def meddle():
        answers.append(other.collect(job="d", open_jobs=frozenset({"c", "d"})))

    repository.collect(job="c", open_jobs=frozenset({"c", "d"}), check=meddle)
    assert {answer.busy for answer in answers} == {"c"}
    assert place.keys("collector/") == []


def test_the_seat_of_a_dead_collector_is_taken_over_and_it_stops_when_it_wakes(place):
    disk = place.filled(3 * CHUNK)
    repository, other = place.open(), place.open()
    repository.write(disk, manifest="m", job="j")

    def meddle():
        other.collect(job="d", open_jobs=frozenset({"d"}))

    with pytest.raises(Conflict, match="took over"):
        repository.collect(job="c", open_jobs=frozenset({"c"}), check=meddle)
    assert place.keys("collector/") == []


def test_nothing_is_deleted_while_a_manifest_cannot_be_read(place):
    disk = place.filled(3 * CHUNK)
    repository = place.open()
    repository.write(disk, manifest="a", job="j")
    repository.write(disk, manifest="b", job="j")
    place.flip("manifests/a", 40)
    before = place.keys("packs/")
    with pytest.raises(Damaged, match="manifest a"):
        repository.collect(job="c", open_jobs=NOBODY)
    assert place.keys("packs/") == before
    assert place.keys("sessions/") + place.keys("collector/") == []


@pytest.mark.parametrize("moment", [1, 2])
def test_a_child_never_inherits_silently_what_is_deleted_under_it(place, moment):
    """The parent itself relied on a condemned pack without knowing; it goes while its child is written or committed."""
    disk = place.dotted(2 * LEAF)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    other = place.open()

    def at(number, action):
        calls = []

        def check():
            calls.append(1)
            if len(calls) == number:
                action()

        return check

    condemn = at(3, lambda: other.collect(job="c", open_jobs=frozenset({"c", "w"})))
    place.open().write(disk, manifest="parent", job="w", check=condemn, threads=1)
    disk.put(5, b"changed")

    def lose_the_parent():
        other.delete("parent")
        other.collect(job="d", open_jobs=frozenset({"d", "v"}))
        other.collect(job="e", open_jobs=frozenset({"e", "v"}))

    child = {"manifest": "child", "parent": "parent", "changed": [(5, 7)], "job": "v", "threads": 1}
    with pytest.raises(Damaged):
        place.open().write(disk, check=at(moment, lose_the_parent), **child)
    assert place.keys("manifests/") == []
    place.open().write(disk, manifest="child", job="v")
    place.collected()
    assert place.restored("child") == disk.content()


def test_a_verification_that_runs_beside_a_compaction_finds_no_damage(place):
    disk = place.filled(40 * CHUNK)
    place.open().write(disk, manifest="a", job="j")
    disk.put(0, random.Random(9).randbytes(30 * CHUNK))
    place.open().write(disk, manifest="b", job="j")
    place.open().delete("a")
    place.collected(1)
    checks = []

    def compact():
        checks.append(1)
        if len(checks) == 1:
            assert place.open().collect(job="c", open_jobs=NOBODY).freed > 0

    assert place.open().verify("b", check=compact) == []
    assert place.open().verify("b", "quick") == []
