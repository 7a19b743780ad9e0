"""The scrub: verifying, pass by pass, the backups that were not verified for the longest time, within a budget."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from csbsctl.model.backup import Backup
from csbsctl.protection.byhand import verify_backups
from csbsctl.protection.jobs.verification import Verified
from csbsctl.protection.pool import Ended
from csbsctl.protection.site import Site

_NEVER = datetime.min.replace(tzinfo=UTC)


def scrub(site: Site, budget: int) -> list[Ended[Backup, Verified]]:
    """Verify good backups in full, the longest unverified first, up to ``budget`` bytes of disks (one at least).

    Servers whose catalogue document is damaged are passed over: the run has told of them.
    """
    if not budget:
        return []
    return verify_backups(site, choose(site.vault.catalogue.all(lambda _server, _damage: None), budget))


def choose(backups: Iterable[Backup], budget: int) -> list[Backup]:
    """Return the backups whose turn it is."""
    waiting = sorted(
        (backup for backup in backups if backup.good),
        key=lambda backup: (backup.verified_at or _NEVER, backup.started_at, backup.id),
    )
    chosen: list[Backup] = []
    for backup in waiting:
        budget -= backup.size
        if chosen and budget < 0:
            break
        chosen.append(backup)
    return chosen
