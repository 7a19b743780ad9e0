"""The index among several processes: what one of them still remembers is not to bring back what is gone."""

from __future__ import annotations

from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.vault.stores.memory import MemoryStore
from csbsctl_local.repository.codec import Codec
from csbsctl_local.repository.index import Index
from csbsctl_local.repository.layout import ChunkName, PackId
from csbsctl_local.repository.pack import Table


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
        writer.store([table(number)])
    gone = table(3).pack
    collector.refresh()
    collector.drop({gone})
    writer.merge()
    fresh = Index(store, codec)
    fresh.refresh()
    assert fresh.packs().keys() == {table(number).pack for number in range(16) if number != 3}
    assert len(fresh.runs) < 15, "nothing was merged, so nothing was tried"
