"""Slots that passed without a backup: the newest one of each server whose time to start is over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from csbsctl.clock import format_instant
from csbsctl.engine.bonds import Bond
from csbsctl.engine.drift.evidence import Scene, finding
from csbsctl.engine.drift.servers import bound_since
from csbsctl.engine.situation import ServerKey
from csbsctl.model.backup import Backup
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.slots import AHEAD
from csbsctl.rules.schedule import Timetable, delay


def missed_findings(scene: Scene, served: Collection[ServerKey]) -> Iterator[Finding]:
    """Yield the servers whose newest closed slot gave no backup, good or bad, and was not passed over as busy.

    ``served`` are the servers whose newest closed slot did give one.
    """
    newest = NewestSlots(scene)
    for key, bond in scene.bonds.items():
        slot = newest.closed(key, bond)
        since = bound_since(scene, key, bond)
        if slot is None or since is None or slot <= since or key in served:
            continue
        if _passed_over(scene, key, bond.policy, slot):
            continue
        yield finding(
            FindingClass.MISSED,
            "warning",
            f"server.{bond.name}",
            f"the slot of {format_instant(slot)} of policy {bond.policy} gave no backup of {bond.name} ({key[1]})",
            since=slot,
            hint="is `csbsctl run` being started on schedule? `csbsctl export systemd` writes a timer",
        )


class NewestSlots:
    """Finds, policy by policy, the newest slot that can no longer be started."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._timetables: dict[str, Timetable] = {}
        self._known: dict[tuple[str, timedelta], datetime | None] = {}

    def closed(self, key: ServerKey, bond: Bond) -> datetime | None:
        """Return the newest closed slot of a server's policy; None for a policy that is off or gone."""
        policy = self._scene.policies.get(bond.policy)
        if policy is None or not policy.enabled:
            return None
        lag = policy.schedule.start_within + delay(policy.schedule, key[1])
        if (bond.policy, lag) not in self._known:
            now = self._scene.situation.now
            if bond.policy not in self._timetables:
                anchor = self._scene.state.anchors.get(bond.policy, now)
                self._timetables[bond.policy] = Timetable(policy.schedule, anchor)
            # A slot may still be started at the very end of its time.
            until = now - lag - timedelta(microseconds=1)
            self._known[bond.policy, lag] = self._timetables[bond.policy].last(until)
        return self._known[bond.policy, lag]


def served(scene: Scene, backups: Sequence[Backup], policy: str, slot: datetime) -> bool:
    """Tell whether a slot gave a backup, or fell while another was being made (it is then skipped, not missed)."""
    latest = scene.situation.now + AHEAD
    return any(
        (b.policy == policy and b.slot is not None and slot <= b.slot <= latest)
        or (b.started_at <= slot and (b.finished_at is None or b.finished_at > slot))
        for b in backups
    )


def _passed_over(scene: Scene, key: ServerKey, policy: str, slot: datetime) -> bool:
    """Tell whether a runner dealt with the slot in some other way than finding it too late."""
    log = scene.situation.backups.slots(*key).get(policy)
    if log is None or (log := log.as_of(scene.situation.now)).last is None or log.last < slot:
        return False
    return slot not in log.missed
