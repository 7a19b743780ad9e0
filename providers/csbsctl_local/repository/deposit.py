"""A deposit: where new chunks go. Decides what is new, gathers segments into packs, and stores packs and index.

The order is data, then index; the manifest is the caller's. Each thread has a lane with a pack of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from csbsctl.blobs import BlobStore
from csbsctl.boundaries import Boundary

from .codec import Codec
from .index import Index
from .layout import CHUNK, PACK_TARGET, SEGMENT_CHUNKS, ChunkName, PackId, pack_key
from .pack import PackBuilder, Table
from .session import Session

PACK_STORED = Boundary("repository.pack.stored", "a pack is in the store, the index does not know it yet")
INDEX_STORED = Boundary(
    "repository.index.stored", "packs and their index are stored, no manifest refers to them yet"
)
_INDEX_EVERY = 256 * 1024 * 1024
Check = Callable[[], None]
Progress = Callable[[int, int], None]


class Deposit:
    """Takes chunks from several threads; ``avoid`` are packs whose chunks are stored anew (doomed ones)."""

    def __init__(
        self, blobs: BlobStore, codec: Codec, index: Index, session: Session, avoid: Collection[PackId] = ()
    ) -> None:
        self._blobs = blobs
        self._codec = codec
        self._index = index
        self._session = session
        self._lock = threading.Lock()  # guards everything below
        self._storing = threading.Lock()  # held while an index is stored
        self._claimed: set[ChunkName] = set()
        self._tables: list[Table] = []
        self._leaves: PackBuilder | None = None
        self.avoid = set(avoid)
        self.stored = 0
        self.new = 0

    def has(self, name: ChunkName) -> bool:
        """Say whether a chunk is stored where it may stay, or about to be."""
        return name in self._claimed or self._index.find(name, self.avoid) is not None

    def claim(self, name: ChunkName) -> bool:
        """Return True when the caller is the one who has to add this chunk: nobody has it, nobody is adding it."""
        if self.has(name):
            return False
        with self._lock:
            if name in self._claimed:
                return False
            self._claimed.add(name)
            return True

    def add_leaf(self, name: ChunkName, plain: bytes) -> None:
        """Add a leaf that was claimed; leaves share packs of their own, so that reading them touches few."""
        full = None
        with self._lock:
            self._leaves = self._leaves or self.new_pack()
            self._leaves.add(plain, (name,), leaf=True)
            if self._leaves.size >= PACK_TARGET:
                full, self._leaves = self._leaves, None
        if full:
            self.store_pack(full)

    def new_pack(self) -> PackBuilder:
        """Return an empty pack of this session."""
        return PackBuilder(self._session.new_pack(), self._codec)

    def store_pack(self, builder: PackBuilder) -> None:
        """Store a finished pack, and the index when enough has come together."""
        body, table = builder.finish()
        self._blobs.create(pack_key(table.pack), body, authenticated=True)
        PACK_STORED()
        with self._lock:
            self._tables.append(table)
            self.stored += table.size
            self.new += sum(segment.chunks for segment in table.segments) * CHUNK
            due = sum(each.size for each in self._tables) >= _INDEX_EVERY
        if due:
            self._store_index()

    def finish(self) -> None:
        """Store what is left: the pack of leaves and the index. Lanes are closed before."""
        leaves, self._leaves = self._leaves, None
        if leaves:
            self.store_pack(leaves)
        self._store_index()

    def _store_index(self) -> None:
        with self._storing:
            with self._lock:
                tables, self._tables = self._tables, []
            if not tables:
                return
            self._session.check()
            size = self._index.store(tables, fence=self._session.check)
            INDEX_STORED()
            with self._lock:
                self.stored += size
                # the index answers for them now, so that memory does not grow with the disk
                self._claimed.difference_update(name for table in tables for name, _ in table.entries())


class Lane:
    """One thread's way into a deposit: gathers claimed chunks into segments and segments into its own pack."""

    def __init__(self, deposit: Deposit) -> None:
        self._deposit = deposit
        self._pack: PackBuilder | None = None
        self._names: list[ChunkName] = []
        self._chunks: list[memoryview | bytes] = []

    def add(self, name: ChunkName, chunk: memoryview | bytes) -> None:
        """Add a claimed chunk; a view must stay as it is until ``settle``."""
        self._names.append(name)
        self._chunks.append(chunk)
        if len(self._names) == SEGMENT_CHUNKS:
            self._store_segment()

    def settle(self) -> None:
        """Let go of the caller's buffer: what waits for its segment to fill is copied."""
        self._chunks = [bytes(chunk) for chunk in self._chunks]

    def close(self) -> None:
        """Store what is left."""
        if self._names:
            self._store_segment()
        if self._pack:
            self._deposit.store_pack(self._pack)
            self._pack = None

    def _store_segment(self) -> None:
        self._pack = self._pack or self._deposit.new_pack()
        self._pack.add(b"".join(self._chunks), tuple(self._names))
        self._names, self._chunks = [], []
        if self._pack.size >= PACK_TARGET:
            self._deposit.store_pack(self._pack)
            self._pack = None
