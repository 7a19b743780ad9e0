"""What the data of backups depends on: the chains that incremental data forms where a provider has them.

A backup needs those that hold the parents of its disks' data, and theirs, whatever made them. Works on the
catalogue alone and knows nothing of retention.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from csbsctl.model.backup import Backup, BackupState


class Chains:
    """The dependencies among one server's backups, failed and hidden ones included."""

    def __init__(self, backups: Sequence[Backup]) -> None:
        present = [b for b in backups if b.state is not BackupState.DELETED]
        self._names = {b.id: b.name for b in present}
        owner = {volume.ref: b.id for b in present for volume in b.volumes}
        self._parents: dict[str, tuple[str, ...]] = {}
        for backup in present:
            refs = (volume.parent for volume in backup.volumes if volume.parent is not None)
            parents = dict.fromkeys(owner[ref] for ref in refs if ref in owner)
            parents.pop(backup.id, None)
            if parents:
                self._parents[backup.id] = tuple(parents)

    def parents(self, backup_id: str) -> tuple[str, ...]:
        """Return the backups that one directly depends on."""
        return self._parents.get(backup_id, ())

    def holders(self, staying: Collection[str]) -> dict[str, str]:
        """Return every backup that those which stay need, each with the name of one that directly needs it."""
        held: dict[str, str] = {}
        waiting = list(staying)
        while waiting:
            child = waiting.pop()
            for parent in self.parents(child):
                if parent not in held:
                    held[parent] = self._names[child]
                    waiting.append(parent)
        return held

    def leaf_first(self, backups: Iterable[Backup]) -> list[Backup]:
        """Return backups in an order in which each comes before those that it depends on, else newest first."""
        chosen = {b.id: b for b in sorted(backups, key=lambda b: (b.instant, b.id))}
        children = dict.fromkeys(chosen, 0)
        for backup_id in chosen:
            for parent in self.parents(backup_id):
                if parent in children:
                    children[parent] += 1
        ready = [backup_id for backup_id, count in children.items() if count == 0]
        order = []
        while ready:
            backup_id = ready.pop()
            order.append(chosen[backup_id])
            for parent in self.parents(backup_id):
                if parent in children:
                    children[parent] -= 1
                    if children[parent] == 0:
                        ready.append(parent)
        return order
