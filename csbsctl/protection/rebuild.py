"""The catalogue, made anew from the clouds: what carries our marker says of which backup of which server it is part.

Adds what the catalogue does not have and leaves what it has alone. Names, protection and images of lost records are
not in the cloud; names are drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from csbsctl.clock import parse_instant
from csbsctl.errors import UsageError
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.protection.naming import draw_name
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.provider import Marked, MarkedKind


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did: records added, and backups in the cloud that are not whole and were left out."""

    vault: str
    added: list[Backup] = field(default_factory=list)
    known: int = 0
    incomplete: list[str] = field(default_factory=list)


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
    result = Rebuilt(vault)
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
    servers = dict.fromkeys(server for server, _ in parts)
    for server in servers:
        known = {b.id for b in site.vault.catalogue.backups(provider, server)}
        of_server = {backup: parts[s, backup] for s, backup in parts if s == server}
        result.known += len(known & of_server.keys())
        lost = {backup: of for backup, of in of_server.items() if backup not in known}
        if lost:
            _add(site, provider, server, lost, result)


def _add(site: Site, provider: str, server: str, lost: dict[str, list[Marked]], result: Rebuilt) -> None:
    with hold(site, provider, server) as lease:
        whole = {backup: of for backup, of in lost.items() if _is_whole(of)}
        result.incomplete.extend(backup for backup in lost if backup not in whole)
        added: list[Backup] = []

        def change(backups: tuple[Backup, ...]) -> list[Backup]:
            there = {b.id for b in backups}
            names = {b.name for b in backups}
            added.clear()
            for backup, of in whole.items():
                if backup not in there:
                    added.append(_record(site, provider, backup, of, names))
                    names.add(added[-1].name)
            return [*backups, *added]

        site.vault.catalogue.update(provider, server, change, fence=lease.number)
        result.added.extend(added)


def _is_whole(parts: Sequence[Marked]) -> bool:
    """Whether every disk of the backup is there; a provider tells how many there were."""
    expected = parts[0].details.get("volumes", len(parts))
    return len(parts) == expected and all(m.stored and m.details.get("complete", True) for m in parts)


def _record(site: Site, provider: str, backup: str, parts: Sequence[Marked], names: Iterable[str]) -> Backup:
    first, details = parts[0].marker, parts[0].details
    volumes = tuple(sorted((m.stored for m in parts if m.stored), key=lambda v: v.position))
    created = max((m.created_at for m in parts if m.created_at), default=site.clock.now())
    taken = _instant(details.get("taken_at")) or created
    trigger = Trigger.AUTO if first.slot else Trigger.MANUAL
    return Backup(
        id=backup,
        name=draw_name(trigger, frozenset(names)),
        description="Found in the cloud by a rebuild of the catalogue",
        server=ServerRef(**details.get("server", {"id": first.server, "name": first.server})),
        provider=provider,
        stack=site.stack,
        policy=first.policy or None,
        slot=_instant(first.slot),
        trigger=trigger,
        state=BackupState.AVAILABLE,
        job=first.job,
        consistency=Consistency(details.get("consistency", Consistency.NONE)),
        method=details.get("method", ""),
        evidence=details.get("evidence") or {},
        kind=Kind.FULL if all(v.kind is Kind.FULL for v in volumes) else Kind.INCREMENTAL,
        volumes=volumes,
        started_at=taken,
        taken_at=taken,
        finished_at=max(created, taken),
        availability_zone=details.get("availability_zone"),
        spec=details.get("spec") or {},
    )


def _instant(text: str | None) -> datetime | None:
    return parse_instant(text) if text else None
