"""The index among several processes: what one of them still remembers is not to bring back what is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from csbsctl.blobs import Buffer, PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.errors import LeaseLost
from csbsctl.vault.stores.memory import MemoryStore
from csbsctl_local.repository import FileSource, Repository
from csbsctl_local.repository.codec import Codec
from csbsctl_local.repository.index import Index
from csbsctl_local.repository.layout import ChunkName, PackId
from csbsctl_local.repository.pack import Table


def nothing() -> None: ...


def table(number: int) -> Table:
    """Return what a pack of one chunk holds."""
    return Table(
        PackId(bytes(8) + number.to_bytes(4, "big")),
        100,
        ((0, 50, 1, (ChunkName(bytes([number]) * 32),)),),
    )


def test_a_merge_does_not_bring_back_packs_that_were_collected_while_it_was_not_looking():
    store, codec = MemoryStore(SystemClock()), Codec(PlainSealer())
    writer, collector = Index(store, codec), Index(store, codec)
    for number in range(16):
        writer.store([table(number)], nothing)
    gone = table(3).pack
    collector.refresh()
    collector.drop({gone}, nothing)
    writer.merge(set, nothing)
    fresh = Index(store, codec)
    fresh.refresh()
    assert fresh.packs().keys() == {table(number).pack for number in range(16) if number != 3}
    assert len(fresh.runs) < 15, "nothing was merged, so nothing was tried"


class Interrupted(MemoryStore):
    """While the first object of a kind is stored the writer is declared dead, and its packs are collected."""

    def __init__(self, kind: str) -> None:
        super().__init__(SystemClock())
        self._kind = kind

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        super().create(key, data, authenticated=authenticated)
        if self._kind and key.startswith(self._kind):
            self._kind = ""
            self.delete_all([each.key for prefix in ("sessions/", "packs/") for each in self.list(prefix)])


@pytest.mark.parametrize("kind", ["packs/", "index/"])
def test_who_was_declared_dead_leaves_no_index_of_packs_that_are_gone(tmp_path: Path, kind: str):
    store = Interrupted(kind)
    (tmp_path / "disk").write_bytes(b"x" * 65536)
    repository, source = Repository(store, PlainSealer(), clock=SystemClock()), FileSource(tmp_path / "disk")
    with pytest.raises(LeaseLost):
        repository.write(source, manifest="m1", job="j1")
    assert list(store.list("index/")) == []
    repository.write(source, manifest="m2", job="j2")
    assert repository.check(read_data=True) == []
    source.close()
