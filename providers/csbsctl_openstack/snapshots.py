"""Cinder snapshots of a server's volumes: making, marking, finding, adopting and deleting them as a set.

A set counts only once it is sealed: a seal on its first snapshot says that all of it was taken at one instant, how,
and of which server. A set without a seal is what a crash left; nobody can tell whether it is torn, so it is deleted.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from csbsctl.errors import CloudRefused, CloudUnavailable, ProviderError, ResourceConflict, ResourceNotFound
from csbsctl.model.server import Volume
from csbsctl.provider import Marker, Step
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.grouping import Grouper
from csbsctl_openstack.waiting import FAILED, poll

Json = dict[str, Any]
_QUICK = 0.15


class SnapshotSet:
    """Works on the snapshots of one server under one marker."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._grouper = Grouper(cloud)

    def find(self, marker: Marker) -> list[Json]:
        """Return the snapshots that carry this marker, the system disk's first."""
        key = marks.PREFIX + "job"
        found = self._cloud.cinder.pages(
            f"list snapshots of job {marker.job}",
            "/snapshots/detail",
            "snapshots",
            metadata=json.dumps({key: marker.job}),
        )
        mine = [item for item in found if marks.same(marker, item.get("metadata"))]
        return sorted(mine, key=lambda item: int(item["metadata"].get(marks.PREFIX + "position", 0)))

    def shoot(self, step: Step, volumes: Iterable[Volume], *, deadline: timedelta) -> list[Json]:
        """Snapshot volumes as close together as the API allows, and wait until all are there.

        Raises:
            CloudUnavailable: one failed, or the deadline passed.
            QuotaExceeded: no room for one.
        """
        step.check()
        jobs = [functools.partial(self._create, step.marker, volume) for volume in volumes]
        made = self._cloud.side_by_side(*jobs)
        self.settle(step, made, deadline=deadline)
        return made

    def settle(self, step: Step, made: list[Json], *, deadline: timedelta) -> None:
        """Wait until all snapshots of a set are available."""
        wanted = frozenset(item["id"] for item in made)

        def done(seen: Json) -> bool:
            states: dict[str, str] = seen["states"]
            if bad := [name for name in wanted if states.get(name, "gone") in FAILED | {"gone"}]:
                raise CloudUnavailable(f"snapshot {bad[0]} ended in state {states.get(bad[0], 'gone')}")
            return all(states[name] == "available" for name in wanted)

        poll(
            functools.partial(self._states, step.marker, wanted),
            done,
            clock=self._cloud.clock,
            deadline=deadline,
            what=f"snapshot server {step.marker.server}",
            every=_QUICK,
        )

    def mark(self, marker: Marker, snapshot_id: str, volume: Volume) -> None:
        """Write the marker onto a snapshot that somebody else made for us (Nova, or a group snapshot)."""
        self.write(snapshot_id, _metadata(marker, volume))

    def seal(self, first: Json, document: Json) -> None:
        """Say on the first snapshot of a set that the set is whole, and what it is."""
        self.write(first["id"], {marks.SEALED: str(document["count"]), **marks.pack(document, "seal")})

    def sealed(self, found: list[Json]) -> Json | None:
        """Return what the seal of a set says, or None when it has none or is not whole."""
        if not found or marks.SEALED not in (found[0].get("metadata") or {}):
            return None
        if int(found[0]["metadata"][marks.SEALED]) != len(found):
            return None
        return marks.unpack(found[0]["metadata"], "seal")

    def delete(self, step: Step, ids: Iterable[str], *, grouped: bool = False) -> None:
        """Delete snapshots and wait until they are gone; already gone is fine.

        ``grouped`` ones belong to a group whatever the settings say now.

        Raises:
            ResourceConflict: something depends on one, or works on it for too long.
        """
        gone = list(ids)
        if grouped or self._cloud.settings.consistent_group_type:
            gone = self._grouper.without_members(step, gone)
        for snapshot_id in gone:
            step.check()
            self._delete_when_free(step, snapshot_id)
        for snapshot_id in gone:
            self._until_gone(step, snapshot_id)

    def discard(self, step: Step, found: list[Json]) -> None:
        """Delete a set that is of no use, as far as that is possible now: recovery finds the rest."""
        try:
            self.delete(step, [item["id"] for item in found])
        except ProviderError:
            return

    def _create(self, marker: Marker, volume: Volume) -> Json:
        what = f"snapshot volume {volume.name}"
        body = {
            "volume_id": volume.id,
            "name": f"csbsctl-{marker.job[:8]}-{volume.position}",
            "force": True,
            "metadata": _metadata(marker, volume),
        }
        made: Json = self._cloud.cinder.post(what, "/snapshots", {"snapshot": body})["snapshot"]
        return made

    def _states(self, marker: Marker, wanted: frozenset[str]) -> Json:
        """Return the states of a set with one call, whatever its size: servers are paused meanwhile."""
        states = {item["id"]: item["status"] for item in self.find(marker) if item["id"] in wanted}
        slow = [states.get(name, "gone") for name in wanted if states.get(name) != "available"]
        return {"states": states, "status": slow[0] if slow else "available"}

    def _state(self, snapshot_id: str) -> str:
        try:
            answer = self._cloud.cinder.get(f"look at snapshot {snapshot_id}", f"/snapshots/{snapshot_id}")
        except ResourceNotFound:
            return "gone"
        return str(answer["snapshot"]["status"])

    def write(self, snapshot_id: str, metadata: dict[str, str]) -> None:
        """Add to a snapshot's metadata."""
        path = f"/snapshots/{snapshot_id}/metadata"
        self._cloud.cinder.post(f"mark snapshot {snapshot_id}", path, {"metadata": metadata})

    def _delete_when_free(self, step: Step, snapshot_id: str) -> None:
        clock = self._cloud.clock
        end = clock.monotonic() + self._cloud.settings.deadlines.snapshot.total_seconds()
        while True:
            try:
                return self._cloud.cinder.delete(
                    f"delete snapshot {snapshot_id}", f"/snapshots/{snapshot_id}"
                )
            except ResourceNotFound:
                return None
            except ResourceConflict:  # still being made, copied or cloned
                if clock.monotonic() > end:
                    raise
                step.check()
                clock.sleep(1)

    def _until_gone(self, step: Step, snapshot_id: str) -> None:
        def gone(seen: Json) -> bool:
            if seen["status"] in FAILED:
                raise CloudRefused(f"delete snapshot {snapshot_id}: it ended in state {seen['status']}")
            if seen["status"] == "available":  # Cinder said "deleting" when it took the order
                raise ResourceConflict(f"delete snapshot {snapshot_id}: volumes depend on it")
            return bool(seen["status"] == "gone")

        poll(
            lambda: {"status": self._state(snapshot_id)},
            gone,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.snapshot,
            what=f"delete snapshot {snapshot_id}",
            check=step.check,
        )


def volume_of(item: Json) -> Volume:
    """Return the volume of which a snapshot was made, as it was then."""
    facts = marks.unpack(item.get("metadata"))
    return Volume(
        id=item["volume_id"],
        name=str(facts.get("name", item["volume_id"])),
        size=facts.get("size", item["size"] * 1024**3),
        bootable=facts.get("bootable", False),
        position=facts.get("position", 0),
        type=facts.get("type"),
        encrypted=facts.get("encrypted", False),
    )


def _metadata(marker: Marker, volume: Volume) -> dict[str, str]:
    facts = {
        "name": volume.name,
        "size": volume.size,
        "bootable": volume.bootable,
        "position": volume.position,
        "type": volume.type,
        **({"encrypted": True} if volume.encrypted else {}),
    }
    return {**marks.metadata(marker, facts), marks.PREFIX + "position": str(volume.position)}
