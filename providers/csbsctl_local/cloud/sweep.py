"""Removing files that no row names: what processes left that were killed between rows and files."""

from __future__ import annotations

import shutil

from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.layout import Layout


def sweep(layout: Layout, database: Database) -> int:
    """Remove orphaned files and return how many there were; safe beside running writers."""
    if not database.exists:
        return 0
    swept = 0
    with database.change() as change:  # nobody makes rows or a snapshot's files meanwhile
        backings = {
            row[0] for row in change.execute("SELECT backing FROM volumes UNION SELECT backing FROM frozen")
        }
        volumes = {row[0] for row in change.execute("SELECT id FROM volumes")}
        snapshots = {row[0] for row in change.execute("SELECT id FROM snapshots")}
        change.execute(
            "DELETE FROM fills WHERE backing NOT IN (SELECT backing FROM volumes UNION SELECT backing FROM frozen)"
        )
        for folder, alive in ((layout.backings, backings), (layout.volumes, volumes)):
            for path in folder.iterdir():
                if path.stem not in alive:
                    path.unlink(missing_ok=True)
                    swept += 1
        for path in layout.snapshots.iterdir():
            if path.name not in snapshots:
                shutil.rmtree(path, ignore_errors=True)
                swept += 1
    return swept
