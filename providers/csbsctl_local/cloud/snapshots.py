"""Snapshots of all disks of a server at one instant, while its guests keep writing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.clock import format_instant, parse_instant
from csbsctl.errors import CloudRefused, ResourceNotFound
from csbsctl.ids import new_id
from csbsctl_local.cloud.control import surgery
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.eras import Eras
from csbsctl_local.cloud.fills import Sources
from csbsctl_local.cloud.frozen import FrozenDisk
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.preserve import OldGranules
from csbsctl_local.cloud.sparse import Extent, reflink

_FILES_MADE = Boundary("cloud.snapshot.files", "a snapshot's files are made, its rows are not committed")
_TAKEN = Boundary("cloud.snapshot.taken", "a snapshot is committed, nobody was told its id")
_RELEASED = Boundary("cloud.snapshot.released", "a snapshot's rows are gone, its files are not")

REFLINK, COPY = "reflink", "copy-before-write"


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot: of which server, when, how; ``disks`` are its frozen volumes' ids in the server's order."""

    id: str
    server: str
    record: dict[str, Any]
    taken_at: datetime
    method: str
    evidence: dict[str, Any]
    marker: dict[str, Any]


class Snapshots:
    """The snapshots of one cloud."""

    def __init__(self, layout: Layout, database: Database, sources: Sources, *, may_reflink: bool) -> None:
        self._layout, self._database, self._sources = layout, database, sources
        self._may_reflink = may_reflink

    def claimed(self, claim: str) -> SnapshotRecord | None:
        """Return the snapshot that was taken under a claim, or None."""
        row = self._database.row("SELECT * FROM snapshots WHERE claim = ?", (claim,))
        return _record(row) if row else None

    def list(self) -> list[SnapshotRecord]:
        """Return all snapshots, oldest first."""
        return [_record(row) for row in self._database.rows("SELECT * FROM snapshots ORDER BY taken_at, id")]

    def take(
        self,
        server_id: str,
        describe: Callable[[], dict[str, Any]],
        claim: str,
        marker: dict[str, Any],
        at: datetime,
    ) -> SnapshotRecord:
        """Freeze all disks of a server; ``describe``, called when they are known, is kept with the snapshot.

        Raises:
            CloudRefused: it has no disk, or one that is shared, whose other server would not stand still.
        """
        snapshot_id = new_id()
        with surgery(self._database, self._layout) as (change, pause):
            if found := self.claimed(claim):  # somebody was faster
                return found
            disks = _attached(change, server_id)
            _refuse_what_cannot_stand_still(change, server_id, disks)
            record = json.dumps(describe())
            self._layout.frozen(snapshot_id, 0, "raw").parent.mkdir(parents=True)
            pause.hold(disk["id"] for disk in disks)
            method = self._freeze(snapshot_id, disks)
            _FILES_MADE()
            evidence = {"disks": len(disks), "instant": format_instant(at)}
            change.execute(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    snapshot_id,
                    server_id,
                    record,
                    format_instant(at),
                    method,
                    "{}",
                    json.dumps(marker),
                    claim,
                ),
            )
            for disk in disks:
                self._enter(change, snapshot_id, disk)
            evidence["paused_ms"] = round((time.monotonic() - pause.began) * 1000, 3)
            change.execute(
                "UPDATE snapshots SET evidence = ? WHERE id = ?", (json.dumps(evidence), snapshot_id)
            )
        _TAKEN()
        return self.get(snapshot_id)

    def get(self, snapshot_id: str) -> SnapshotRecord:
        """Return a snapshot. Raises ResourceNotFound."""
        row = self._database.row("SELECT * FROM snapshots WHERE id = ?", (snapshot_id,))
        if row is None:
            raise ResourceNotFound(f"snapshot {snapshot_id} does not exist (any more)")
        return _record(row)

    def open(self, snapshot_id: str, volume_id: str) -> FrozenDisk:
        """Open one frozen disk for reading. Raises ResourceNotFound."""
        row = self._database.row(
            "SELECT f.*, s.method FROM frozen f JOIN snapshots s ON s.id = f.snapshot"
            " WHERE f.snapshot = ? AND f.volume = ?",
            (snapshot_id, volume_id),
        )
        if row is None:
            raise ResourceNotFound(f"snapshot {snapshot_id} of volume {volume_id} does not exist (any more)")
        return FrozenDisk(self._layout, row, self._sources, reflinked=row["method"] == REFLINK)

    def changed_since(self, volume_id: str, mark: str, snapshot_id: str) -> Sequence[Extent] | None:
        """Return a superset of what changed on a volume between the snapshots ``mark`` and ``snapshot_id``.

        None when that cannot be proved: the mark is unknown, of another line of the volume's life (it was restored,
        resized, replaced), or younger than the snapshot, or the machine was restarted since.
        """
        row = self._database.row(
            "SELECT old.era AS old, new.era AS new, v.boot, v.size, f.size AS frozen FROM volumes v"
            " JOIN marks old ON old.volume = v.id AND old.snapshot = ?"
            " JOIN marks new ON new.volume = v.id AND new.snapshot = ?"
            " JOIN frozen f ON f.volume = v.id AND f.snapshot = new.snapshot WHERE v.id = ?",
            (mark, snapshot_id, volume_id),
        )
        if row is None or row["old"] > row["new"] or row["boot"] != boot_id() or row["size"] != row["frozen"]:
            return None
        eras = Eras(self._layout.eras(volume_id), row["size"])
        try:
            return eras.since(row["old"])
        finally:
            eras.close()

    def release(self, snapshot_id: str) -> None:
        """Let go of a snapshot; the mark it set stays. Already gone is fine."""
        with surgery(self._database, self._layout) as (change, pause):
            frozen = change.execute("SELECT * FROM frozen WHERE snapshot = ?", (snapshot_id,)).fetchall()
            behind = [row["backing"] for row in frozen]
            pause.hold(_volumes_on(change, behind))
            change.execute("DELETE FROM frozen WHERE snapshot = ?", (snapshot_id,))
            change.execute("DELETE FROM snapshots WHERE id = ?", (snapshot_id,))
        _RELEASED()
        shutil.rmtree(self._layout.snapshots / snapshot_id, ignore_errors=True)
        discard_unused(self._database, self._layout, behind)

    def _freeze(self, snapshot_id: str, disks: Sequence[Row]) -> str:
        if self._may_reflink and self._reflink_all(snapshot_id, disks):
            return REFLINK
        for disk in disks:
            OldGranules.create(self._layout, snapshot_id, disk["position"], disk["size"])
        return COPY

    def _reflink_all(self, snapshot_id: str, disks: Sequence[Row]) -> bool:
        made: list[Path] = []
        for disk in disks:
            source = self._layout.backing(disk["backing"])
            if not source.exists():  # never written: zeros, and no file is how that is said here too
                continue
            target = self._layout.frozen(snapshot_id, disk["position"], "raw")
            made.append(target)
            if not _clone(source, target):
                for path in made:
                    path.unlink()
                return False
        return bool(made) or self._can_reflink(snapshot_id)

    def _can_reflink(self, snapshot_id: str) -> bool:
        """Find out on a file of our own, where no disk has bytes yet."""
        probe, clone = (self._layout.frozen(snapshot_id, 0, name) for name in ("probe", "clone"))
        probe.write_bytes(b"\1" * 4096)
        try:
            return _clone(probe, clone)
        finally:
            probe.unlink()
            clone.unlink()

    def _enter(self, change: Connection, snapshot_id: str, disk: Row) -> None:
        fill = change.execute("SELECT source FROM fills WHERE backing = ?", (disk["backing"],)).fetchone()
        if fill:
            there = self._layout.fill_map(disk["backing"]).read_bytes()
            self._layout.frozen(snapshot_id, disk["position"], "fill").write_bytes(there)
        change.execute(
            "INSERT INTO frozen VALUES (?, ?, ?, ?, ?, ?)",
            (
                snapshot_id,
                disk["id"],
                disk["position"],
                disk["backing"],
                disk["size"],
                fill and fill["source"],
            ),
        )
        if (
            disk["boot"] != boot_id()
        ):  # what was in memory when the machine stopped may never have reached the table
            change.execute("DELETE FROM marks WHERE volume = ?", (disk["id"],))
        change.execute("INSERT INTO marks VALUES (?, ?, ?)", (snapshot_id, disk["id"], disk["era"]))
        change.execute("UPDATE volumes SET era = era + 1, boot = ? WHERE id = ?", (boot_id(), disk["id"]))


def boot_id() -> str:
    """Return what tells this run of the machine from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def discard_unused(database: Database, layout: Layout, backings: Sequence[str]) -> None:
    """Remove the bytes of disks that neither a volume nor a snapshot needs."""
    for backing in backings:
        used = database.row(
            "SELECT 1 FROM volumes WHERE backing = ? UNION ALL SELECT 1 FROM frozen WHERE backing = ?",
            (backing, backing),
        )
        if used is None:
            with database.change() as change:
                change.execute("DELETE FROM fills WHERE backing = ?", (backing,))
            layout.backing(backing).unlink(missing_ok=True)
            layout.fill_map(backing).unlink(missing_ok=True)


def _attached(change: Connection, server_id: str) -> list[Row]:
    return change.execute(
        "SELECT v.*, a.position FROM attachments a JOIN volumes v ON v.id = a.volume WHERE a.server = ? ORDER BY a.position",
        (server_id,),
    ).fetchall()


def _refuse_what_cannot_stand_still(change: Connection, server_id: str, disks: Sequence[Row]) -> None:
    if not disks:
        raise CloudRefused(f"server {server_id} has no disk", code="CSBS.6007")
    for disk in disks:
        others = change.execute(
            "SELECT 1 FROM attachments WHERE volume = ? AND server != ?", (disk["id"], server_id)
        ).fetchone()
        if others:
            raise CloudRefused(
                f"volume {disk['name']} ({disk['id']}) is shared with another server", code="CSBS.6010"
            )


def _volumes_on(change: Connection, backings: Sequence[str]) -> list[str]:
    marks = ", ".join("?" * len(backings))
    rows = change.execute(f"SELECT id FROM volumes WHERE backing IN ({marks})", backings)  # noqa: S608 - only marks
    return [row["id"] for row in rows]


def _clone(source: Path, target: Path) -> bool:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            return reflink(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _record(row: Row) -> SnapshotRecord:
    return SnapshotRecord(
        id=row["id"],
        server=row["server"],
        record=json.loads(row["record"]),
        taken_at=parse_instant(row["taken_at"]),
        method=row["method"],
        evidence=json.loads(row["evidence"]),
        marker=json.loads(row["marker"]),
    )
