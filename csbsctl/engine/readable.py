"""Backups as far as they can be read: a server whose record is damaged is noted, and the others go on.

What looks must not stop at one damaged document of many. What it noted becomes findings, and keeps an apply from
changing the rules of servers whose backups nobody can see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from csbsctl.errors import Damaged
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.slots import SlotLog

if TYPE_CHECKING:
    from csbsctl.engine.situation import BackupReader, ServerKey, Situation


class ReadableBackups:
    """Reads what can be read; ``damaged`` has what could not be so far, by server."""

    def __init__(self, catalogue: BackupReader) -> None:
        self._catalogue = catalogue
        self.damaged: dict[ServerKey, Damaged] = {}

    def servers(self) -> Sequence[ServerKey]:
        """Return every server that was ever backed up."""
        return self._catalogue.servers()

    def each(
        self, keys: Collection[ServerKey] | None = None
    ) -> Iterator[tuple[ServerKey, tuple[Backup, ...]]]:
        """Yield servers that were ever backed up with their backups, oldest first: all, or those of some keys."""
        yield from self._catalogue.each(keys, self.damaged.__setitem__)

    def slots(self, provider: str, server: str) -> Mapping[str, SlotLog]:
        """Return what became of a server's slots, by policy; nothing where its record is damaged."""
        try:
            return self._catalogue.slots(provider, server)
        except Damaged as error:
            self.damaged.setdefault((provider, server), error)
            return {}


def damage_findings(situation: Situation) -> Iterator[Finding]:
    """Yield the servers whose record turned out to be damaged while it was looked at."""
    for key, error in sorted(situation.backups.damaged.items()):
        name = name_of(situation, key)
        yield Finding(
            finding_class=FindingClass.BACKUP,
            severity="error",
            address=f"server.{name}",
            message=f"the backups of {name} ({key[1]}) cannot be looked at: {error.message}",
            hint=error.hint,
        )


def name_of(situation: Situation, key: ServerKey) -> str:
    """Return what a server is called: now, or at the last apply; its ID where neither knows it."""
    server = situation.servers().get(key)
    if server:
        return server.name
    stacks = situation.document.stacks.values()
    known = (members.get(key[1]) for state in stacks for members in state.members.values())
    return next((name for name in known if name), key[1])
