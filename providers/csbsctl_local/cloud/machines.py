"""Making and changing servers and their disks, as an operator of a cloud does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any

from csbsctl.clock import Clock, format_instant
from csbsctl.errors import CloudRefused, ResourceNotFound
from csbsctl.ids import new_id
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.units import format_size
from csbsctl_local.cloud.control import surgery
from csbsctl_local.cloud.database import Database
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.snapshots import discard_unused


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server to be made; ``disks`` are sizes in bytes, the system disk first."""

    name: str
    disks: tuple[int, ...] = ()
    zone: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    state: ServerState = ServerState.ACTIVE
    image: str | None = None
    id: str | None = None
    """The ID it gets; a new one where None."""


class Machines:
    """The operator's hands. Disks cost nothing until something is written to them."""

    def __init__(self, layout: Layout, database: Database, clock: Clock) -> None:
        self._layout, self._database, self._clock = layout, database, clock

    def create(self, wanted: Wanted) -> str:
        """Make one server; return its id."""
        return self.load([wanted])[0]

    def load(self, wanted: Iterable[Wanted]) -> list[str]:
        """Make many servers in one change; return their ids."""
        now = format_instant(self._clock.now())
        servers: list[tuple[Any, ...]] = []
        volumes: list[tuple[Any, ...]] = []
        attachments: list[tuple[Any, ...]] = []
        for server in wanted:
            server_id = server.id or new_id()
            metadata, tags = json.dumps(server.metadata), json.dumps(server.tags)
            servers.append(
                (server_id, server.name, server.state, server.zone, metadata, tags, now, server.image)
            )
            for position, size in enumerate(server.disks):
                volume_id = new_id()
                name = f"{server.name}-disk-{position}"
                volumes.append((volume_id, name, _size(size), position == 0, volume_id, "in-use", now))
                attachments.append((server_id, volume_id, position))
        with self._database.change() as change:
            change.executemany(
                "INSERT INTO servers (id, name, state, zone, metadata, tags, created_at, image)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                servers,
            )
            change.executemany(
                "INSERT INTO volumes (id, name, size, bootable, backing, state, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                volumes,
            )
            change.executemany("INSERT INTO attachments VALUES (?, ?, ?)", attachments)
        return [server[0] for server in servers]

    def delete(self, server_id: str) -> None:
        """Delete a server with the disks that no other server has; already gone is fine."""
        with surgery(self._database, self._layout) as (change, pause):
            rows = change.execute(
                "SELECT v.id, v.backing FROM attachments a JOIN volumes v ON v.id = a.volume WHERE a.server = ?1"
                " AND NOT EXISTS (SELECT 1 FROM attachments o WHERE o.volume = v.id AND o.server != ?1)",
                (server_id,),
            ).fetchall()
            pause.hold(_disks_of(change, server_id))
            change.execute("DELETE FROM servers WHERE id = ?", (server_id,))
            change.executemany("DELETE FROM volumes WHERE id = ?", [(row["id"],) for row in rows])
        for row in rows:
            self._forget_files(row["id"], row["backing"])

    def set_state(self, server_id: str, state: ServerState) -> None:
        """Start or stop a server; when this returns no write of its guests is in flight any more."""
        row = self._database.row("SELECT state FROM servers WHERE id = ?", (server_id,))
        if row is None:
            raise ResourceNotFound(f"server {server_id} does not exist")
        if row["state"] == state:
            return
        with surgery(self._database, self._layout) as (change, pause):
            pause.hold(_disks_of(change, server_id))
            change.execute("UPDATE servers SET state = ? WHERE id = ?", (state, server_id))

    def attach(self, server: Server, size: int) -> str:
        """Attach a new, empty disk; return its id."""
        volume_id, position = new_id(), len(server.volumes)
        with self._database.change() as change:
            change.execute(
                "INSERT INTO volumes (id, name, size, bootable, backing, state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(
                        volume_id,
                        f"{server.name}-disk-{position}",
                        _size(size),
                        position == 0,
                        volume_id,
                        "in-use",
                    ),
                    format_instant(self._clock.now()),
                ),
            )
            change.execute("INSERT INTO attachments VALUES (?, ?, ?)", (server.id, volume_id, position))
        return volume_id

    def attach_existing(self, server: Server, volume_id: str) -> None:
        """Attach a volume that exists: one that was detached, or (then shared) one of another server."""
        if any(volume.id == volume_id for volume in server.volumes):
            raise CloudRefused(f"server {server.name} has volume {volume_id} already")
        with surgery(self._database, self._layout) as (change, pause):
            if change.execute("SELECT 1 FROM volumes WHERE id = ?", (volume_id,)).fetchone() is None:
                raise ResourceNotFound(f"volume {volume_id} does not exist")
            pause.hold([volume_id])
            change.execute(
                "INSERT INTO attachments SELECT ?1, ?2, count(*) FROM attachments WHERE server = ?1",
                (server.id, volume_id),
            )
            change.execute("UPDATE volumes SET state = 'in-use' WHERE id = ?", (volume_id,))

    def detach(self, server: Server, volume: Volume) -> None:
        """Detach a data disk; it stays in the cloud, on its own. Those behind it move up."""
        if volume.position == 0:
            raise CloudRefused(f"disk 0 of {server.name} is its system disk and cannot be detached")
        with surgery(self._database, self._layout) as (change, pause):
            pause.hold([volume.id])
            change.execute("DELETE FROM attachments WHERE server = ? AND volume = ?", (server.id, volume.id))
            rest = change.execute(
                "SELECT volume, position FROM attachments WHERE server = ? AND position > ? ORDER BY position",
                (server.id, volume.position),
            ).fetchall()
            for row in rest:
                change.execute(
                    "UPDATE attachments SET position = ? WHERE server = ? AND position = ?",
                    (row["position"] - 1, server.id, row["position"]),
                )
            change.execute(
                "UPDATE volumes SET state = 'available' WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM attachments WHERE volume = ?1)",
                (volume.id,),
            )

    def resize(self, volume: Volume, size: int) -> None:
        """Enlarge a disk; the new part reads as zeros. Raises CloudRefused when it would shrink."""
        if size < volume.size:
            raise CloudRefused(
                f"disk {volume.name} has {format_size(volume.size)} and cannot shrink to {format_size(size)}"
            )
        if size == volume.size:
            return
        with surgery(self._database, self._layout) as (change, pause):
            pause.hold([volume.id])
            row = change.execute("SELECT backing, size FROM volumes WHERE id = ?", (volume.id,)).fetchone()
            if change.execute("SELECT 1 FROM fills WHERE backing = ?", (row["backing"],)).fetchone():
                raise CloudRefused(f"disk {volume.name} is still being filled", hint="run: csbsctl sim fill")
            path = self._layout.backing(row["backing"])
            if path.exists():
                os.truncate(path, size)
            change.execute("UPDATE volumes SET size = ? WHERE id = ?", (size, volume.id))
            change.execute("DELETE FROM marks WHERE volume = ?", (volume.id,))

    def _forget_files(self, volume_id: str, backing: str) -> None:
        self._layout.control(volume_id).unlink(missing_ok=True)
        self._layout.eras(volume_id).unlink(missing_ok=True)
        discard_unused(self._database, self._layout, [backing])


def _disks_of(change: Connection, server_id: str) -> Sequence[str]:
    rows = change.execute("SELECT volume FROM attachments WHERE server = ?", (server_id,))
    return [row["volume"] for row in rows]


def _size(size: int) -> int:
    if size <= 0:
        raise CloudRefused(f"a disk of {size} bytes cannot be made")
    return size
