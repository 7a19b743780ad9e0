"""One pass over all backups: what each detector of findings needs of them, so that they are never in memory at once.

The catalogue is read server by server, then what the clouds have is gone through once. Of a backup stays only what it
is called in its cloud, until it is seen there; the servers for which something is not as it should be are read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from csbsctl.engine.drift.backups import (
    bad_state,
    chain_findings,
    missing_findings,
    state_findings,
    undeletable_finding,
)
from csbsctl.engine.drift.disks import disk_findings
from csbsctl.engine.drift.evidence import Scene
from csbsctl.engine.drift.leftovers import orphan_finding
from csbsctl.engine.drift.slots import NewestSlots, served
from csbsctl.engine.situation import ServerKey
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.provider import Marked, MarkedKind

_OF_CLOUDS = {FindingClass.BACKUP, FindingClass.CHAIN, FindingClass.ORPHAN}


class Survey:
    """What there is to know about the backups of a scene for some classes of findings; worked out when it is made."""

    def __init__(self, scene: Scene, classes: Collection[FindingClass]) -> None:
        self._scene = scene
        self.states: list[Finding] = []
        """About backups in error, damaged, dated in the future, frozen, undeletable, missing in the cloud."""
        self.chains: list[Finding] = []
        self.disks: list[Finding] = []
        """About disks that came to or went from bound servers."""
        self.orphans: list[Finding] = []
        self.newest: dict[ServerKey, datetime] = {}
        """The newest good recovery point of each server that has one."""
        self.served: set[ServerKey] = set()
        """The servers whose newest closed slot gave a backup."""
        self.reach: dict[str, int] = defaultdict(int)
        """How many backups of this stack each provider has."""
        self._slots = NewestSlots(scene)
        self._refused = {
            backup: (job, why) for job in scene.evidence.running for backup, why in job.refused.items()
        }
        self._clouds = _Clouds(scene) if _OF_CLOUDS & set(classes) else None
        of_backups = FindingClass.BACKUP in classes
        for key, backups in scene.histories.each():
            self._look(key, backups)
            if of_backups:
                self._judge(key, backups)
            if self._clouds:
                self._clouds.note(key, backups)
        if self._clouds:
            self.orphans.extend(self._clouds.orphans())
            # Read anew: what was deleted while the clouds were looked at is not missing.
            for _, backups in scene.histories.each(self._clouds.hurt()):
                self.states.extend(missing_findings(backups, self._clouds.bad))
                self.chains.extend(chain_findings(backups, self._clouds.foreign))

    @property
    def unread(self) -> frozenset[ServerKey]:
        """Return the servers whose backups could not be read: what is missing of them is not known to be."""
        return frozenset(self._scene.situation.backups.damaged)

    def _look(self, key: ServerKey, backups: Sequence[Backup]) -> None:
        scene = self._scene
        good = max((backup.instant for backup in backups if backup.good), default=None)
        if good is not None:
            self.newest[key] = good
        self.reach[key[0]] += sum(backup.stack in (None, scene.stack) for backup in backups)
        bond = scene.bonds.get(key)
        if bond is None:
            return
        slot = self._slots.closed(key, bond)
        if slot and served(scene, backups, bond.policy, slot):
            self.served.add(key)
        server = scene.situation.servers().get(key)
        if server is not None:
            self.disks.extend(disk_findings(server, backups))

    def _judge(self, key: ServerKey, backups: Sequence[Backup]) -> None:
        self.states.extend(state_findings(self._scene, key, backups))
        for backup in backups if self._refused else ():
            if backup.id in self._refused:
                self.states.append(undeletable_finding(backup, *self._refused[backup.id]))


class _Clouds:
    """What backups name in the clouds, held against what the clouds have."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._refs: dict[str, ServerKey | None] = {}
        """Everything that backups name: whose data should be there under it, if some should."""
        self._chained: set[ServerKey] = set()
        self.foreign: set[str] = set()
        """What backups depend on that neither is a backup of the same server nor carries our marker."""
        self.bad: dict[str, str] = {}
        """What is wrong with data that should be there: the state it is in, nothing where it is missing."""

    def note(self, key: ServerKey, backups: Sequence[Backup]) -> None:
        """Note what a server's backups name."""
        known = {volume.ref for backup in backups for volume in backup.volumes}
        foreign = {v.parent for b in backups for v in b.volumes if v.parent is not None} - known
        if foreign:
            self.foreign |= foreign
            self._chained.add(key)
        marked = self._scene.evidence.marked
        if not marked:
            return
        self._refs.update(dict.fromkeys(known, key if key[0] in marked else None))
        for text in _texts([volume.extra for backup in backups for volume in backup.volumes]):
            self._refs.setdefault(text, None)

    def orphans(self) -> Iterator[Finding]:
        """Go through what the clouds have; yield what was left behind."""
        for provider, found in self._scene.evidence.marked.items():
            for marked in found:
                self.foreign.discard(marked.ref)
                if marked.ref in self._refs:
                    self._see(provider, marked)
                elif (provider, marked.marker.server) not in self._scene.situation.backups.damaged:
                    yield from orphan_finding(self._scene, provider, marked)

    def _see(self, provider: str, marked: Marked) -> None:
        expected = self._refs[marked.ref]
        if marked.kind is not MarkedKind.BACKUP or expected is None or expected[0] != provider:
            return
        if state := bad_state(marked):
            self.bad[marked.ref] = state
        else:
            self._refs[marked.ref] = None

    def hurt(self) -> set[ServerKey]:
        """Return the servers with backups for which something is missing, not whole, or foreign."""
        left = {ref: key for ref, key in self._refs.items() if key is not None}
        self._refs.clear()
        self.bad = {ref: self.bad.get(ref, "") for ref in left}
        return {*left.values(), *(self._chained if self.foreign else ())}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
