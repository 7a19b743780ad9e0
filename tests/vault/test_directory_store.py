from __future__ import annotations

import os
import subprocess
import sys

import pytest

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores import DirectoryStore, ReadOnlyStore


def test_nothing_is_made_before_the_first_write(tmp_path):
    store = DirectoryStore(tmp_path / "store")
    assert list(store.list("")) == []
    with pytest.raises(BlobNotFound):
        store.get("k")
    assert not (tmp_path / "store").exists()


def test_a_temporary_file_is_never_listed_and_goes_when_it_is_old(directory, tmp_path):
    directory.create("a", b"1")
    old = tmp_path / "store" / ".tmp" / "old"
    young = tmp_path / "store" / ".tmp" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert [blob.key for blob in directory.list("")] == ["a"]
    DirectoryStore(directory.root).create("b", b"2")
    assert not old.exists()
    assert young.exists()


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "store").write_text("not a folder")
    store = DirectoryStore(tmp_path / "store")
    for action in (lambda: store.get("k"), lambda: store.create("k", b""), lambda: list(store.list(""))):
        with pytest.raises(StoreUnavailable, match="a file stands where a folder should be") as caught:
            action()
        assert caught.value.hint


FULL = """
import sys
from pathlib import Path
from csbsctl.blobs import BlobNotFound
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
store.create("a", b"1")
try:
    store.create("b", bytes(200_000))
except StoreUnavailable as error:
    print(error)
try:
    store.get("b")
except BlobNotFound:
    print("and nothing of it is there")
store.create("c", b"small things still fit")
"""

READ_ONLY = """
import sys
from pathlib import Path
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
assert list(store.list("")) == [] and store.now()
try:
    store.create("a", b"1")
except StoreUnavailable as error:
    print(error)
"""


def mounted(options, script, folder):
    """Run a script on a small file system of its own, in a mount namespace that ends with it."""
    folder.mkdir()
    shell = f'mount -t tmpfs -o {options} none "$1" && "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", shell, "sh", folder, sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mounts here")
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_full_disk_is_said_to_be_full(tmp_path):
    said = mounted("size=128k", FULL, tmp_path / "small")
    assert "disk full" in said
    assert "and nothing of it is there" in said


def test_a_read_only_file_system_can_be_read_and_says_so(tmp_path):
    assert "read-only file system" in mounted("ro,size=128k", READ_ONLY, tmp_path / "fixed")


def test_a_folder_that_cannot_be_changed_is_said_to_be(directory, tmp_path):
    directory.create("a/k", b"1")
    folder = tmp_path / "store" / "a"
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
        pytest.skip("the file system has no immutable flag here")
    try:
        with pytest.raises(StoreUnavailable, match=r"operation not permitted|permission denied"):
            directory.create("a/other", b"2")
        assert directory.get("a/k") == b"1"
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", ".a", "a/.b", "../a", "a/../b"])
def test_a_key_never_leaves_the_folder(directory, key):
    with pytest.raises(ValueError, match="is not a key"):
        directory.create(key, b"")


def test_processes_race_for_keys_and_one_wins_each(tmp_path):
    script = (
        "import sys; from pathlib import Path; from csbsctl.blobs import BlobExists;"
        "from csbsctl.vault.stores import DirectoryStore\n"
        "store, wins = DirectoryStore(Path(sys.argv[1])), 0\n"
        "for number in range(60):\n"
        "    try: store.create(f'race/{number}', sys.argv[2].encode()); wins += 1\n"
        "    except BlobExists: pass\n"
        "print(wins)"
    )
    command = [sys.executable, "-c", script, tmp_path / "s"]
    racers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(3)]
    assert sum(int(racer.communicate()[0]) for racer in racers) == 60


def test_a_store_for_reading_refuses_changes(directory):
    directory.create("a", b"1")
    store = ReadOnlyStore(directory)
    assert store.get("a") == b"1"
    for change in (lambda: store.create("b", b""), lambda: store.put("a", b""), lambda: store.delete("a")):
        with pytest.raises(Exception, match="open for reading only"):
            change()


def test_a_lost_race_leaves_no_temporary_file(directory, tmp_path):
    directory.create("a", b"1")
    with pytest.raises(BlobExists):
        directory.create("a", b"2")
    assert not list((tmp_path / "store" / ".tmp").iterdir())
