from __future__ import annotations

import os

import pytest

from csbsctl.model.control import ControlDocument
from csbsctl.model.job import JobState
from csbsctl.vault import KeySource
from csbsctl.vault.check import Severity, check


@pytest.fixture
def filled(vault, backup, job):
    """A vault with something of everything in it."""
    vault.audit.record("createBackupPolicy", resource_type="backupPolicy", resource_id="gold")
    vault.audit.flush()
    for number in range(3):
        vault.control.commit(ControlDocument(number + 1, summary=f"change {number}"))
        vault.catalogue.update("default", "s1", lambda before, n=number: [*before, backup(n)])
    vault.leases.acquire("default", "s1").release()
    vault.jobs.begin(job())
    return vault


def spoil(vault, key):
    path = vault.store.inner.root / key
    path.write_bytes(path.read_bytes()[:-1])


def messages(report, severity):
    return [
        f"{finding.key}: {finding.message}" for finding in report.findings if finding.severity is severity
    ]


def test_a_sound_vault_has_no_findings(filled):
    report = check(filled)
    assert report.findings == ()
    assert report.sound
    assert report.documents == 3 + 3 + 1 + 2
    assert report.probe.atomic


@pytest.mark.parametrize(
    "key",
    [
        "control/0000000003.json",
        "catalogue/default~s1/0000000003.json",
        "jobs/job-0000/0000000001.json",
        "leases/default~s1/0000000002.json",
    ],
)
def test_a_damaged_head_is_found_and_mended_from_the_generation_before(filled, opened, key):
    spoil(filled, key)
    report = check(opened(), race=False)
    assert not report.sound
    assert any(key in message for message in messages(report, Severity.DAMAGE))
    repaired = check(opened(), repair=True, race=False)
    assert any(
        "went back to" in each or "is forgotten" in each for each in messages(repaired, Severity.DAMAGE)
    )
    assert any("`csbsctl " in each or "takes over" in each for each in messages(repaired, Severity.DAMAGE))
    assert filled.store.get(f"damaged/{key}")
    if not key.startswith("jobs"):  # a job of one generation has nothing to fall back to
        assert check(opened(), race=False).sound


def test_a_mended_document_can_be_committed_to(filled, opened, backup):
    spoil(filled, "catalogue/default~s1/0000000003.json")
    spoil(filled, "leases/default~s1/0000000002.json")
    check(opened(), repair=True, race=False)
    vault = opened()
    assert len(vault.catalogue.backups("default", "s1")) == 2
    with vault.leases.acquire("default", "s1") as lease:
        assert lease.number > 2
        vault.catalogue.update("default", "s1", lambda before: [*before, backup(9)], fence=lease.number)


def test_an_anchored_batch_that_is_gone_is_damage(filled, opened):
    (filled.store.inner.root / "audit/ops-at-here/0000000001.json").unlink()
    report = check(opened(), race=False)
    assert any("anchors" in message for message in messages(report, Severity.DAMAGE))


def test_leftovers_are_found_and_removed_when_they_are_old(filled, opened):
    keys = ["probe/x/0001", "runners/gone", "open/never-began"]
    for key in keys:
        filled.store.put(key, b"")
    (filled.store.inner.root / ".tmp" / "half").write_bytes(b"half")
    assert check(filled, race=False).findings == ()
    for name in [*keys, ".tmp/half"]:
        os.utime(filled.store.inner.root / name, (0, 0))
    assert len(messages(check(filled, race=False), Severity.LEFTOVER)) == 4
    report = check(filled, repair=True, race=False)
    assert all(finding.repaired for finding in report.findings)
    assert check(filled, race=False).findings == ()


def test_a_running_job_that_is_not_listed_as_open_is_listed_again(filled, job):
    filled.store.delete("open/job-0000")
    assert filled.jobs.open() == []
    assert not check(filled, race=False).findings[0].repaired
    check(filled, repair=True, race=False)
    assert filled.jobs.open() == [job()]
    filled.jobs.update(job(state=JobState.FAILED))
    assert check(filled, race=False).findings == ()


def test_a_dead_runners_lease_is_a_note(filled, opened):
    other = opened()
    other.leases.acquire("default", "s2")
    other.runner.close()
    (note,) = messages(check(filled, race=False), Severity.NOTE)
    assert "s2" in note


def test_keys_are_looked_after(opened, tmp_path):
    key = KeySource(passphrase_env="P", environ={"P": "p"}, base=tmp_path, work=4)
    vault = opened(key=key)
    vault.sealer.seal(b"", b"")
    (vault.store.inner.root / "keys/0000000001.json").write_bytes(b"rot")
    assert messages(check(vault, race=False), Severity.LEFTOVER)
    check(vault, repair=True, race=False)
    assert check(vault, race=False).findings == ()
