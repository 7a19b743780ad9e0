"""Backups for the tests of the rules: one plain constructor with everything a rule looks at as a keyword."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest

from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger

GIB = 2**30


@pytest.fixture(scope="session")
def make_backup():
    """Return a function that makes a good automatic backup of policy gold, unless told otherwise."""
    numbers = itertools.count()

    def make(
        instant: datetime,
        backup_id: str | None = None,
        *,
        parent: str | None = None,
        stored: int = GIB,
        **fields,
    ):
        backup_id = backup_id or f"b{next(numbers)}"
        kind = fields.setdefault("kind", Kind.INCREMENTAL if parent else Kind.FULL)
        volume = StoredVolume(
            volume_id="v",
            name="root",
            size=10 * GIB,
            bootable=True,
            position=0,
            ref=f"ref-{backup_id}",
            kind=kind,
            stored=stored,
            parent=f"ref-{parent}" if parent else None,
        )
        values = {
            "id": backup_id,
            "name": f"autobk_{backup_id}",
            "server": ServerRef(id="s", name="web"),
            "provider": "default",
            "policy": "gold",
            "trigger": Trigger.AUTO,
            "state": BackupState.AVAILABLE,
            "job": "j",
            "volumes": (volume,),
            "started_at": instant,
            "taken_at": instant,
        }
        return Backup(**(values | fields))

    return make
