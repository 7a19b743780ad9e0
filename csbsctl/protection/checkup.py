"""Checking what the clouds keep for all backups together, mending it, and naming the backups that are hurt.

Runs in the place of a collection of garbage, so that nothing is removed under its eyes. Backups that are hurt and
could not be mended are noted as damaged, so that nobody is offered them as good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from csbsctl.errors import CsbsError, Damaged, LeaseLost
from csbsctl.model.backup import Backup, BackupState, Verification
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.collection import LEASE
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.provider import MarkedKind, Problem


@dataclass(frozen=True, slots=True)
class DataProblem:
    """Something wrong in the data of a provider, and the backups it hurts; ``leftover`` means it costs no backup."""

    provider: str
    message: str
    backups: tuple[Backup, ...] = ()
    repaired: bool = False
    leftover: bool = False


def check_data(
    site: Site, provider: str, *, read_data: bool = False, repair: bool = False
) -> list[DataProblem]:
    """Check (and with ``repair`` mend) all that a cloud stores for this vault's backups.

    Servers whose records are damaged are passed over, but never in a repair: it must know every backup there is.

    Raises:
        Conflict: garbage is being collected right now (code ``lease.held``).
    """
    hurt: dict[tuple[str, str], Damaged] = {}
    recorded = site.vault.catalogue.all(None if repair else hurt.__setitem__)
    whole = [b for b in recorded if b.provider == provider and b.state is BackupState.AVAILABLE]
    with site.vault.leases.acquire(provider, LEASE) as lease:
        work = Work.begin(site, lease, JobKind.COLLECT, {"lease": LEASE, "repair": repair}, provider=provider)
        try:
            stored = [volume for backup in whole for volume in backup.volumes]
            found = work.provider.check(work.step("check"), stored, read_data=read_data, repair=repair)
            problems = [_named(provider, problem, whole) for problem in found] + _unknown(work, hurt)
        except LeaseLost:
            raise
        except CsbsError as error:
            work.fail(error)
            raise
        _note_damage(site, (b for p in problems if not p.repaired for b in p.backups))
        work.finish()
    return problems


def _named(provider: str, problem: Problem, backups: list[Backup]) -> DataProblem:
    hurt = tuple(b for b in backups if any(volume.ref in problem.hurts for volume in b.volumes))
    # what is lost to nobody but disks that no backup refers to is no loss
    return DataProblem(
        provider, problem.message, hurt, problem.repaired, leftover=bool(problem.hurts) and not hurt
    )


def _unknown(work: Work, hurt: Collection[tuple[str, str]]) -> list[DataProblem]:
    """Return stored disks that no record explains: the catalogue may have been lost or rolled back.

    Those of ``hurt`` servers, whose records are damaged, are not known to be unexplained.
    """
    site, provider = work.site, work.job.provider
    busy = {job.id for job in site.vault.jobs.open()}
    known = {
        volume.ref
        for backup in site.vault.catalogue.all(lambda _server, _error: None)
        for volume in backup.volumes
    }
    return [
        DataProblem(
            provider,
            f"stored disk {marked.ref} of backup {marked.marker.backup} is in no record; "
            "`csbsctl backup rebuild` adopts it",
            leftover=True,
        )
        for marked in work.provider.marked(site.vault.id)
        if marked.kind is MarkedKind.BACKUP
        and (provider, marked.marker.server) not in hurt
        and marked.stored is not None
        and marked.ref not in known
        and marked.marker.job not in busy
    ]


def _note_damage(site: Site, hurt: Iterable[Backup]) -> None:
    now = site.clock.now()
    by_server: dict[tuple[str, str], set[str]] = {}
    for backup in hurt:
        by_server.setdefault((backup.provider, backup.server.id), set()).add(backup.id)
    for (provider, server), ids in by_server.items():

        def change(backups: tuple[Backup, ...], ids: set[str] = ids) -> list[Backup]:
            damaged = {"verification": Verification.FAILED, "verified_at": now}
            return [b.model_copy(update=damaged) if b.id in ids else b for b in backups]

        site.vault.catalogue.update(provider, server, change)
