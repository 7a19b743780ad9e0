"""Looking at the simulated cloud: servers with their disks, and finding them by what people type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from sqlite3 import Row

from csbsctl.clock import parse_instant
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import ResourceNotFound, UsageError
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl_local.cloud.database import Database

_SERVERS = "SELECT id, name, state, zone, metadata, tags, created_at FROM servers"
_DISKS_OF_ONE = (
    "SELECT a.server, v.id, v.name, v.size, v.bootable, a.position,"
    " EXISTS (SELECT 1 FROM attachments o WHERE o.volume = a.volume AND o.server != a.server)"
    " FROM attachments a JOIN volumes v ON v.id = a.volume WHERE a.server = ? ORDER BY a.position"
)
_DISKS_OF_ALL = (  # finding the few shared volumes once takes half the time of asking of each
    "SELECT a.server, v.id, v.name, v.size, v.bootable, a.position,"
    " a.volume IN (SELECT volume FROM attachments GROUP BY volume HAVING count(*) > 1)"
    " FROM attachments a JOIN volumes v ON v.id = a.volume ORDER BY a.server, a.position"
)
_STATES = {state.value: state for state in ServerState}


class Inventory:
    """The servers of one cloud, as ``csbsctl.model.server`` has them."""

    def __init__(self, database: Database, provider: str) -> None:
        self._database, self._provider = database, provider

    def servers(self) -> Iterator[Server]:
        """Yield all servers in the order of their creation."""
        disks: dict[str, list[Volume]] = {}
        for disk in self._database.rows(_DISKS_OF_ALL):
            disks.setdefault(disk[0], []).append(_volume(disk))
        for row in self._database.rows(f"{_SERVERS} ORDER BY number"):
            yield self._server(row, disks.pop(row[0], ()))

    def server(self, server_id: str) -> Server:
        """Return one server. Raises ResourceNotFound."""
        row = self._database.row(f"{_SERVERS} WHERE id = ?", (server_id,))
        if row is None:
            raise ResourceNotFound(f"server {server_id} does not exist")
        return self._with_disks(row)

    def find(self, wanted: str) -> Server:
        """Return the server with an ID or a name.

        Raises:
            ResourceNotFound: there is none.
            UsageError: several have the name.
        """
        rows = self._database.rows(f"{_SERVERS} WHERE id = ?", (wanted,)) or self._database.rows(
            f"{_SERVERS} WHERE name = ? ORDER BY number", (wanted,)
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
        return self._server(row, [_volume(disk) for disk in self._database.rows(_DISKS_OF_ONE, (row["id"],))])

    def _server(self, row: Row, disks: Sequence[Volume]) -> Server:
        server, name, state, zone, metadata, tags, created_at = row
        # Most servers carry neither metadata nor tags, and telling so by the text is what makes ten thousand quick.
        carried: dict[str, str] = {} if metadata == "{}" else json.loads(metadata)
        tagged: list[str] = [] if tags == "[]" else json.loads(tags)
        return Server(
            id=server,
            name=name,
            provider=self._provider,
            state=_STATES[state],
            volumes=tuple(disks),
            availability_zone=zone,
            metadata=carried,
            tags=tuple(tagged),
            created_at=parse_instant(created_at),
            spec={"availability_zone": zone, "metadata": carried, "tags": tagged},
        )


def _volume(row: Row) -> Volume:
    _, volume, name, size, bootable, position, shared = row
    return Volume(volume, name, size, bool(bootable), bool(shared), position)
