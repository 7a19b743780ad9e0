"""The catalogue, made anew from the clouds: what carries our marker says of which backup of which server it is part.

Adds what the catalogue does not have and leaves what it has alone. A slot that a backup found was made for counts as
served. Where somebody else has the name of a found backup by now, it gets another one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from csbsctl.clock import parse_instant
from csbsctl.errors import UsageError
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef
from csbsctl.model.policy import Consistency
from csbsctl.model.slots import SlotLog
from csbsctl.protection.about import read_back
from csbsctl.protection.naming import draw_name
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.provider import Marked, MarkedKind


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did: records added, and backups in the cloud that are not whole and were left out.

    ``others`` are the other vaults that have backups there, with how many stored disks each.
    """

    vault: str
    added: list[Backup] = field(default_factory=list)
    known: int = 0
    incomplete: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)


def rebuild(site: Site, vault_id: str | None = None, provider: str | None = None) -> Rebuilt:
    """Add to the catalogue what the clouds have of this vault, or of another one that is adopted.

    Raises:
        UsageError: the clouds have nothing of this vault but of several others, and none was chosen.
    """
    names = [provider] if provider else list(site.providers)
    found = {
        name: [m for m in site.provider(name).marked(None) if m.kind is MarkedKind.BACKUP] for name in names
    }
    vault = vault_id or _choose(site, [m for marked in found.values() for m in marked])
    everywhere = Counter(m.marker.vault for marked in found.values() for m in marked)
    if vault_id and vault_id not in everywhere:
        raise UsageError(
            f"the cloud has no backup of vault {vault_id}",
            hint=f"it has some of {', '.join(sorted(everywhere))}"
            if everywhere
            else "it has none of any vault",
        )
    del everywhere[vault]
    result = Rebuilt(vault, others=dict(sorted(everywhere.items())))
    for name, marked in found.items():
        _rebuild_provider(site, name, [m for m in marked if m.marker.vault == vault], result)
    site.vault.audit.record(
        "rebuildCatalogue",
        resource_type="checkpointItem",
        resource_id=vault,
        details={"added": len(result.added), "incomplete": len(result.incomplete)},
    )
    site.vault.audit.flush()
    return result


def _choose(site: Site, marked: Sequence[Marked]) -> str:
    vaults = sorted({m.marker.vault for m in marked})
    if site.vault.id in vaults or not vaults:
        return site.vault.id
    if len(vaults) > 1:
        raise UsageError(
            f"the cloud has backups of {len(vaults)} other vaults: {', '.join(vaults)}",
            hint="choose one with --vault-id",
        )
    return vaults[0]


def _rebuild_provider(site: Site, provider: str, marked: Sequence[Marked], result: Rebuilt) -> None:
    parts: dict[tuple[str, str], list[Marked]] = {}
    for m in marked:
        parts.setdefault((m.marker.server, m.marker.backup or m.marker.job), []).append(m)
    images = _images(site, provider) if parts else {}
    servers = dict.fromkeys(server for server, _ in parts)
    for server in servers:
        known = {b.id for b in site.vault.catalogue.backups(provider, server)}
        of_server = {backup: parts[s, backup] for s, backup in parts if s == server}
        result.known += len(known & of_server.keys())
        lost = {backup: of for backup, of in of_server.items() if backup not in known}
        if lost:
            _add(_Finder(site, provider, images), server, lost, result)


def _images(site: Site, provider: str) -> dict[str, tuple[str, ...]]:
    """Return the images in a cloud by the backup that each was made from."""
    found: dict[str, tuple[str, ...]] = {}
    if site.provider(provider).capabilities.images:
        for image in site.provider(provider).images():
            if image.backup:
                found[image.backup] = (*found.get(image.backup, ()), image.id)
    return found


@dataclass(frozen=True, slots=True)
class _Finder:
    """Where backups are looked for, and the images there."""

    site: Site
    provider: str
    images: dict[str, tuple[str, ...]]


def _add(where: _Finder, server: str, lost: dict[str, list[Marked]], result: Rebuilt) -> None:
    catalogue = where.site.vault.catalogue
    with hold(where.site, where.provider, server) as lease:
        whole = {backup: of for backup, of in lost.items() if _is_whole(of)}
        result.incomplete.extend(backup for backup in lost if backup not in whole)
        added: list[Backup] = []

        def change(backups: tuple[Backup, ...]) -> list[Backup]:
            there = {b.id for b in backups}
            names = {b.name for b in backups}
            added.clear()
            for backup, of in whole.items():
                if backup not in there:
                    added.append(_record(where, backup, of, names))
                    names.add(added[-1].name)
            return [*backups, *added]

        catalogue.update(where.provider, server, change, fence=lease.number)
        for policy, slot in _served(added).items():
            note = functools.partial(_note, slot=slot)
            catalogue.update(where.provider, server, list, fence=lease.number, slots=(policy, note))
        result.added.extend(added)


def _served(backups: Sequence[Backup]) -> dict[str, datetime]:
    """Return the newest slot of each policy that gave one of some backups."""
    newest: dict[str, datetime] = {}
    for backup in backups:
        if backup.policy and backup.slot:
            newest[backup.policy] = max(backup.slot, newest.get(backup.policy, backup.slot))
    return newest


def _note(log: SlotLog, *, slot: datetime) -> SlotLog:
    return log.taken(slot)


def _is_whole(parts: Sequence[Marked]) -> bool:
    """Whether every disk of the backup is there; a provider tells how many there were."""
    expected = parts[0].details.get("volumes") or len(parts)
    return len(parts) == expected and all(m.stored and m.details.get("complete", True) for m in parts)


def _record(where: _Finder, backup: str, parts: Sequence[Marked], names: Iterable[str]) -> Backup:
    first, details = parts[0].marker, parts[0].details
    volumes = tuple(sorted((m.stored for m in parts if m.stored), key=lambda v: v.position))
    created = max((m.created_at for m in parts if m.created_at), default=where.site.clock.now())
    taken = _instant(details.get("taken_at")) or created
    about = read_back(details.get("about") or {}, first.slot)
    if about.get("name", "") in {"", *names}:
        about["name"] = draw_name(about["trigger"], frozenset(names))
    return Backup.model_validate(
        {
            "stack": where.site.stack,
            **about,
            "id": backup,
            "server": ServerRef(**details.get("server", {"id": first.server, "name": first.server})),
            "provider": where.provider,
            "policy": first.policy or None,
            "slot": _instant(first.slot),
            "state": BackupState.AVAILABLE,
            "job": first.job,
            "consistency": Consistency(details.get("consistency") or Consistency.NONE),
            "method": details.get("method") or "",
            "evidence": details.get("evidence") or {},
            "kind": Kind.FULL if all(v.kind is Kind.FULL for v in volumes) else Kind.INCREMENTAL,
            "volumes": volumes,
            "started_at": taken,
            "taken_at": taken,
            "finished_at": max(created, taken),
            "availability_zone": details.get("availability_zone"),
            "spec": details.get("spec") or {},
            "images": where.images.get(backup, ()),
        }
    )


def _instant(text: str | None) -> datetime | None:
    return parse_instant(text) if text else None
