"""What every object store must do before a vault stands on it (csbsctl.blobs.BlobStore, csbsctl.vault.stores.contract)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.blobs import BlobExists, BlobNotFound, ScopedStore

KEYS = ["a-b/1", "a.b", "a/1", "a/2", "a/b/3", "a0", "b"]


def test_what_was_created_is_read_back(store):
    store.create("x/y", b"hello")
    assert store.get("x/y") == b"hello"


@pytest.mark.parametrize(
    "data", [b"", bytearray(b"ab"), memoryview(b"abc")], ids=["empty", "bytearray", "view"]
)
def test_any_buffer_can_be_stored(store, data):
    store.create("k", data)
    assert store.get("k") == bytes(data)


def test_a_key_is_created_once(store):
    store.create("k", b"first")
    with pytest.raises(BlobExists):
        store.create("k", b"second")
    assert store.get("k") == b"first"


def test_self_proving_bytes_are_created_once_too(store):
    store.create("k", b"first", authenticated=True)
    with pytest.raises(BlobExists):
        store.create("k", b"second", authenticated=True)


def test_one_of_many_simultaneous_creates_wins(store):
    barrier = threading.Barrier(8)

    def write(number):
        barrier.wait()
        try:
            store.create("k", b"%d" % number)
        except BlobExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(write, range(8)) if number is not None]
    assert len(winners) == 1
    assert store.get("k") == b"%d" % winners[0]


def test_put_replaces(store):
    store.put("k", b"one")
    store.put("k", b"second")
    assert store.get("k") == b"second"


def test_a_missing_key_is_said_to_be_missing(store):
    store.create("a/b", b"")
    for key in ("nothing", "a", "a/b/c", "a/c"):
        with pytest.raises(BlobNotFound):
            store.get(key)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 3, b"012"),
        (4, 3, b"456"),
        (8, 5, b"89"),
        (10, 5, b""),
        (25, 5, b""),
        (7, None, b"789"),
        (0, 0, b""),
        (10, None, b""),
    ],
)
def test_a_range_is_cut_at_the_end(store, start, length, expected):
    store.create("k", b"0123456789")
    assert store.get("k", start, length) == expected


def test_a_range_of_nothing_is_nothing(store):
    store.create("k", b"")
    assert store.get("k", 0, 1) == b""
    assert store.get("k", 3, 1) == b""
    with pytest.raises(BlobNotFound):
        store.get("other", 0, 0)


def test_a_deleted_key_is_free_again(store):
    store.create("a/k", b"1")
    store.delete("a/k")
    with pytest.raises(BlobNotFound):
        store.get("a/k")
    assert list(store.list("")) == []
    store.create("a/k", b"2")
    assert store.get("a/k") == b"2"


def test_deleting_what_is_not_there_is_fine(store):
    store.delete("never/was")
    store.create("k", b"")
    store.delete("k/below")
    assert store.get("k") == b""


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "z", "a-"])
@pytest.mark.parametrize("after", ["", "a/1", "a/b", "a-b/1", "a/b/3", "zz"])
def test_a_listing_is_in_the_order_of_keys(filled_store, prefix, after):
    expected = [key for key in sorted(KEYS) if key.startswith(prefix) and key > after]
    assert [blob.key for blob in filled_store.list(prefix, after)] == expected
    if not after:
        assert list(filled_store.keys(prefix)) == expected


def test_a_listing_tells_sizes_and_times(store):
    store.create("k", b"12345")
    (blob,) = store.list("")
    assert blob.size == 5
    assert abs(blob.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert blob.modified.utcoffset() == timedelta(0)


def test_folders_are_the_next_segments(filled_store):
    assert list(filled_store.folders("a/")) == ["b"]
    assert list(filled_store.folders("none/")) == []


def test_more_than_a_page_is_listed(store):
    keys = [f"many/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [blob.key for blob in store.list("many/")] == keys


def test_the_stores_time_dates_its_objects(store):
    before = store.now()
    store.create("k", b"")
    (blob,) = store.list("k")
    assert before - timedelta(seconds=2) <= blob.modified <= store.now() + timedelta(seconds=2)


def test_a_scope_sees_only_its_own(store):
    scope = ScopedStore(store, "data/p/")
    store.create("other", b"")
    scope.create("a/1", b"1")
    scope.create("a/2", b"2")
    assert store.get("data/p/a/1") == b"1"
    assert [blob.key for blob in scope.list("a/", "a/1")] == ["a/2"]
    scope.delete("a/1")
    assert [blob.key for blob in scope.list("")] == ["a/2"]


def test_odd_names_are_kept(store):
    for key in ("s~one%20two/x=1", "catalogue/p~%E4%BA%91/0000000001.json", "a/b+c", "a/b c"):
        store.create(key, key.encode())
        assert store.get(key) == key.encode()
        assert key in list(store.keys(key.rpartition("/")[0]))
