"""Vaults of every format there ever was must open for ever: one that was written then is kept for each."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from csbsctl.model.job import JobState
from csbsctl.vault import KeySource
from csbsctl.vault.check import check

FORMATS = Path(__file__).parent.parent / "fixtures" / "formats"
AT = datetime(2026, 11, 22, 18, tzinfo=UTC)


@pytest.fixture(params=["vault-1", "vault-1-encrypted"])
def old_vault(request, opened, tmp_path):
    shutil.copytree(FORMATS / request.param, tmp_path / "vault")
    sealed = request.param.endswith("encrypted")
    key = KeySource(passphrase_env="P", environ={"P": "correct horse"}, base=tmp_path) if sealed else None
    return opened(create=False, key=key)


def test_a_vault_of_an_old_format_reads_as_it_was_written(old_vault):
    head = old_vault.control.head()
    assert (head.generation, head.summary, head.at) == (1, "1 to add", AT)
    assert head.stacks["shop"].since == {"policy.gold": AT}
    assert head.stacks["shop"].applied == {"policies": {"gold": {"enabled": True}}}
    (backup,) = old_vault.catalogue.backups("default", "s1")
    assert (backup.name, backup.slot, backup.volumes[0].size) == ("autobk_0a1b", AT, 1 << 30)
    assert old_vault.jobs.get("11111111").state is JobState.SUCCEEDED
    assert [event["target"]["id"] for event in old_vault.audit.events()] == ["gold"]
    assert check(old_vault, race=False).findings == ()


def test_a_vault_of_an_old_format_can_be_worked_on(old_vault):
    with old_vault.leases.acquire("default", "s1") as lease:
        assert lease.number == 2
        old_vault.catalogue.update("default", "s1", lambda _: [], fence=lease.number)
    if old_vault.keys:
        sealed = old_vault.data("default").get("sealed")
        assert old_vault.sealer.open(sealed, b"sealed") == b"what was sealed in format 1"
