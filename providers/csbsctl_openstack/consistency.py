"""All volumes of a server at one instant, by the best method that the cloud, the settings and the server allow.

What was measured and what follows from it stands in docs/howto/openstack.md. In short: snapshots one after the other
are torn, and so are Cinder's "consistent" group snapshots on drivers that only loop; a server whose vCPUs do not run
issues no write, so pausing it is right on any backend. Application consistency is claimed only where Nova fails
without a freeze. A root disk that is no volume is imaged by Nova after the snapshots; Nova resumes no server meanwhile,
so the pause lasts until the image is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.clock import format_instant, parse_instant
from csbsctl.errors import CloudRefused, CsbsError, LeaseLost, ResourceConflict
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Server, ServerState, accepting_image, protectability
from csbsctl.provider import Snapshot, Step, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.grouping import Grouper
from csbsctl_openstack.image import snapshot_ids
from csbsctl_openstack.inventory import Inventory, volumes_of
from csbsctl_openstack.pausing import Pauser
from csbsctl_openstack.quiescing import Quiescer
from csbsctl_openstack.quotas import Quotas
from csbsctl_openstack.roots import Roots
from csbsctl_openstack.snapshots import SnapshotSet, volume_of
from csbsctl_openstack.waiting import poll
from csbsctl_openstack.wire import TRANSITIONAL_VOLUMES, instant

Json = dict[str, Any]

_TAKEN = Boundary("openstack.snapshots.taken", "all snapshots of a server exist, the set is not sealed yet")
_SEALED = Boundary("openstack.snapshots.sealed", "the set of snapshots is sealed")


_TOO_LONG = (
    "Nova resumes no server while it makes an image of it: raise `max_pause`, stop the server for its backups, or accept "
    "`consistency: none`"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Snapshots that were made, how, and what that is worth; ``root`` is the image of a root that is no volume."""

    snapshots: list[Json]
    root: Json | None
    server: Server
    consistency: Consistency
    method: str
    evidence: dict[str, Any]


class Photographer:
    """Takes snapshots of whole servers."""

    def __init__(self, cloud: Cloud, inventory: Inventory, quotas: Quotas) -> None:
        self._cloud = cloud
        self._quotas = quotas
        self._inventory = inventory
        self._set = SnapshotSet(cloud)
        self._roots = Roots(cloud)
        self._pauser = Pauser(cloud)
        self._quiescer = Quiescer(cloud, self._set)
        self._grouper = Grouper(cloud)

    def take(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
        """Return the snapshot that this marker already has, or a new one.

        Raises:
            CloudRefused: the server cannot be protected, or ``need`` cannot be reached.
            QuotaExceeded: there is no room; said before the server is frozen.
        """
        found, images = self._set.find(step.marker), list[Json]()
        document = self._set.sealed(found)
        if document is None:
            found, images, document = self._with_root(step, found, self._inventory.body(server_id), need)
        return _snapshot(self._inventory.server(server_id), found, images, document)

    def release(self, step: Step, snapshot: Snapshot) -> None:
        """Delete the snapshots, and the image of a root that was not stored."""
        refs = [item.ref for item in snapshot.volumes]
        self._set.delete(step, [ref for ref in refs if not marks.is_image(ref)])
        for ref in refs:
            if marks.is_image(ref):
                self._roots.release(marks.image_id(ref))

    def rescue(self, server_id: str) -> bool:
        """Resume a server that csbsctl left paused."""
        return self._pauser.rescue(self._inventory.body(server_id))

    def _with_root(
        self, step: Step, found: list[Json], body: Json, need: Consistency
    ) -> tuple[list[Json], list[Json], Json]:
        """Return the set that the image of its root seals, or a new one in the place of what is there."""
        images = self._roots.find(step.marker) if body.get("image") else []
        if document := self._roots.sealed(images, found):
            return found, images, document
        for image in images:
            self._roots.drop(image["id"])
        self._pauser.rescue(body)
        if found:
            self._set.delete(step, [item["id"] for item in found])
        return self._take(step, body["id"], need)

    def _take(self, step: Step, server_id: str, need: Consistency) -> tuple[list[Json], list[Json], Json]:
        try:
            server = self._ready(step, server_id)
            self._quotas.insist_on_room(server)
            taken = self._shoot(step, server, need)
            _TAKEN()
        except LeaseLost:
            raise  # what we made is somebody else's to judge now
        except CsbsError:
            # Interrupted included: a set without a seal is worth nothing to whoever comes next.
            uninterruptible = Step(step.marker)
            self._set.discard(uninterruptible, self._set.find(step.marker))
            raise
        document = self._document(taken)
        step.check()
        if taken.root:
            self._roots.seal(taken.root, document)
        else:
            self._set.seal(taken.snapshots[0], document)
        _SEALED()
        return taken.snapshots, [taken.root] if taken.root else [], document

    def _ready(self, step: Step, server_id: str) -> Server:
        """Return the server once nothing transitional goes on; raises CloudRefused when it cannot be protected."""

        def look() -> Json:
            server = self._inventory.server(server_id)
            moving = [v.state for v in server.volumes if v.state in TRANSITIONAL_VOLUMES]
            status = "busy" if server.state is ServerState.BUSY else moving[0] if moving else "ready"
            return {"server": server, "status": status}

        seen = poll(
            look,
            lambda seen: bool(seen["status"] == "ready"),
            clock=self._cloud.clock,
            deadline=self._cloud.settings.deadlines.volume,
            what=f"wait for server {server_id}",
            check=step.check,
        )
        server: Server = seen["server"]
        if refusal := protectability(accepting_image(server)):  # whether it is accepted, the core has asked
            raise CloudRefused(refusal.reason, code=refusal.code)
        for volume in server.volumes:
            if volume.state not in {"in-use", "available"}:
                raise CloudRefused(f"volume {volume.name} of server {server.name} is in state {volume.state}")
        return server

    def _shoot(self, step: Step, server: Server, need: Consistency) -> Taken:
        if server.state is not ServerState.STOPPED and need is Consistency.APPLICATION:
            if server.image_backed_root:
                raise CloudRefused(
                    f"server {server.name} cannot be frozen with proof: its root disk is not a volume, and Nova freezes "
                    "no volumes beside it",
                    hint="accept `consistency: crash`, or move the root onto a volume",
                )
            return self._frozen(step, server)
        if need is Consistency.APPLICATION:
            raise CloudRefused(
                f"server {server.name} is stopped: nobody can say what its applications left on the disks",
                hint="start it, or demand `consistency: crash`",
            )
        if server.state is ServerState.STOPPED:
            return self._still(step, server, "stopped")
        if server.state is ServerState.PAUSED:
            return self._still(step, server, "already-paused")
        if len(server.volumes) == 1:
            return self._still(step, server, "single-volume")
        if need is Consistency.NONE:
            return self._loose(step, server)
        if self._cloud.settings.consistent_group_type and not server.image_backed_root:
            return self._grouped(step, server)
        return self._paused(step, server)

    def _still(self, step: Step, server: Server, method: str) -> Taken:
        """Take a server that writes nothing, or whose one volume is one instant by itself."""
        made, root, evidence = self._expose(step, server)
        after = self._inventory.server(server.id)
        if method != "single-volume" and after.state is not server.state:
            raise ResourceConflict(
                f"server {server.name} was {server.state} and is {after.state}: it ran meanwhile"
            )
        self._unchanged(server, after)
        return Taken(made, root, server, Consistency.CRASH, method, evidence)

    def _loose(self, step: Step, server: Server) -> Taken:
        made, root, evidence = self._expose(step, server)
        return Taken(made, root, server, Consistency.NONE, "snapshots", evidence)

    def _expose(
        self, step: Step, server: Server, *, within: timedelta | None = None
    ) -> tuple[list[Json], Json | None, dict[str, Any]]:
        """Snapshot all volumes, then image a root that is none; return both and the evidence. ``within`` bounds a pause."""
        clock, deadlines = self._cloud.clock, self._cloud.settings.deadlines
        begun = clock.monotonic()
        volumes = volumes_of(server)
        made = self._set.shoot(step, volumes, deadline=within or deadlines.snapshot) if volumes else []
        evidence = {"spread_ms": _spread(made)} if made else {}
        if not server.image_backed_root:
            return made, None, evidence
        snapped = clock.monotonic()
        patience = within - timedelta(seconds=snapped - begun) if within else deadlines.image
        root = self._roots.shoot(step, server, patience=patience, hint=_TOO_LONG if within else None)
        if made_of_volumes := snapshot_ids(root):
            self._set.delete(Step(step.marker), made_of_volumes)
            self._roots.drop(root["id"])
            raise CloudRefused(
                f"server {server.name} has its root on a volume, but was built from an image that is gone: its disks cannot "
                "be told apart",
                hint="build it anew from its volumes",
            )
        return made, root, {**evidence, "image_ms": round(1000 * (clock.monotonic() - snapped))}

    def _paused(self, step: Step, server: Server) -> Taken:
        settings = self._cloud.settings
        if not settings.pause:
            raise CloudRefused(
                f"server {server.name} runs with {len(server.volumes)} volumes, and the provider's settings forbid "
                "to pause it: its snapshots would be torn",
                hint="set `pause: true`, or accept `consistency: none`",
            )
        with self._pauser.paused(step, server.id) as pause:
            listed = {item["id"] for item in pause.body["os-extended-volumes:volumes_attached"]}
            if listed != {volume.id for volume in volumes_of(server)}:
                raise ResourceConflict(f"volumes of server {server.name} were attached or detached meanwhile")
            made, root, evidence = self._expose(step, server, within=settings.max_pause)
        evidence = {"paused_ms": pause.milliseconds, **evidence}
        return Taken(made, root, server, Consistency.CRASH, "pause", evidence)

    def _grouped(self, step: Step, server: Server) -> Taken:
        made, evidence = self._grouper.take(step, server)
        for volume, item in zip(server.volumes, made, strict=True):
            self._set.mark(step.marker, item["id"], volume)
        self._unchanged(server, self._inventory.server(server.id))
        return Taken(self._set.find(step.marker), None, server, Consistency.CRASH, "group-snapshot", evidence)

    def _frozen(self, step: Step, server: Server) -> Taken:
        made, evidence = self._quiescer.take(step, server)
        self._unchanged(server, self._inventory.server(server.id))
        return Taken(
            made, None, server, Consistency.APPLICATION, "quiesce", evidence | {"spread_ms": _spread(made)}
        )

    def _unchanged(self, before: Server, after: Server) -> None:
        if {v.id for v in before.volumes} != {v.id for v in after.volumes}:
            raise ResourceConflict(f"volumes of server {before.name} were attached or detached meanwhile")

    def _document(self, taken: Taken) -> Json:
        server = taken.server
        frozen = [*taken.snapshots, *([taken.root] if taken.root else [])]
        first = min(created for item in frozen if (created := instant(item["created_at"])))
        return {
            "count": len(frozen),
            "server": server.name,
            "zone": server.availability_zone,
            "spec": {**server.spec, "ports": self._inventory.ports(server.id)},
            "taken_at": format_instant(first),
            "consistency": taken.consistency.value,
            "method": taken.method,
            "evidence": taken.evidence,
        }


def _snapshot(server: Server, found: list[Json], images: list[Json], document: Json) -> Snapshot:
    """Return what the core sees; the server is described as it was at the moment of the snapshot."""
    roots = [
        VolumeSnapshot(server.volumes[0], marks.IMAGE + item["id"], {"document": document}) for item in images
    ]
    others = [VolumeSnapshot(volume_of(item), item["id"], _extra(item, document)) for item in found]
    volumes = (*roots, *others)
    taken_at: datetime = parse_instant(document["taken_at"])
    return Snapshot(
        server=Server(
            id=server.id,
            name=document["server"],
            provider=server.provider,
            state=server.state,
            volumes=tuple(item.volume for item in volumes),
            availability_zone=document["zone"],
            metadata=document["spec"]["metadata"],
            tags=tuple(document["spec"]["tags"]),
            created_at=server.created_at,
            spec=document["spec"],
        ),
        taken_at=taken_at,
        volumes=volumes,
        consistency=Consistency(document["consistency"]),
        method=document["method"],
        evidence=document["evidence"],
    )


def _extra(item: Json, document: Json) -> Json:
    """Return what the storing step needs; in whole seconds, as Cinder remembers them, so that a retry finds the same."""
    return {"created_at": str(item["created_at"]).split(".", maxsplit=1)[0], "document": document}


def _spread(made: list[Json]) -> int:
    """Return the milliseconds between the first and the last snapshot, by Cinder's clock."""
    created = [moment for item in made if (moment := instant(item["created_at"]))]
    return round((max(created) - min(created)).total_seconds() * 1000) if created else 0
