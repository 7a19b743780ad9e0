from __future__ import annotations

import os
import random
import shutil

import pytest

from csbsctl.errors import CsbsError, Damaged, NotFound, UnsupportedFormat
from csbsctl_local.repository import FileSource
from csbsctl_local.repository.codec import Codec
from csbsctl_local.repository.layout import document_context

CHUNK = 65536
LEAF = 256 * CHUNK


@pytest.fixture
def stored(place):
    """Return a place with one disk of two leaves stored as ``m``, in a pack of data (first) and one of leaves."""
    disk = place.dotted(LEAF + 4 * CHUNK)
    disk.put(0, b"text " * (CHUNK // 5 * 3))
    place.open().write(disk, manifest="m", job="j", threads=1)
    place.content = disk.content()
    return place


def packs_by_size(place):
    return sorted(place.keys("packs/"), key=lambda key: -place.path(key).stat().st_size)


def assert_never_wrong(place):
    """Reading gives the right bytes or an error, never other bytes."""
    try:
        assert place.restored("m") == place.content
    except (Damaged, NotFound):
        return


@pytest.mark.parametrize("seed", range(12))
def test_any_flipped_bit_is_found_by_a_full_verification(stored, seed):
    rng = random.Random(seed)
    key = rng.choice(stored.keys("packs/") + stored.keys("manifests/"))
    stored.flip(key, rng.randrange(stored.path(key).stat().st_size))
    flaws = stored.open().verify("m")
    assert flaws
    assert_never_wrong(stored)


@pytest.mark.parametrize("at", [0, 7, -1, -8, -9, -16, -17, -40])
def test_bits_flipped_in_the_frame_of_a_pack_are_found_and_cost_no_data(stored, at):
    key = packs_by_size(stored)[0]
    stored.flip(key, at)
    (flaw,) = stored.open().verify("m")
    assert key.rpartition("/")[2] in flaw.message
    assert flaw.ranges == ()
    assert stored.restored("m") == stored.content


def test_the_ranges_that_damage_costs_are_named_exactly(stored):
    stored.flip(packs_by_size(stored)[0], 30)
    (flaw,) = stored.open().verify("m")
    reader = stored.open().open("m")
    for start, length in flaw.ranges:
        with pytest.raises(Damaged):
            reader.read(start, length)
    hurt = bytearray(len(stored.content))
    for start, length in flaw.ranges:
        hurt[start : start + length] = b"\1" * length
    for at in range(0, len(stored.content), CHUNK):
        if not hurt[at]:
            assert reader.read(at, CHUNK) == stored.content[at : at + CHUNK]


@pytest.mark.parametrize("cut", [1, 16, 17, 5000, None])
def test_a_pack_cut_short_or_gone_is_found(stored, cut):
    for key in packs_by_size(stored):
        path = stored.path(key)
        whole = path.read_bytes()
        path.chmod(0o600)
        if cut is None:
            path.unlink()
        else:
            os.truncate(path, max(0, len(whole) - cut))
        assert stored.open().verify("m")
        assert stored.open().verify("m", "quick")
        assert_never_wrong(stored)
        path.write_bytes(whole)
    assert stored.open().verify("m") == []


def test_a_pack_with_something_appended_is_found(stored):
    path = stored.path(packs_by_size(stored)[0])
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"more")
    assert stored.open().verify("m")
    assert_never_wrong(stored)


def test_swapped_packs_are_found(place):
    disk = place.filled(20 * CHUNK)
    place.open().write(disk, manifest="m", job="j", threads=1)
    place.content = disk.content()
    first = packs_by_size(place)[0]
    other = place.filled(20 * CHUNK, seed=2, name="other")
    place.open().write(other, manifest="n", job="j", threads=1)
    second = next(key for key in packs_by_size(place) if key != first)
    a, b = place.path(first), place.path(second)
    shutil.move(a, place.folder / "kept")
    shutil.move(b, a)
    shutil.move(place.folder / "kept", b)
    assert place.open().verify("m")
    assert place.open().verify("n")
    assert_never_wrong(place)


def test_a_swapped_manifest_is_found(place):
    disk = place.filled(3 * CHUNK)
    place.open().write(disk, manifest="m", job="j")
    disk.put(0, b"other")
    place.open().write(disk, manifest="n", job="j")
    place.path("manifests/m").unlink()
    shutil.copy(place.path("manifests/n"), place.path("manifests/m"))
    assert place.open().verify("m")
    with pytest.raises(Damaged, match="manifest m"):
        place.open().open("m")


def test_two_swapped_segments_of_a_pack_are_found(place):
    disk = place.filled(8 * CHUNK)  # noise: both segments have the same length
    place.open().write(disk, manifest="m", job="j", threads=1)
    place.content = disk.content()
    path = place.path(packs_by_size(place)[0])
    data = path.read_bytes()
    length = (len(data) - 8) // 2 // 1000 * 1000
    path.chmod(0o600)
    path.write_bytes(
        data[:8] + data[8 + length : 8 + 2 * length] + data[8 : 8 + length] + data[8 + 2 * length :]
    )
    assert place.open().verify("m")
    assert_never_wrong(place)


def test_a_sample_reads_a_share_and_finds_what_it_hits(stored):
    for key in stored.keys("packs/"):
        stored.flip(key, 30)
    assert stored.open().verify("m", "quick") == [] or stored.open().verify("m", "quick")[0].ranges
    assert stored.open().verify("m", "sample", sample=0.01)


def test_a_lost_index_is_built_anew_from_the_packs(stored):
    for key in stored.keys("index/"):
        stored.path(key).unlink()
    assert stored.open().verify("m")
    problems = stored.open().check(repair=True)
    assert [problem.manifests for problem in problems] == [("m",)]
    assert all(problem.repaired for problem in problems)
    assert stored.open().check() == []
    assert stored.open().verify("m") == []
    assert stored.restored("m") == stored.content


def test_a_damaged_index_is_replaced(stored):
    (key,) = stored.keys("index/")
    stored.flip(key, 50)
    assert any(key in problem.message for problem in stored.open().check())
    assert all(problem.repaired for problem in stored.open().check(repair=True))
    assert stored.open().check() == []
    assert key not in stored.keys("index/")
    assert stored.restored("m") == stored.content


def test_a_damaged_pack_is_emptied_of_what_is_sound(stored):
    key = packs_by_size(stored)[0]
    stored.flip(key, -20)  # its table
    (problem,) = stored.open().check(repair=True)
    assert problem.repaired
    assert stored.open().check(read_data=True) == []
    assert stored.open().verify("m") == []
    stored.collected()
    assert key not in stored.keys("packs/")
    assert stored.restored("m") == stored.content


def test_lost_chunks_heal_when_a_later_backup_stores_them_again(stored):
    stored.flip(packs_by_size(stored)[0], 30)
    (problem,) = stored.open().check(read_data=True)
    assert problem.manifests == ("m",)
    (problem,) = stored.open().check(repair=True, read_data=True)
    assert not problem.repaired
    assert stored.open().verify("m")
    disk = stored.folder / "disk"
    with FileSource(
        disk
    ) as source:  # an increment that says nothing changed reads what was lost all the same
        written = stored.open().write(source, manifest="later", parent="m", changed=[], job="j")
    assert 0 < written.read <= 5 * CHUNK
    assert stored.open().verify("later") == []
    assert stored.open().verify("m") == []
    assert stored.restored("m") == stored.content
    stored.collected()
    assert stored.keys("lost/") == []
    assert stored.open().check(read_data=True) == []


def test_a_second_copy_stands_in_for_a_damaged_one(place):
    disk = place.filled(5 * CHUNK)
    place.open().write(disk, manifest="old", job="j")
    place.open().delete("old")
    place.open().collect(job="c", open_jobs=frozenset({"slow"}))
    before = set(place.keys("packs/"))
    place.open().write(
        disk, manifest="m", job="j"
    )  # the old packs are condemned, so there are two copies now
    for key in set(place.keys("packs/")) - before:
        place.flip(key, 30)
    assert place.restored("m") == disk.content()


def test_a_manifest_of_a_newer_format_is_refused_by_name(plain_place):
    disk = plain_place.filled(9)
    plain_place.open().write(disk, manifest="m", job="j")
    codec, key = Codec(plain_place.sealer), "manifests/m"
    plain = bytearray(codec.decode(plain_place.store.get(key), document_context(key)))
    plain[4] = 9
    plain_place.store.put(key, codec.encode(plain, document_context(key)))
    with pytest.raises(UnsupportedFormat, match="format 9"):
        plain_place.open().open("m")


@pytest.mark.parametrize("seed", range(20))
def test_rubbish_anywhere_gives_errors_of_ours_only(stored, seed):
    rng = random.Random(seed)
    for _ in range(3):
        key = rng.choice(stored.keys())
        path = stored.path(key)
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        start = rng.randrange(len(data) + 1)
        match rng.randrange(3):
            case 0:
                del data[start:]
            case 1:
                data[start : start + 9] = rng.randbytes(9)
            case _:
                data[start:start] = rng.randbytes(5)
        path.write_bytes(data)
    for action in (
        lambda: stored.open().verify("m"),
        lambda: stored.open().check(repair=True, read_data=True),
        lambda: stored.open().collect(job="c", open_jobs=frozenset()),
        lambda: assert_never_wrong(stored),
    ):
        try:
            action()
        except CsbsError:
            continue
