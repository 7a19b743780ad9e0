"""Kills a process at every boundary of the vault and sees what is left: the old state or the new one, never a third."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import csbsctl.vault.check
import csbsctl.vault.keys
from csbsctl.boundaries import declared
from csbsctl.vault import KeySource, vault_exists

WORKER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl.errors import Conflict
from csbsctl.model.backup import Backup
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.job import Job
from csbsctl.vault import KeySource, open_vault

base, at = Path(sys.argv[1]), datetime(2026, 11, 22, tzinfo=UTC)
key = KeySource(passphrase_env="P", environ={"P": "p"}, base=base, work=4)
with open_vault("vault", base=base, clock=SystemClock(), create=True, actor="a@b", key=key) as vault:
    head = vault.control.head()
    for number in range(head.generation + 1, head.generation + 3):
        vault.control.commit(ControlDocument(number, {"s": StackState({"n": number}, {"n": number})}))
    with vault.leases.acquire("p", "s", patience=5) as lease:
        for job in vault.jobs.open():
            vault.jobs.update(job.model_copy(update={"fence": lease.number, "state": "failed"}))
        job = Job(id=f"job-{lease.number}", kind="backup", state="running", provider="p", runner=vault.runner.id,
                  fence=lease.number, started_at=at)
        vault.jobs.begin(job)
        backup = Backup(id=f"b-{lease.number}", name="x", server={"id": "s", "name": "s"}, provider="p",
                        trigger="manual", state="available", job=job.id, started_at=at)
        vault.catalogue.update("p", "s", lambda before: [*before, backup], fence=lease.number)
        vault.jobs.update(job.model_copy(update={"state": "succeeded", "finished_at": at}))
    vault.audit.record("backupCloudServer", resource_type="cloudServer", resource_id="s")
    vault.audit.flush()
    vault.sealer.seal(b"x", b"")
    vault.keys.rotate(key)
    for path in (base / "vault" / "control").iterdir():
        import os
        os.utime(path, (0, 0))
    from csbsctl.vault.series import Series
    Series(vault.store, vault.codec, "control", keep=1).compact()
print("done")
"""

OURS = ("vault.", "store.", "lease.", "job.", "audit.", "keys.")
STEPS = sorted(name for name in declared() if name.startswith(OURS))


def work(base, fault=""):
    environ = {**os.environ, "CSBSCTL_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", WORKER, base], env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "passage"), [*((step, 1) for step in STEPS), ("vault.generation.created", 3), ("store.named", 3)]
)
def test_a_kill_leaves_a_vault_that_goes_on(opened, tmp_path, step, passage):
    if step.startswith("store."):
        passage += 160 if step == "store.staged" else 20  # past the races of the probe
    fault = f"kill:{step}:{passage}"
    if step == "lease.fenced":  # somebody must die under the lease first
        assert work(tmp_path, "kill:lease.taken").returncode == -9
    killed = work(tmp_path, fault)
    assert killed.returncode == -9 or (killed.stdout == "done\n" and passage > 1), killed.stderr
    before = inspect(opened, tmp_path) if vault_exists("vault", base=tmp_path) else 0
    again = work(tmp_path)
    assert again.stdout == "done\n", again.stderr
    assert inspect(opened, tmp_path) == before + 2


def inspect(opened, base):
    """Check every invariant of the vault and return the generation of the control document."""
    key = KeySource(passphrase_env="P", environ={"P": "p"}, base=base, work=4)
    vault = opened(create=False, key=key)
    report = csbsctl.vault.check.check(vault, race=False)
    assert report.sound, report.findings
    head = vault.control.head()
    assert not head.generation or head.stacks["s"].live == {"n": head.generation}
    jobs = {job.id: job for job in vault.jobs.list()}
    for backup in vault.catalogue.backups("p", "s"):
        assert backup.job in jobs
    assert len(vault.jobs.open()) <= 1
    assert vault.audit.verify() == []
    assert vault.sealer.open(vault.sealer.seal(b"x", b""), b"") == b"x"
    return head.generation
