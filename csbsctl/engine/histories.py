"""The backups of the servers a plan touches: read when needed, a few servers at a time, and let go of again.

Ten thousand servers have hundreds of thousands of backups, which must not be in memory at once. What is asked for again
and again, how many backups of each policy a server has, is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from csbsctl.engine.readable import ReadableBackups
from csbsctl.engine.situation import ServerKey
from csbsctl.model.backup import Backup
from csbsctl.model.control import StackState
from csbsctl.rules.renames import under_present_names

_NONE: Mapping[str | None, int] = {}


class Histories:
    """Reads backups on demand; those of renamed policies come under their new names."""

    def __init__(self, catalogue: ReadableBackups, state: StackState, stack: str) -> None:
        self._catalogue = catalogue
        self._state = state
        self._stack = stack
        self._counts: dict[ServerKey, Mapping[str | None, int]] = {}
        self._known: frozenset[ServerKey] | None = None

    def each(
        self, keys: Collection[ServerKey] | None = None
    ) -> Iterator[tuple[ServerKey, tuple[Backup, ...]]]:
        """Yield servers that have backups with these, oldest first; of all servers, or of some."""
        if keys is not None:
            keys = [key for key in keys if key in self._ever_backed_up]
            if not keys:
                return
        for key, found in self._catalogue.each(keys):
            backups = under_present_names(found, self._state, self._stack)
            self._counts[key] = _counted(backups)
            yield key, backups

    def with_new(self, keys: Collection[ServerKey]) -> Iterator[tuple[str, tuple[Backup, ...]]]:
        """Yield each of some servers by ID with its backups: those that have some first, then those without."""
        seen = set()
        for key, backups in self.each(keys):
            seen.add(key)
            yield key[1], backups
        yield from ((key[1], ()) for key in keys if key not in seen)

    def count(self, keys: Iterable[ServerKey], policy: str | None = None) -> int:
        """Return how many backups some servers have, of one policy or of all and none."""
        wanted = list(keys)
        for _ in self.each([key for key in wanted if key not in self._counts]):
            pass
        found = (self._counts.get(key, _NONE) for key in wanted)
        if policy is None:
            return sum(sum(counts.values()) for counts in found)
        return sum(counts.get(policy, 0) for counts in found)

    @property
    def _ever_backed_up(self) -> frozenset[ServerKey]:
        if self._known is None:
            self._known = frozenset(self._catalogue.servers())
        return self._known


def _counted(backups: Iterable[Backup]) -> Mapping[str | None, int]:
    return dict(Counter(backup.policy for backup in backups))
