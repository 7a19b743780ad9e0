"""Everything that must hold before a restore, and which disk goes where: the rules of csbs.md 1.13 with their codes.

Changes nothing. The same answer is the dry run of a restore, and what a restore obeys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from csbsctl.errors import Refused, ResourceNotFound
from csbsctl.model.backup import Backup, BackupState, StoredVolume, Verification
from csbsctl.model.server import Refusal, Server, ServerState, Volume
from csbsctl.protection.site import Site
from csbsctl.protection.unfinished import taken_off, unfinished_restores
from csbsctl.provider import Mapping, RestorePlan
from csbsctl.units import format_size


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What the user wants: a backup onto its own server, another one (``server``), or as a new one (``name``).

    ``volumes_only`` asks for new volumes that no server has, named after ``name`` or else after the backup's server.
    ``volumes`` restricts it to some disks of the backup, ``mapping`` sends disks of the backup to other disks of the
    server; both by ID or name. ``safety`` asks for a backup of the present state first. ``overrides`` are what a new
    server shall have otherwise, see RestorePlan.
    """

    backup: Backup
    server: str | None = None
    name: str | None = None
    volumes_only: bool = False
    volumes: tuple[str, ...] = ()
    mapping: dict[str, str] = field(default_factory=dict)
    instant: bool = False
    power_on: bool = True
    safety: bool = True
    overrides: dict[str, list[str]] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """Return what makes two requests the same one: a restore that failed is continued by the same request."""
        anew = self.name or self.volumes_only
        return {
            "backup": self.backup.id,
            "server": None if anew else self.server or self.backup.server.id,
            "name": self.name,
            "volumes": sorted(self.volumes),
            "mapping": dict(sorted(self.mapping.items())),
            **({"overrides": dict(sorted(self.overrides.items()))} if self.overrides else {}),
            **({"volumes_only": True} if self.volumes_only else {}),
        }


@dataclass(frozen=True, slots=True)
class Preflight:
    """A restore before it happens: what would be done disk by disk, and everything that speaks against it."""

    plan: RestorePlan
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    left_alone: tuple[Volume, ...] = ()
    """Disks of the server that the backup does not know: attached since, and not touched."""
    gone: tuple[StoredVolume, ...] = ()
    """Disks of the backup that the server no longer has: not restored."""
    safety: bool = False

    def insist(self) -> None:
        """Raise Refused, with the code of the first refusal, when anything speaks against the restore."""
        if self.refusals:
            first, *others = self.refusals
            also = "; ".join(f"{other.reason} ({other.code})" for other in others)
            raise Refused(first.reason, code=first.code, hint=f"also: {also}" if also else None)

    def to_json(self) -> dict[str, Any]:
        """Return the restore's plan for ``restore --dry-run --json``."""
        plan = self.plan
        return {
            "backup": {"id": plan.backup.id, "name": plan.backup.name},
            "server": {"id": plan.server.id, "name": plan.server.name} if plan.server else None,
            "new_server": None if plan.volumes_only else plan.name,
            "volumes_only": plan.volumes_only,
            "instant": plan.instant,
            "power_on": plan.power_on,
            "settings": plan.overrides,
            "safety_backup": self.safety,
            "allowed": not self.refusals,
            "refusals": [{"code": r.code, "message": r.reason} for r in self.refusals],
            "notes": list(self.notes),
            "volumes": [
                {
                    "id": m.stored.volume_id,
                    "name": m.stored.name,
                    "size": m.stored.size,
                    "bootable": m.stored.bootable,
                    "target": {"id": m.target.id, "name": m.target.name} if m.target else None,
                }
                for m in plan.mappings
            ],
            "left_alone": [{"id": v.id, "name": v.name, "size": v.size} for v in self.left_alone],
            "gone": [{"id": v.volume_id, "name": v.name, "size": v.size} for v in self.gone],
        }


def check_restore(site: Site, request: RestoreRequest) -> Preflight:
    """Return everything there is to say about a restore before it happens."""
    draft = _anew(request) if request.name or request.volumes_only else _in_place(site, request)
    refusals = [*_backup_refusals(site, request), *draft.refusals]
    notes = list(draft.notes)
    if not refusals:
        verdict = site.provider(request.backup.provider).check_restore(draft.plan)
        refusals.extend(verdict.refusals)
        notes.extend(verdict.notes)
    return replace(draft, refusals=tuple(refusals), notes=tuple(notes))


def _backup_refusals(site: Site, request: RestoreRequest) -> Iterator[Refusal]:
    backup = request.backup
    if backup.state is not BackupState.AVAILABLE:
        yield Refusal("CSBS.4000", f"backup {backup.name} is {backup.state.value}, not available")
    elif backup.verification is Verification.FAILED:
        yield Refusal("CSBS.4000", f"backup {backup.name} failed its verification: its data is damaged")
    capabilities = site.provider(backup.provider).capabilities
    if request.instant and not (capabilities.instant_restore and backup.instant_restore):
        yield Refusal("restore.not-instant", f"backup {backup.name} does not allow an instant restore")
    if request.volumes and not capabilities.single_volume_restore:
        yield Refusal("CSBS.6018", f"provider {backup.provider} restores whole servers only")


def _anew(request: RestoreRequest) -> Preflight:
    """Return the plan of a new server, or of new volumes alone."""
    chosen, refusals = _chosen(request)
    if request.mapping:
        refusals.append(Refusal("CSBS.6014", "a new server has no disks to map onto: leave --map out"))
    if not request.volumes_only and not any(volume.bootable for volume in chosen):
        refusals.append(
            Refusal("CSBS.9008", f"backup {request.backup.name} has no system disk to start from")
        )
    plan = RestorePlan(
        request.backup,
        tuple(Mapping(volume) for volume in chosen),
        name=request.name,
        instant=request.instant,
        power_on=request.power_on,
        volumes_only=request.volumes_only,
        overrides=request.overrides,
    )
    return Preflight(plan, tuple(refusals))


def _in_place(site: Site, request: RestoreRequest) -> Preflight:
    backup = request.backup
    wanted = request.server or backup.server.id
    chosen, refusals = _chosen(request)
    plan = RestorePlan(
        backup, (), instant=request.instant, power_on=request.power_on, overrides=request.overrides
    )
    try:
        server = site.provider(backup.provider).server(wanted)
    except ResourceNotFound:
        name = backup.server.name if wanted == backup.server.id else wanted
        missing = Refusal("CSBS.6000", f"server {name} is not there any more: restore it with --as NAME")
        return Preflight(plan, (*refusals, missing), gone=chosen)
    off = _taken_off(site, request, server)
    server = replace(server, volumes=(*server.volumes, *off))
    mappings, gone = _map(request, server, chosen, refusals)
    refusals.extend(_server_refusals(backup, server))
    refusals.extend(_target_refusals(server, mappings))
    if not mappings and not refusals:
        refusals.append(
            Refusal("CSBS.6014", f"server {server.name} has none of the disks of {backup.name} left")
        )
    known = {i for volume in backup.volumes for i in (volume.volume_id, *volume.successors)}
    targets = {mapping.target.id for mapping in mappings if mapping.target}
    left = tuple(v for v in server.volumes if v.id not in known | targets)
    notes = [f"disk {v.name} ({v.id}) was attached since: its data is left alone" for v in left]
    notes += [f"disk {v.name} ({v.volume_id}) is gone from the server: it is not restored" for v in gone]
    notes += [
        f"disk {v.name} ({v.id}) was taken off by a restore that failed: "
        + ("it is restored and attached again" if v.id in targets else "it stays off, and half restored")
        for v in off
    ]
    return Preflight(
        replace(plan, mappings=tuple(mappings), server=server),
        tuple(refusals),
        tuple(notes),
        left_alone=left,
        gone=tuple(gone),
        safety=request.safety,
    )


def _taken_off(site: Site, request: RestoreRequest, server: Server) -> tuple[Volume, ...]:
    """Return the disks that are off the server only because a restore failed between taking them off and putting back."""
    provider = request.backup.provider
    if not site.provider(provider).capabilities.restores_detached:
        return ()
    return taken_off(server, unfinished_restores(site, provider, request.identity()))


def _chosen(request: RestoreRequest) -> tuple[tuple[StoredVolume, ...], list[Refusal]]:
    """Return the disks of the backup that are to be restored, and what is wrong with the choice."""
    volumes = request.backup.volumes
    refusals = []
    for wanted in (*request.volumes, *request.mapping):
        if len(_named(volumes, wanted)) != 1:
            how = "is not a disk of" if not _named(volumes, wanted) else "fits several disks of"
            refusals.append(Refusal("CSBS.6017", f"{wanted!r} {how} backup {request.backup.name}"))
    if not request.volumes:
        return volumes, refusals
    return tuple(v for v in volumes if v.volume_id in request.volumes or v.name in request.volumes), refusals


def _named(volumes: Sequence[StoredVolume], wanted: str) -> list[StoredVolume]:
    by_id = [v for v in volumes if v.volume_id == wanted]
    return by_id or [v for v in volumes if v.name == wanted]


def _map(
    request: RestoreRequest, server: Server, chosen: Sequence[StoredVolume], refusals: list[Refusal]
) -> tuple[list[Mapping], list[StoredVolume]]:
    """Find each disk its place: where the user sends it, else the disk it was taken from."""
    mappings, gone = [], []
    for stored in chosen:
        wanted = request.mapping.get(stored.volume_id) or request.mapping.get(stored.name)
        if wanted:
            found = [v for v in server.volumes if wanted in (v.id, v.name)]
            if len(found) != 1:
                how = "is not attached to" if not found else "fits several disks of"
                refusals.append(Refusal("CSBS.6014", f"disk {wanted!r} {how} server {server.name}"))
                continue
        else:
            found = [v for v in server.volumes if v.id in (stored.volume_id, *stored.successors)]
        if found:
            mappings.append(Mapping(stored, found[0]))
        elif server.id == request.backup.server.id:
            gone.append(stored)
        else:
            refusals.append(Refusal("CSBS.6018", f"disk {stored.name} is mapped to no disk of {server.name}"))
    return mappings, gone


def _server_refusals(backup: Backup, server: Server) -> Iterator[Refusal]:
    if server.state in (ServerState.ERROR, ServerState.BUSY):
        yield Refusal("CSBS.6015", f"server {server.name} is in state {server.state.value}")
    if not server.volumes:
        yield Refusal("CSBS.6020", f"server {server.name} has no disk")
    here, there = server.availability_zone, backup.availability_zone
    if server.id != backup.server.id and here and there and here != there:
        yield Refusal(
            "CSBS.6025", f"backup {backup.name} is of zone {there}, server {server.name} is in {here}"
        )


def _target_refusals(server: Server, mappings: Sequence[Mapping]) -> Iterator[Refusal]:
    system = min((v.position for v in server.volumes), default=0)
    seen: set[str] = set()
    for mapping in mappings:
        stored, target = mapping.stored, mapping.target
        if target is None:
            continue
        if target.id in seen:
            yield Refusal("CSBS.9001", f"two disks of the backup are sent to disk {target.name}")
        seen.add(target.id)
        if target.shared:
            yield Refusal("CSBS.6021", f"disk {target.name} ({target.id}) is shared with another server")
        if target.position == system and not (stored.bootable or stored.position == 0):
            yield Refusal(
                "CSBS.6023", f"data disk {stored.name} cannot go onto the system disk {target.name}"
            )
        if target.size < stored.size:
            sizes = f"{format_size(target.size)}, the backup needs {format_size(stored.size)}"
            yield Refusal("CSBS.6024", f"disk {target.name} is too small: {sizes}")
