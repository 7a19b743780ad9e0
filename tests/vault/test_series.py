from __future__ import annotations

import os
import zlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from csbsctl.blobs import PlainSealer
from csbsctl.errors import Conflict, Damaged, NotFound, UnsupportedFormat
from csbsctl.vault.documents import Codec
from csbsctl.vault.series import EMPTY, KEPT_FOR, Series
from csbsctl.vault.stores import DirectoryStore
from csbsctl.vault.stores.faulty import Faults, FaultyStore
from csbsctl.vault.stores.retrying import RetryingStore


@pytest.fixture
def series(directory, codec):
    return Series(directory, codec, "doc")


def grow(series, count):
    head = series.head()
    for number in range(count):
        head = series.commit(head, {"value": number})
    return head


def age(series, directory, numbers):
    """Make generations older than compaction spares."""
    for number in numbers:
        path = directory.root / series.key(number)
        then = path.stat().st_mtime - KEPT_FOR.total_seconds() - 10
        os.utime(path, (then, then))


def test_an_empty_series_has_generation_zero(series):
    assert series.head() == EMPTY


def test_the_head_is_what_was_committed_last(series):
    grow(series, 3)
    assert (series.head().number, series.head().body) == (3, {"value": 2})
    assert series.at(1).body == {"value": 0}
    assert [generation.number for generation in series.history()] == [3, 2, 1]


def test_a_generation_that_never_was_is_not_found(series):
    with pytest.raises(NotFound):
        series.at(5)


def test_whoever_is_second_gets_a_conflict(series):
    base = grow(series, 1)
    series.commit(base, {"by": "first"})
    with pytest.raises(Conflict):
        series.commit(base, {"by": "second"})
    assert series.head().body == {"by": "first"}


def test_a_lost_answer_is_no_conflict(directory, codec):
    losing = FaultyStore(directory, Faults(lost=0.5), seed=3)
    series = Series(RetryingStore(losing, first_patience=60), codec, "doc")
    head = grow(series, 20)
    assert head.number == 20
    assert losing.injected


def test_a_listing_that_lags_is_caught_up_with(directory, codec):
    series = Series(FaultyStore(directory, Faults(lagging=1.0), seed=1), codec, "doc")
    head = EMPTY
    for number in range(5):
        head = series.commit(head, {"value": number})
        assert series.head().number == number + 1


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1024, 1025, 1600, 5000])
def test_the_end_of_a_long_series_in_a_bucket_is_searched(directory, codec, count):
    long = Series(FaultyStore(directory, Faults(), seed=1), codec, "doc", keep=None)
    (directory.root / "doc").mkdir(parents=True)
    for number in range(1, count + 1):
        (directory.root / long.key(number)).touch()
    assert long._highest_listed() == count


def test_compaction_keeps_the_newest_and_the_young(series, directory):
    grow(series, 15)
    assert series.compact() == 0
    age(series, directory, range(1, 4))
    assert series.compact() == 3
    assert series.numbers() == list(range(4, 16))
    age(series, directory, range(4, 16))
    series.compact()
    assert series.numbers() == list(range(6, 16))


def test_a_writer_that_slept_through_a_compaction_takes_its_own_back(series, directory):
    slept = grow(series, 2)
    grow(series, 20)
    age(series, directory, series.numbers())
    series.compact()
    assert series.numbers()[0] > slept.number + 1
    with pytest.raises(Conflict):
        series.commit(slept, {"by": "the one who slept"})
    assert series.head().number == 22
    assert series.numbers()[0] > slept.number + 1


def test_a_writer_that_slept_before_the_first_generation_takes_its_own_back(series, directory):
    grow(series, 20)
    age(series, directory, series.numbers())
    series.compact()
    with pytest.raises(Conflict):
        series.commit(EMPTY, {"by": "the one who slept"})
    assert 1 not in series.numbers()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "swap", "roll back"])
def test_damage_is_found_and_names_the_document(series, directory, damage):
    grow(series, 3)
    path, other = directory.root / series.key(3), directory.root / series.key(2)
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(bytes([*content[:20], content[20] ^ 1, *content[21:]]))
        case "truncate":
            path.write_bytes(content[:-5])
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(other.read_bytes())
    with pytest.raises(Damaged, match=r"doc/0000000003\.json"):
        series.head()


def test_a_document_of_a_newer_format_is_refused(directory, series, codec):
    key = series.key(1)
    import json

    import zstandard

    text = json.dumps({"format": 2, "generation": 1, "body": {}}).encode()
    directory.create(key, PlainSealer().seal(zstandard.compress(text), key.encode()))
    with pytest.raises(UnsupportedFormat, match="format 2"):
        series.head()


def test_a_chain_that_was_rewritten_shows_in_the_history(series, directory, codec):
    grow(series, 3)
    forged = Series(DirectoryStore(directory.root.parent / "forged"), codec, "doc")
    forged.commit(forged.commit(EMPTY, {"value": 0}), {"value": "forged"})
    (directory.root / series.key(2)).write_bytes(
        (directory.root.parent / "forged" / "doc/0000000002.json").read_bytes()
    )
    with pytest.raises(Damaged, match="written after another one"):
        list(series.history())


class Interleavings(RuleBasedStateMachine):
    """Two writers with stale views, compactions of any age in between: the history stays one line."""

    @initialize()
    def begin(self):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.store = DirectoryStore(Path(self.folder.name))
        self.series = Series(self.store, Codec(PlainSealer()), "doc", keep=3)
        self.views = [EMPTY, EMPTY]
        self.accepted = {}

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(who=st.integers(0, 1))
    def look(self, who):
        self.views[who] = self.series.head()

    @rule(who=st.integers(0, 1), value=st.integers())
    def commit(self, who, value):
        head = self.series.head()
        try:
            made = self.series.commit(self.views[who], {"value": value})
        except Conflict:
            assert head.number != self.views[who].number
            return
        assert made.number == head.number + 1
        self.accepted[made.number] = value
        self.views[who] = made

    @rule()
    def compact_everything_old(self):
        for number in self.series.numbers():
            os.utime(self.store.root / self.series.key(number), (0, 0))
        self.series.compact()

    @invariant()
    def the_head_is_the_last_that_was_accepted(self):
        if hasattr(self, "series"):
            head = self.series.head()
            assert head.number == max(self.accepted, default=0)
            assert not head.number or head.body == {"value": self.accepted[head.number]}
            numbers = self.series.numbers()
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True


Interleavings.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
test_any_interleaving_keeps_one_history = Interleavings.TestCase


def test_documents_compress_well(directory, codec):
    body = {"bindings": {f"binding-{n}": {"policy": "gold", "servers": [f"web-{n}"]} for n in range(1000)}}
    Series(directory, codec, "doc").commit(EMPTY, body)
    (blob,) = directory.list("doc/")
    assert blob.size < 20_000
    assert zlib.crc32(directory.get(blob.key))
