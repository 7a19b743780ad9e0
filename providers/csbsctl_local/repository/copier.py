"""Copying stored chunks into new packs: away from doomed, mostly dead or damaged ones."""

from __future__ import annotations

from collections.abc import Iterable

from .deposit import Deposit, Lane
from .layout import CHUNK, NAME, ChunkName
from .manifest import leaf_names
from .parts import Parts


class Copier:
    """Copies chunks into a deposit, whatever pack they are in now."""

    def __init__(self, parts: Parts, deposit: Deposit) -> None:
        self._parts = parts
        self._deposit = deposit
        self._lane = Lane(deposit)

    def copy(self, name: ChunkName) -> None:
        """Store a chunk or leaf anew unless the deposit has it already.

        Raises:
            Damaged: no copy of it is sound; the deposit is as it was.
        """
        if self._deposit.has(name):
            return
        plain = self._parts.fetcher.item(name)
        if not self._deposit.claim(name):
            return
        if len(plain) == CHUNK:  # a leaf is never that long
            self._lane.add(name, plain)
        else:
            self._deposit.add_leaf(name, plain)

    def finish(self) -> None:
        """Store what was copied, and its index."""
        self._lane.close()
        self._deposit.finish()


def rescue(parts: Parts, deposit: Deposit, leaves: bytes) -> None:
    """Store anew whatever a manifest needs and only doomed packs hold, until the doom list stands still.

    Raises:
        Damaged: something the manifest needs is lost.
    """
    rescued = False
    while not rescued or not parts.doom.packs() <= deposit.avoid:
        rescued = True
        deposit.avoid |= parts.doom.packs()
        parts.index.refresh()
        copier = Copier(parts, deposit)
        for name in _names(leaves):
            copier.copy(name)
            for chunk in leaf_names(parts.fetcher.item(name)):
                copier.copy(chunk)
        copier.finish()


def _names(leaves: bytes) -> Iterable[ChunkName]:
    empty = bytes(NAME)
    for at in range(0, len(leaves), NAME):
        name = leaves[at : at + NAME]
        if name != empty:
            yield ChunkName(name)
