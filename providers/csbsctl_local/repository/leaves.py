"""Reading the leaves of a manifest many at once: they lie side by side in packs of their own.

In a bucket every leaf would be a round trip otherwise; in a folder it is a little quicker, too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from csbsctl.errors import Damaged

from .fetch import Fetcher
from .layout import FANOUT, ChunkName
from .manifest import Manifest, Slots, read_leaf

_BLOCK = 64
"""Leaves that are read together: 1 GiB of disk, at most half a MiB of names."""
_KEPT = 4
"""Blocks that stay, so that threads that are not equally far all find theirs."""


def _every(_number: int) -> bool:
    return True


class LeafReader:
    """The names under each leaf of one manifest, for threads that go through it more or less in order."""

    def __init__(
        self, manifest: Manifest, fetcher: Fetcher, *, wanted: Callable[[int], bool] = _every
    ) -> None:
        """Read ahead only the leaves whose numbers are ``wanted``."""
        self._manifest = manifest
        self._fetcher = fetcher
        self._wanted = wanted
        self._lock = threading.Lock()  # guards _blocks; held while a block is read, which all are waiting for
        self._blocks: OrderedDict[int, dict[ChunkName, bytes]] = OrderedDict()

    def slots(self, number: int) -> Slots:
        """Return the names under a leaf; a leaf that is all zeros has none. Raises Damaged."""
        name = self._manifest.leaf(number)
        if name is None:
            return [None] * FANOUT
        plain = self._block(number // _BLOCK).get(name)
        try:
            if plain is not None:
                return read_leaf(plain)
        except Damaged:  # there may be another copy
            pass
        return read_leaf(self._fetcher.item(name))

    def _block(self, block: int) -> dict[ChunkName, bytes]:
        with self._lock:
            found = self._blocks.get(block)
            if found is None:
                numbers = range(block * _BLOCK, (block + 1) * _BLOCK)
                names = [self._manifest.leaf(number) for number in numbers if self._wanted(number)]
                found = self._fetcher.leaves([name for name in names if name is not None])
                self._blocks[block] = found
                if len(self._blocks) > _KEPT:
                    self._blocks.popitem(last=False)
            return found
