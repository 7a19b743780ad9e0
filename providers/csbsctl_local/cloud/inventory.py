"""Looking at the simulated cloud: servers with their disks, and finding them by what people type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from sqlite3 import Row
from typing import Any

from csbsctl.clock import parse_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import ResourceNotFound, UsageError
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl_local.cloud.database import Database

_DISKS = (
    "SELECT a.server, a.position, v.id, v.name, v.size, v.bootable,"
    " EXISTS (SELECT 1 FROM attachments o WHERE o.volume = a.volume AND o.server != a.server) AS shared"
    " FROM attachments a JOIN volumes v ON v.id = a.volume"
)


class Inventory:
    """The servers of one cloud, as ``csbsctl.model.server`` has them."""

    def __init__(self, database: Database, provider: str) -> None:
        self._database, self._provider = database, provider

    def servers(self) -> Iterator[Server]:
        """Yield all servers in the order of their creation."""
        disks: dict[str, list[Row]] = {}
        for disk in self._database.rows(f"{_DISKS} ORDER BY a.server, a.position"):
            disks.setdefault(disk["server"], []).append(disk)
        for row in self._database.rows("SELECT * FROM servers ORDER BY number"):
            yield self._server(row, disks.get(row["id"], []))

    def server(self, server_id: str) -> Server:
        """Return one server. Raises ResourceNotFound."""
        row = self._database.row("SELECT * FROM servers WHERE id = ?", (server_id,))
        if row is None:
            raise ResourceNotFound(f"server {server_id} does not exist")
        return self._with_disks(row)

    def find(self, wanted: str) -> Server:
        """Return the server with an ID or a name.

        Raises:
            ResourceNotFound: there is none.
            UsageError: several have the name.
        """
        rows = self._database.rows("SELECT * FROM servers WHERE id = ?", (wanted,)) or self._database.rows(
            "SELECT * FROM servers WHERE name = ? ORDER BY number", (wanted,)
        )
        if not rows:
            names = [row["name"] for row in self._database.rows("SELECT name FROM servers LIMIT 10000")]
            raise ResourceNotFound(
                f"the cloud has no server {wanted!r}",
                hint=did_you_mean(wanted, names) or "see: csbsctl sim server list",
            )
        if len(rows) > 1:
            raise UsageError(
                f"{len(rows)} servers are named {wanted!r}: {', '.join(row['id'] for row in rows)}",
                hint="use the ID",
            )
        return self._with_disks(rows[0])

    def find_disk(self, wanted: str) -> tuple[Server, Volume]:
        """Return server and disk for ``SERVER:N``. Raises UsageError, ResourceNotFound."""
        name, colon, number = wanted.rpartition(":")
        if not colon or not number.isdecimal():
            raise UsageError(
                f"{wanted!r} names no disk", hint="write SERVER:N, such as web-01:0 for the system disk"
            )
        server = self.find(name)
        if int(number) >= len(server.volumes):
            raise ResourceNotFound(
                f"server {server.name} has {len(server.volumes)} disks, no number {number}"
            )
        return server, server.volumes[int(number)]

    def _with_disks(self, row: Row) -> Server:
        return self._server(
            row, self._database.rows(f"{_DISKS} WHERE a.server = ? ORDER BY a.position", (row["id"],))
        )

    def _server(self, row: Row, disks: list[Row]) -> Server:
        metadata: dict[str, str] = {} if row["metadata"] == "{}" else json.loads(row["metadata"])
        tags: list[str] = [] if row["tags"] == "[]" else json.loads(row["tags"])
        spec: dict[str, Any] = {"availability_zone": row["zone"], "metadata": metadata, "tags": tags}
        return Server(
            id=row["id"],
            name=row["name"],
            provider=self._provider,
            state=ServerState(row["state"]),
            volumes=tuple(_volume(disk) for disk in disks),
            availability_zone=row["zone"],
            metadata=metadata,
            tags=tuple(tags),
            created_at=parse_instant(row["created_at"]),
            spec=spec,
        )


def _volume(row: Row) -> Volume:
    return Volume(
        id=row["id"],
        name=row["name"],
        size=row["size"],
        bootable=bool(row["bootable"]),
        shared=bool(row["shared"]),
        position=row["position"],
    )
