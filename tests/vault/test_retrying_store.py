from __future__ import annotations

import pytest

from csbsctl.blobs import BlobExists
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores.contract import Transient
from csbsctl.vault.stores.faulty import Faults, FaultyStore
from csbsctl.vault.stores.retrying import RetryingStore


class FastClock:
    """Real enough for retries: sleeping takes no time, but counts."""

    def __init__(self):
        self.elapsed = 0.0

    def now(self):
        raise NotImplementedError

    def monotonic(self):
        return self.elapsed

    def sleep(self, seconds):
        self.elapsed += seconds


@pytest.fixture
def fast():
    return FastClock()


def test_a_failing_store_is_tried_until_it_answers(directory, fast):
    faulty = FaultyStore(directory, Faults(refused=0.4, lost=0.2), seed=11)
    store = RetryingStore(faulty, clock=fast)
    for number in range(50):
        store.create(f"k/{number:02d}", b"x")
    assert [blob.key for blob in store.list("k/")] == [f"k/{number:02d}" for number in range(50)]
    assert faulty.injected > 20


def test_a_lost_answer_to_a_create_is_no_lost_race(directory, fast):
    store = RetryingStore(FaultyStore(directory, Faults(lost=0.7), seed=5), clock=fast)
    store.create("k", b"mine")
    with pytest.raises(BlobExists):
        store.create("k", b"other")
    assert directory.get("k") == b"mine"


def test_a_store_that_never_answered_is_given_up_on_soon(directory, fast):
    store = RetryingStore(FaultyStore(directory, Faults(refused=1.0), seed=1), clock=fast)
    with pytest.raises(Transient, match="injected"):
        store.get("k")
    assert 4 < fast.elapsed < 8


def test_a_store_that_answered_before_gets_two_minutes(directory, fast):
    directory.create("k", b"")
    faulty = FaultyStore(directory, Faults(), seed=1)
    store = RetryingStore(faulty, clock=fast)
    store.get("k")
    faulty._faults = Faults(refused=1.0)
    with pytest.raises(StoreUnavailable):
        list(store.list(""))
    assert 100 < fast.elapsed < 120


def test_what_will_not_pass_is_not_tried_again(tmp_path, fast):
    from csbsctl.vault.stores import DirectoryStore

    (tmp_path / "file").write_text("")
    store = RetryingStore(DirectoryStore(tmp_path / "file"), clock=fast)
    with pytest.raises(StoreUnavailable):
        store.create("k", b"")
    assert fast.elapsed == 0
