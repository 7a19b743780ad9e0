from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores import DirectoryStore, outage
from csbsctl.vault.stores.contract import Transient
from csbsctl.vault.stores.faulty import Faults, FaultyStore
from csbsctl.vault.stores.retrying import RetryingStore


class FastClock:
    """Real enough for retries: sleeping takes no time, but counts."""

    def __init__(self):
        self.elapsed = 0.0

    def now(self):
        return datetime(2026, 11, 28, 2, tzinfo=UTC) + timedelta(seconds=self.elapsed)

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
    assert 8 - 5 < fast.elapsed < 8, "given up where the next wait, of 5 s at most, would end after 8 s"


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
    (tmp_path / "file").write_text("")
    store = RetryingStore(DirectoryStore(tmp_path / "file"), clock=fast)
    with pytest.raises(StoreUnavailable):
        store.create("k", b"")
    assert fast.elapsed == 0


def test_people_are_told_once_that_a_store_is_away_and_once_that_it_is_back(directory, fast):
    said = []
    faulty = FaultyStore(directory, Faults(), seed=1)
    store = RetryingStore(faulty, clock=fast, name="the vault at s3://b/p", tell=said.append)
    store.put("k", b"")
    for number in range(1, 4):  # a request that was not answered once is not worth a word
        faulty._faults = Faults(refused=0.3)
        store.put(f"k{number}", b"")
    assert said == []
    faulty._faults = Faults(refused=1.0)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.get("k")
    (away,) = said
    assert "the vault at s3://b/p does not answer since 02:00:0" in away
    assert "injected" in away
    faulty._faults = Faults()
    store.get("k")
    assert len(said) == 2
    assert "answers again, after" in said[1]


def test_the_patience_of_all_requests_ends_together(directory, fast):
    faulty = FaultyStore(directory, Faults(), seed=1)
    store = RetryingStore(faulty, clock=fast)
    store.put("k", b"")
    faulty._faults = Faults(refused=1.0)
    for _ in range(50):
        with pytest.raises(StoreUnavailable) as caught:
            store.get("k")
    assert 100 < fast.elapsed < 120, "not so long for each of them"
    assert caught.value.hint is None
    faulty._faults = Faults()
    assert store.get("k") == b""


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_what_a_network_file_system_says_in_passing_is_tried_again(directory, fast, monkeypatch, number):
    """The system's own call fails as it does while the server of a mount restarts."""
    store = RetryingStore(directory, clock=fast, patience=20, first_patience=20)
    left = [3]

    def passing(call):
        def failing(*arguments, **options):
            if left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        return failing

    for name in ("open", "fsync", "link", "rename", "scandir"):
        left[0] = 3
        with monkeypatch.context() as patched:
            patched.setattr(os, name, passing(getattr(os, name)))
            store.create(f"k/{name}", b"x")
            store.put(f"p/{name}", b"y")
            assert store.get(f"k/{name}") == b"x"
            assert f"k/{name}" in [blob.key for blob in store.list("k/")]
            assert f"p/{name}" in [*store.keys("p/")]
        assert not left[0], name
    left[0] = 1000
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", passing(os.fsync))
        with pytest.raises(StoreUnavailable, match=r"stale|input/output"):
            store.create("never", b"x")
    with pytest.raises(BlobNotFound):
        store.get("never")


class SilentStore(DirectoryStore):
    """Accepts requests, and answers once it is let."""

    def __init__(self, folder, fast):
        super().__init__(folder)
        self.fast, self.lasts, self.outage = fast, 0.0, None

    def get(self, key, start=0, length=None):
        for _ in range(int(self.lasts)):
            self.fast.sleep(1)
            self.outage.look()
        return super().get(key, start, length)


def silent_store(tmp_path, fast):
    said = []
    inner = SilentStore(tmp_path / "vault", fast)
    store = RetryingStore(inner, clock=fast, name="the vault at s3://b/p", tell=said.append)
    inner.outage = store.outage
    store.create("k", b"x" * 10)
    return store, inner, said


def test_a_request_that_nobody_answers_is_told_once_and_so_is_the_answer(tmp_path, fast):
    store, inner, said = silent_store(tmp_path, fast)
    inner.lasts = 9
    assert store.get("k") == b"x" * 10
    assert said == []
    inner.lasts = 40
    store.get("k")
    assert said == [
        "the vault at s3://b/p has been silent since 02:00:09 UTC: still waiting for its answer",
        "the vault at s3://b/p answers again, after 40 s",
    ]


def test_a_large_request_may_take_its_time(tmp_path, fast):
    store, inner, said = silent_store(tmp_path, fast)
    inner.lasts = 40
    store.get("k", 0, 16 << 20)
    assert said == []


def test_the_thread_that_looks_for_silence_ends_with_its_store(tmp_path, fast, monkeypatch):
    monkeypatch.setattr(outage, "_LOOK_EVERY", 0.01)
    before = set(threading.enumerate())
    store, inner, _ = silent_store(tmp_path, fast)
    (watcher,) = set(threading.enumerate()) - before
    del store, inner
    watcher.join(10)
    assert not watcher.is_alive()
