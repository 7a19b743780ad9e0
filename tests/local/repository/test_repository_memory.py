"""Memory does not grow with the disk: a sparse terabyte is stored, changed, read, verified and restored in little."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, re, sys
from pathlib import Path
from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import FileSource, Repository

folder, size = Path(sys.argv[1]), int(sys.argv[2])
repository = Repository(DirectoryStore(folder / "store"), PlainSealer(), clock=SystemClock())
disk = folder / "disk"
spots = [number * (size // 50) for number in range(50)] + [size - 9]
with disk.open("w+b") as file:
    file.truncate(size)
    for spot in spots:
        file.seek(spot)
        file.write(os.urandom(8))
with FileSource(disk) as source:
    repository.write(source, manifest="a", job="j")
with disk.open("r+b") as file:
    file.seek(size // 3)
    file.write(b"changed")
with FileSource(disk) as source:
    assert repository.write(source, manifest="b", parent="a", changed=[(size // 3, 7)], job="j").read == 65536
assert repository.verify("b") == []
with (folder / "restored").open("w+b") as file, disk.open("rb") as original:
    repository.restore("b", file.fileno())
    for spot in [*spots, size // 3]:
        assert os.pread(file.fileno(), 8, spot) == os.pread(original.fileno(), 8, spot)
repository.delete("a")
for _ in range(2):
    repository.collect(job="c", open_jobs=frozenset())
assert repository.check(read_data=True) == []
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def peak(folder, size):
    folder.mkdir()
    words = [sys.executable, "-c", SCRIPT, str(folder), str(size)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_a_terabyte_takes_hardly_more_memory_than_a_gigabyte(tmp_path):
    small = peak(tmp_path / "small", 1 << 30)
    large = peak(tmp_path / "large", 1 << 40)
    assert large < small + 40 * 1024 * 1024
    assert large < 150 * 1024 * 1024
