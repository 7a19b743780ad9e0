from __future__ import annotations

import random

import pytest

from csbsctl.errors import Damaged
from csbsctl_local.repository.layout import ChunkName, PackId
from csbsctl_local.repository.pack import Segment, Table
from csbsctl_local.repository.run import Run, merged, run_of_tables


def table(number, names, seed=0):
    """Return the table of a pack that holds names, four to a segment."""
    rng = random.Random(seed)
    segments, offset = [], 8
    for start in range(0, len(names), 4):
        part = tuple(names[start : start + 4])
        length = rng.randrange(1000, 200_000)
        segments.append(Segment(offset, length, len(part), part))
        offset += length
    return Table(PackId(number.to_bytes(12, "big")), offset, tuple(segments))


def names_of(count, seed=1):
    rng = random.Random(seed)
    return [ChunkName(rng.randbytes(32)) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 1000, 5000])
def test_every_name_of_a_run_is_found_at_its_place_and_no_other(count):
    names = names_of(count)
    tables = [table(1, names[: count // 2]), table(2, names[count // 2 :])]
    run = Run(run_of_tables(tables))
    places = dict(entry for each in tables for entry in each.entries())
    assert run.rows == count
    for name in names:
        assert list(run.find(name)) == [places[name]]
    for name in names_of(50, seed=2):
        assert run.row(name) == -1
    assert run.counts() == {each.pack: len(list(each.entries())) for each in tables if each.segments}


def test_names_that_look_alike_are_told_apart():
    names = [ChunkName(bytes([first]) * 32) for first in range(256)]
    names += [ChunkName(bytes(31) + bytes([last])) for last in range(1, 200)]
    run = Run(run_of_tables([table(1, names)]))
    assert all(run.name(run.row(name)) == name for name in names)
    assert run.row(ChunkName(bytes(16) + bytes([1]) * 16)) == -1


def test_copies_in_several_packs_are_all_found():
    names = names_of(100)
    run = Run(merged([Run(run_of_tables([table(number, names)])) for number in (1, 2, 3)]))
    assert {place.pack for place in run.find(names[7])} == {pack for pack, _ in run.packs}
    assert run.rows == 300


def test_merging_drops_packs_and_what_is_known_twice():
    names = names_of(64)
    one, two = table(1, names[:32]), table(2, names[32:])
    runs = [Run(run_of_tables([one, two])), Run(run_of_tables([one]))]
    run = Run(merged(runs, {two.pack}))
    assert run.rows == 32
    assert run.packs == [(one.pack, one.size)]


def test_a_large_run_is_kept_out_of_memory_and_works_the_same():
    names = names_of(100_000)
    run = Run(run_of_tables([table(1, names)]))
    assert all(run.row(name) >= 0 for name in names[::997])


def test_a_run_that_is_cut_does_not_parse():
    plain = run_of_tables([table(1, names_of(5))])
    for length in (0, 3, 15, len(plain) - 1):
        with pytest.raises(Damaged):
            Run(plain[:length])
