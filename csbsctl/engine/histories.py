"""The backups of the servers a plan touches, each read once, many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from csbsctl.engine.situation import BackupReader, ServerKey
from csbsctl.model.backup import Backup
from csbsctl.model.control import StackState
from csbsctl.rules.renames import under_present_names

_FEW = 8
_PARALLEL = 16


class Histories:
    """Reads backups on demand; those of renamed policies come under their new names."""

    def __init__(self, catalogue: BackupReader, state: StackState, stack: str) -> None:
        self._catalogue = catalogue
        self._state = state
        self._stack = stack
        self._read: dict[ServerKey, tuple[Backup, ...]] = {}
        self._known: frozenset[ServerKey] | None = None

    def fetch(self, keys: Iterable[ServerKey]) -> None:
        """Read the backups of several servers; those that were never backed up cost nothing."""
        if self._known is None:
            self._known = frozenset(self._catalogue.servers())
        if not self._known:
            return
        missing = [key for key in keys if key not in self._read and key in self._known]
        if len(missing) < _FEW:
            found = [self._catalogue.backups(*key) for key in missing]
        else:
            with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="histories") as pool:
                found = list(pool.map(lambda key: self._catalogue.backups(*key), missing))
        self._read.update(
            (key, under_present_names(backups, self._state, self._stack))
            for key, backups in zip(missing, found, strict=True)
        )

    def of(self, key: ServerKey) -> tuple[Backup, ...]:
        """Return a server's backups, oldest first."""
        self.fetch([key])
        return self._read.get(key, ())
