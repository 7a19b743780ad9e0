"""Writing behind: everything is durable at the end, and no failure of the disk goes unheard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from csbsctl_local.repository.write_behind import WriteBehind

MANY = 64 * 1024 * 1024


def test_it_ends_whether_or_not_anything_was_written(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb", buffering=0) as file, WriteBehind(file.fileno()) as behind:
        behind.finish()
    with (tmp_path / "disk").open("wb", buffering=0) as file, WriteBehind(file.fileno()) as behind:
        file.write(b"some")
        behind.wrote(MANY)
        behind.wrote(4)
        behind.finish()
    assert (tmp_path / "disk").read_bytes() == b"some"


def test_a_failure_in_the_background_is_raised_though_a_later_sync_succeeds(tmp_path: Path) -> None:
    # A pipe cannot be synced. Its number then goes to a file, which can: as the kernel, which tells of a failure once.
    reader, writer = os.pipe()
    with (tmp_path / "disk").open("wb") as file, WriteBehind(writer) as behind:
        behind.wrote(MANY)
        while behind.alive:
            os.sched_yield()
        os.dup2(file.fileno(), writer)
        os.fsync(writer)
        with pytest.raises(OSError, match="Invalid argument"):
            behind.wrote(1)
        with pytest.raises(OSError, match="Invalid argument"):
            behind.finish()
    os.close(reader)
    os.close(writer)


def test_a_writer_that_gives_up_leaves_no_thread_behind(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        behind = WriteBehind(file.fileno())
        with pytest.raises(KeyError), behind:
            raise KeyError
    assert not behind.alive
