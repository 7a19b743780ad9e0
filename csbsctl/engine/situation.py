"""What there is: the control document, the servers of every cloud, their backups, the time. Data, gathered before planning."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

from csbsctl.engine.readable import ReadableBackups
from csbsctl.engine.succession import fresh
from csbsctl.errors import Damaged
from csbsctl.model.backup import Backup
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.server import Server
from csbsctl.model.slots import SlotLog
from csbsctl.provider import Quota

Inventory = Mapping[str, Sequence[Server]]
"""Provider name -> its servers."""

ServerKey = tuple[str, str]
"""Provider name and server id: what identifies a server across clouds."""

Damage = Callable[[ServerKey, Damaged], None]
"""Told of a server whose record cannot be read."""


class BackupReader(Protocol):
    """Reads backups; the vault's catalogue does."""

    def servers(self) -> Sequence[ServerKey]:
        """Return every server that was ever backed up."""
        ...

    def each(
        self, keys: Collection[ServerKey] | None = None, damage: Damage | None = None
    ) -> Iterator[tuple[ServerKey, tuple[Backup, ...]]]:
        """Yield servers that were ever backed up with their backups, oldest first: all, or those of some keys.

        A server whose record is damaged is handed to ``damage``; without it Damaged is raised.
        """
        ...

    def slots(self, provider: str, server: str) -> Mapping[str, SlotLog]:
        """Return what became of the slots of each policy on a server, by the policy's name."""
        ...


class NoBackups:
    """The catalogue of a vault that does not exist yet."""

    def servers(self) -> Sequence[ServerKey]:
        """Return nothing."""
        return ()

    def each(
        self, keys: Collection[ServerKey] | None = None, damage: Damage | None = None
    ) -> Iterator[tuple[ServerKey, tuple[Backup, ...]]]:
        """Yield nothing."""
        del keys, damage
        yield from ()

    def slots(self, provider: str, server: str) -> Mapping[str, SlotLog]:
        """Return nothing."""
        del provider, server
        return {}


@dataclass(frozen=True)
class Situation:
    """Everything planning looks at besides the wish itself.

    ``inventory`` is None when the clouds were not asked (``--no-refresh``): servers are then those of the last apply.
    ``quotas`` has the clouds that limit.
    """

    document: ControlDocument
    inventory: Inventory | None
    now: datetime
    catalogue: BackupReader = field(default_factory=NoBackups)
    vault_id: str | None = None
    quotas: Mapping[str, Quota] = field(default_factory=dict)

    def state(self, stack: str) -> StackState:
        """Return a stack's part of the control document; an empty one where the stack is not there yet."""
        return self.document.stacks.get(stack) or fresh()

    @cached_property
    def backups(self) -> ReadableBackups:
        """Return the reader of backups that goes on past damaged records and knows which they were."""
        return ReadableBackups(self.catalogue)

    def servers(self) -> Mapping[ServerKey, Server]:
        """Return every known server by provider and id; built once."""
        index: dict[ServerKey, Server] | None = self.__dict__.get("_index")
        if index is None:
            index = {
                (p, server.id): server for p, servers in (self.inventory or {}).items() for server in servers
            }
            self.__dict__["_index"] = index
        return index
