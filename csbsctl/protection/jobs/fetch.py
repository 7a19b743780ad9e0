"""The fetch job: read out of a backup into a folder of this machine, without touching any server.

The journal only says who reads what, so that nothing collects the data meanwhile and the audit trail is whole. How far
a fetch got is written in the folder itself: a job that was cut off is closed, and the same command goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, Interrupted, LeaseLost, Refused
from csbsctl.model.backup import Backup, BackupState, Verification
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.vault.leases import Lease

JOURNALLED = Boundary("fetch.journalled", "a fetch is intended and written down, nothing is read yet")
WRITTEN = Boundary("fetch.written", "everything is in the folder, the job is still open")

_READABLE = (BackupState.AVAILABLE, BackupState.RESTORING)


def fetch_refusal(backup: Backup) -> Refused | None:
    """Return why nothing can be read out of a backup, None when it can; one that is being restored can be read too."""
    if backup.state not in _READABLE:
        return Refused(f"backup {backup.name} is {backup.state.value}, not available", code="CSBS.4000")
    if backup.verification is Verification.FAILED:
        return Refused(
            f"backup {backup.name} failed its verification: its data is damaged",
            code="CSBS.4000",
            hint="`csbsctl backup list` shows others; `csbsctl backup verify` looks again",
        )
    return None


def lease_of_fetch(backup: Backup, folder: Path) -> str:
    """Return the lease of fetches of a backup into a folder: who runs the command again takes over what was cut off."""
    target = hashlib.sha256(f"{backup.id} {folder}".encode()).hexdigest()
    return f"fetch~{target[:32]}"


@contextmanager
def fetching(site: Site, lease: Lease, backup: Backup, folder: Path, **what: Any) -> Iterator[Work]:
    """Journal a fetch around the block that does it; ``what`` says in the audit trail what was read.

    Raises:
        Refused: the backup cannot be read (CSBS.4000).
    """
    if refusal := fetch_refusal(backup):
        raise refusal
    work = Work.begin(
        site,
        lease,
        JobKind.FETCH,
        {"name": backup.name, "lease": lease.server, "folder": str(folder), **what},
        provider=backup.provider,
        server=backup.server.id,
        server_name=backup.server.name,
        backup=backup.id,
    )
    JOURNALLED()
    details = {"name": backup.name, "server": backup.server.id, "folder": str(folder), **what}
    try:
        yield work
    except LeaseLost:
        raise
    except CsbsError as error:
        work.undoing = True
        _audit(work, details, "failure", error.message)
        work.fail(error)
        raise
    WRITTEN()
    _audit(work, details, "success", None)
    work.finish()


def close_fetch(work: Work) -> str:
    """Close a fetch whose runner is gone: what it wrote is in its folder, where the same command finds it."""
    work.fail(Interrupted("the runner was gone before everything was fetched"))
    return "closed"


def _audit(work: Work, details: dict[str, Any], outcome: str, reason: str | None) -> None:
    work.site.vault.audit.record(
        "fetchCheckpointItem",
        resource_type="checkpointItem",
        resource_id=str(work.job.backup),
        outcome=outcome,
        reason=reason,
        details=details,
    )
