"""A writer that is declared dead right after its commit: whoever took over may rely on what it stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.errors import LeaseLost, NotFound
from csbsctl.vault.stores import DirectoryStore
from csbsctl_local.repository import FileSource, Repository


class EndsSessions(DirectoryStore):
    """A store in which a collector ends every session the moment a manifest is stored; ``then`` follows."""

    then = staticmethod(lambda: None)

    def create(self, key: str, data: bytes, *, authenticated: bool = False) -> None:
        super().create(key, data, authenticated=authenticated)
        if key.startswith("manifests/"):
            for blob in list(self.list("sessions/")):
                self.delete(blob.key)
            self.then()


def written(folder: Path, store: DirectoryStore) -> tuple[Repository, bytes]:
    data = hashlib.shake_256(b"disk").digest(1 << 20)
    (folder / "disk").write_bytes(data)
    repository = Repository(store, PlainSealer(), clock=SystemClock())
    with (folder / "disk").open("rb") as file, pytest.raises(LeaseLost):
        repository.write(FileSource(file.fileno()), manifest="m", job="j")
    return repository, data


def test_what_is_whole_stays(tmp_path: Path):
    repository, data = written(tmp_path, EndsSessions(tmp_path / "store"))
    assert repository.open("m").read(0, len(data)) == data
    assert repository.check(read_data=True) == []


def test_what_relies_on_packs_that_are_gone_goes(tmp_path: Path):
    store = EndsSessions(tmp_path / "store")

    def collect() -> None:
        for blob in [*store.list("packs/"), *store.list("index/")]:
            store.delete(blob.key)

    store.then = collect  # type: ignore[assignment]
    repository, _ = written(tmp_path, store)
    with pytest.raises(NotFound):
        repository.open("m")
