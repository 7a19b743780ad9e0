"""Removing what killed processes left: files that no row names, and volumes that an import or a boot began.

Whoever writes the bytes of such a volume holds a lock on its file meanwhile; one that is free was left behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from sqlite3 import Connection

from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.sparse import open_if_there


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


def _forget_abandoned(change: Connection, layout: Layout) -> None:
    rows = change.execute(
        "SELECT id, backing FROM volumes WHERE marker = '{}' AND state = 'restoring'"
    ).fetchall()
    for row in rows:
        if _abandoned(layout.backing(row["backing"])):
            change.execute("DELETE FROM volumes WHERE id = ?", (row["id"],))


def _abandoned(path: Path) -> bool:
    fd = open_if_there(path)
    if fd is None:  # its maker has not come to writing yet, or never will: too early to tell
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
