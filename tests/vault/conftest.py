"""Vaults and documents for the tests of the vault: real folders, real processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock, VirtualClock
from csbsctl.model.backup import Backup, BackupState, ServerRef, Trigger
from csbsctl.model.job import Job, JobKind, JobState
from csbsctl.vault import open_vault
from csbsctl.vault.documents import Codec
from csbsctl.vault.stores import DirectoryStore

START = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    return VirtualClock(START)


@pytest.fixture
def directory(tmp_path):
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def codec():
    return Codec(PlainSealer())


@pytest.fixture
def opened(tmp_path):
    """Open vaults that are closed at the end; makes the first."""
    vaults = []

    def open_one(name="vault", **options):
        options.setdefault("create", True)
        options.setdefault("clock", SystemClock())
        options.setdefault("actor", "ops@here")
        vaults.append(open_vault(name, base=tmp_path, **options))
        return vaults[-1]

    yield open_one
    for vault in vaults:
        vault.close()


@pytest.fixture
def vault(opened):
    return opened()


@pytest.fixture
def backup():
    def make(number=0, *, server="s1", server_name="web-01", name=None, **changes):
        return Backup(
            id=f"{number:08x}-0000-4000-8000-000000000000",
            name=name or f"autobk_{number:04x}",
            server=ServerRef(id=server, name=server_name),
            provider="default",
            trigger=Trigger.AUTO,
            state=BackupState.AVAILABLE,
            job="j1",
            started_at=START + timedelta(hours=number % 1000),
            **changes,
        )

    return make


@pytest.fixture
def job():
    def make(number=0, **changes):
        fields = {
            "id": f"job-{number:04d}",
            "kind": JobKind.BACKUP,
            "state": JobState.RUNNING,
            "provider": "default",
            "runner": "r1",
            "fence": 1,
            "started_at": START + timedelta(minutes=number),
        }
        return Job(**{**fields, **changes})

    return make
