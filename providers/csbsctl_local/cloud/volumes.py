"""Volumes that stand alone: restored, waiting to take the place of others or to become a server."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Row
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock, format_instant, parse_instant
from csbsctl.errors import CloudRefused, ResourceConflict, ResourceNotFound
from csbsctl.ids import new_id
from csbsctl.model.server import ServerState, Volume
from csbsctl_local.cloud.control import surgery
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.fills import write_fill_map
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.snapshots import discard_unused
from csbsctl_local.cloud.sparse import Extent

_CREATED = Boundary("cloud.volume.created", "a volume to restore to exists, without bytes")
_READY = Boundary("cloud.restore.written", "a restored volume has all its bytes and is available")
_SWAPPED = Boundary(
    "cloud.swap.done", "restored volumes have taken their places, the old bytes are not yet removed"
)
_BUILT = Boundary("cloud.build.done", "a server was built from restored volumes, nobody was told its id")
_KEPT = Boundary(
    "cloud.volumes.kept", "restored volumes have their names and belong to nobody's job any more"
)

RESTORING, AVAILABLE = "restoring", "available"


@dataclass(frozen=True, slots=True)
class LooseVolume:
    """A volume that no server has, made by a step; ``state`` is ``restoring`` until it has all its bytes."""

    id: str
    name: str
    size: int
    state: str
    path: Path
    created_at: datetime
    marker: dict[str, Any]
    details: dict[str, Any]


class Volumes:
    """The volumes of one cloud that steps of jobs make, exchange and turn into servers."""

    def __init__(self, layout: Layout, database: Database, clock: Clock) -> None:
        self._layout, self._database, self._clock = layout, database, clock

    def create(
        self,
        claim: str,
        marker: dict[str, Any],
        *,
        name: str,
        size: int,
        bootable: bool,
        details: dict[str, Any],
    ) -> LooseVolume:
        """Make a volume without bytes, or return the one that the same claim made before."""
        found = self._row("claim", claim)
        if found is None:
            with self._database.change() as change:
                change.execute(
                    "INSERT OR IGNORE INTO volumes"
                    " (id, name, size, bootable, backing, state, created_at, marker, claim, details)"
                    " VALUES (?1, ?2, ?3, ?4, ?1, ?5, ?6, ?7, ?8, ?9)",
                    (
                        *(new_id(), name, size, bootable, RESTORING, format_instant(self._clock.now())),
                        *(json.dumps(marker), claim, json.dumps(details)),
                    ),
                )
            _CREATED()
            found = self._row("claim", claim)
        assert found
        return self._loose(found)

    def loose(self) -> list[LooseVolume]:
        """Return all volumes that steps made and no server has yet."""
        rows = self._database.rows(
            "SELECT * FROM volumes WHERE marker IS NOT NULL"
            " AND id NOT IN (SELECT volume FROM attachments) ORDER BY created_at, id"
        )
        return [self._loose(row) for row in rows]

    def built(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the servers that steps built, with their markers."""
        rows = self._database.rows("SELECT id, marker FROM servers WHERE marker IS NOT NULL ORDER BY number")
        return [(row["id"], marker) for row in rows if (marker := json.loads(row["marker"]))]

    def ready(self, volume_id: str) -> None:
        """Say that a volume has all its bytes."""
        with self._database.change() as change:
            change.execute(
                "UPDATE volumes SET state = ? WHERE id = ? AND state = ?", (AVAILABLE, volume_id, RESTORING)
            )
        _READY()

    def fill_lazily(self, volume: LooseVolume, source: dict[str, Any], extents: Iterable[Extent]) -> None:
        """Make a volume ready at once; its bytes come from a source when they are needed."""
        with volume.path.open("wb") as file:
            file.truncate(volume.size)
        write_fill_map(self._layout.fill_map(volume.id), volume.size, extents)
        with self._database.change() as change:
            change.execute("INSERT OR REPLACE INTO fills VALUES (?, ?)", (volume.id, json.dumps(source)))
            change.execute("UPDATE volumes SET state = ? WHERE id = ?", (AVAILABLE, volume.id))
        _READY()

    def swapped(self, claim: str) -> str | None:
        """Return the id of the volume that a claim made and that has taken another's place since, or None."""
        row = self._database.row("SELECT volume FROM swapped WHERE claim = ?", (claim,))
        return str(row["volume"]) if row else None

    def swap(self, server_id: str, places: Sequence[tuple[str, str]]) -> None:
        """Give volumes of a stopped server the bytes of restored ones: (restored, target) pairs, all or none.

        The targets keep their ids and take the restored sizes. What was swapped before is passed over.
        """
        with surgery(self._database, self._layout) as (change, pause):
            state = change.execute("SELECT name, state FROM servers WHERE id = ?", (server_id,)).fetchone()
            if state is None:
                raise ResourceNotFound(f"server {server_id} does not exist")
            open_places = [
                (restored, target)
                for restored, target in places
                if not change.execute("SELECT 1 FROM swapped WHERE volume = ?", (restored,)).fetchone()
            ]
            if open_places and state["state"] == ServerState.ACTIVE:
                raise ResourceConflict(
                    f"server {state['name']} must be stopped before its disks are exchanged"
                )
            pause.hold(volume for pair in open_places for volume in pair)
            old = []
            for restored, target in open_places:
                new, replaced = self._pair(change.execute, server_id, restored, target)
                old.append(replaced["backing"])
                change.execute("DELETE FROM volumes WHERE id = ?", (restored,))
                change.execute(
                    "UPDATE volumes SET backing = ?, size = ? WHERE id = ?",
                    (new["backing"], new["size"], target),
                )
                change.execute("DELETE FROM marks WHERE volume = ?", (target,))
                change.execute("INSERT INTO swapped VALUES (?, ?, ?)", (restored, target, new["claim"]))
        _SWAPPED()
        for restored, _ in open_places:
            self._layout.control(restored).unlink(missing_ok=True)
        discard_unused(self._database, self._layout, old)

    def build(self, claim: str, marker: dict[str, Any], wanted: Wanted, volume_ids: Sequence[str]) -> str:
        """Make a server of loose volumes, in that order; return its id, or that of the one the claim made before."""
        with self._database.change() as change:
            found = change.execute("SELECT id FROM servers WHERE claim = ?", (claim,)).fetchone()
            if found:
                return str(found["id"])
            server_id = new_id()
            change.execute(
                "INSERT INTO servers (id, name, state, zone, metadata, tags, created_at, image, marker, claim)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(server_id, wanted.name, wanted.state, wanted.zone, json.dumps(wanted.metadata)),
                    *(json.dumps(wanted.tags), format_instant(self._clock.now()), wanted.image),
                    *(json.dumps(marker), claim),
                ),
            )
            for position, volume_id in enumerate(volume_ids):
                done = change.execute(
                    "UPDATE volumes SET state = 'in-use', name = ? WHERE id = ? AND state = ?",
                    (f"{wanted.name}-disk-{position}", volume_id, AVAILABLE),
                )
                if not done.rowcount:
                    raise ResourceNotFound(f"restored volume {volume_id} does not exist or is not complete")
                change.execute("INSERT INTO attachments VALUES (?, ?, ?)", (server_id, volume_id, position))
        _BUILT()
        return server_id

    def keep(self, names: Mapping[str, str]) -> list[Volume]:
        """Name loose volumes (new names by id) and make them like those that nobody's job made.

        Raises:
            ResourceNotFound: one of them is not there, or does not have all its bytes yet; none is changed.
        """
        kept = []
        with self._database.change() as change:
            for volume_id, name in names.items():
                row = change.execute(
                    "UPDATE volumes SET name = ?, marker = NULL WHERE id = ? AND state != ?"
                    " RETURNING id, name, size, bootable, state",
                    (name, volume_id, RESTORING),
                ).fetchone()
                if row is None:
                    raise ResourceNotFound(f"restored volume {volume_id} does not exist or is not complete")
                kept.append(
                    Volume(row["id"], row["name"], row["size"], bool(row["bootable"]), state=row["state"])
                )
        _KEPT()
        return kept

    def remove(self, volume_id: str) -> None:
        """Remove a volume that no server has; already gone is fine."""
        row = self._row("id", volume_id)
        if row is None:
            return
        with self._database.change() as change:
            if change.execute("SELECT 1 FROM attachments WHERE volume = ?", (volume_id,)).fetchone():
                raise CloudRefused(f"volume {volume_id} is attached to a server")
            change.execute("DELETE FROM volumes WHERE id = ?", (volume_id,))
        self._layout.control(volume_id).unlink(missing_ok=True)
        self._layout.eras(volume_id).unlink(missing_ok=True)
        discard_unused(self._database, self._layout, [row["backing"]])

    def replace(self, server_id: str, target: str, size: int, fill: Callable[[int], None]) -> None:
        """Give a volume wholly new bytes, written by ``fill(descriptor)``; a kill leaves the old ones."""
        claim = f"import {new_id()}"
        fresh = self.create(claim, {}, name="import", size=size, bootable=False, details={})
        try:
            with fresh.path.open("w+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # see sweep
                file.truncate(size)
                fill(file.fileno())
            with surgery(self._database, self._layout) as (change, pause):
                pause.hold([target])
                new, old = self._pair(change.execute, server_id, fresh.id, target, complete=False)
                change.execute("DELETE FROM volumes WHERE id = ?", (fresh.id,))
                change.execute("UPDATE volumes SET backing = ? WHERE id = ?", (new["backing"], target))
                change.execute("DELETE FROM marks WHERE volume = ?", (target,))
        except BaseException:
            self.remove(fresh.id)
            raise
        discard_unused(self._database, self._layout, [old["backing"]])

    @staticmethod
    def _pair(
        run: Any, server_id: str, restored: str, target: str, *, complete: bool = True
    ) -> tuple[Row, Row]:
        new = run("SELECT * FROM volumes WHERE id = ?", (restored,)).fetchone()
        if new is None or (complete and new["state"] != AVAILABLE):
            raise ResourceNotFound(f"restored volume {restored} does not exist or is not complete")
        old = run(
            "SELECT v.* FROM volumes v JOIN attachments a ON a.volume = v.id WHERE v.id = ? AND a.server = ?",
            (target, server_id),
        ).fetchone()
        if old is None:
            raise ResourceNotFound(f"volume {target} is not attached to server {server_id}")
        return new, old

    def _row(self, column: str, value: str) -> Row | None:
        return self._database.row(f"SELECT * FROM volumes WHERE {column} = ?", (value,))  # noqa: S608 - our own words

    def _loose(self, row: Row) -> LooseVolume:
        return LooseVolume(
            id=row["id"],
            name=row["name"],
            size=row["size"],
            state=row["state"],
            path=self._layout.backing(row["backing"]),
            created_at=parse_instant(row["created_at"]),
            marker=json.loads(row["marker"]) if row["marker"] else {},
            details=json.loads(row["details"]),
        )
