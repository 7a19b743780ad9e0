"""A small world to plan in: a real vault in a folder, a clock that stands still, servers and backups made to order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from csbsctl.clock import VirtualClock
from csbsctl.engine import Applied, Desired, Executor, Planner, Proposal, Situation
from csbsctl.engine.edits import Editor
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger
from csbsctl.model.declared import Declared
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.vault import Vault, open_vault

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
GIB = 1 << 30


def server(name: str, **more: Any) -> Server:
    volumes = more.pop("volumes", (Volume(f"vol-{name}", "system", 10 * GIB, bootable=True),))
    created = more.pop("created_at", NOON - timedelta(days=400))
    return Server(
        id=more.pop("id", f"id-{name}"),
        name=name,
        provider=more.pop("provider", "default"),
        state=more.pop("state", ServerState.ACTIVE),
        volumes=volumes,
        created_at=created,
        **more,
    )


def backup(server_name: str, at: datetime, *, policy: str = "gold", **more: Any) -> Backup:
    ref = f"ref-{server_name}-{at:%Y%m%d%H%M}"
    volume = StoredVolume(
        volume_id=f"vol-{server_name}",
        name="system",
        size=10 * GIB,
        bootable=True,
        position=0,
        ref=ref,
        kind=Kind.FULL,
        stored=GIB,
        parent=more.pop("parent", None),
    )
    given = {
        "id": f"bk-{server_name}-{at:%Y%m%d%H%M}",
        "name": f"autobk_{at:%m%d}",
        "server": ServerRef(id=f"id-{server_name}", name=server_name),
        "provider": "default",
        "policy": policy,
        "slot": at,
        "trigger": Trigger.AUTO,
        "state": BackupState.AVAILABLE,
        "job": f"job-{at:%Y%m%d%H%M}",
        "volumes": (volume,),
        "started_at": at,
        "taken_at": at,
        "finished_at": at + timedelta(minutes=5),
        **more,
    }
    return Backup(**given)


@dataclass
class World:
    """A vault, a clock and a cloud, and the short ways to plan and apply in them."""

    vault: Vault
    clock: VirtualClock
    servers: list[Server] = field(default_factory=list)
    quotas: dict[str, Any] = field(default_factory=dict)

    server = staticmethod(server)
    backup = staticmethod(backup)

    def situation(self, **more: Any) -> Situation:
        inventory: dict[str, list[Server]] = {"default": []}
        for each in self.servers:
            inventory.setdefault(each.provider, []).append(each)
        return Situation(
            **{
                "document": self.vault.control.head(),
                "inventory": inventory,
                "now": self.clock.now(),
                "catalogue": self.vault.catalogue,
                "vault_id": self.vault.id,
                "quotas": self.quotas,
                **more,
            }
        )

    def wish(
        self, declared: dict[str, Any], *, stack: str = "shop", moved: dict[str, str] | None = None
    ) -> Desired:
        return Desired.form(stack, Declared.model_validate(declared).canonical(), moved=moved)

    def plan(self, declared: dict[str, Any] | Desired, *, stack: str = "shop", **more: Any) -> Proposal:
        moved = more.pop("moved", None)
        wish = declared if isinstance(declared, Desired) else self.wish(declared, stack=stack, moved=moved)
        return Planner(self.situation()).plan(wish, **more)

    def apply(
        self, declared: dict[str, Any] | Desired | Proposal, *, allow: tuple[str, ...] = (), **more: Any
    ) -> Applied:
        proposal = declared if isinstance(declared, Proposal) else self.plan(declared, **more)
        return self.executor.apply(proposal, allow=allow)

    @property
    def executor(self) -> Executor:
        return Executor(self.vault.control, self.clock, "ann@laptop")

    @property
    def editor(self) -> Editor:
        return Editor(self.vault.control, self.clock, "ops", "console")

    def keep(self, *backups: Backup) -> None:
        """Put backups into the catalogue."""
        by_server: dict[tuple[str, str], list[Backup]] = {}
        for each in backups:
            by_server.setdefault((each.provider, each.server.id), []).append(each)
        for (provider, server_id), made in by_server.items():
            self.vault.catalogue.update(provider, server_id, lambda old, made=made: [*old, *made])

    def nightly(self, name: str, count: int, *, policy: str = "gold") -> None:
        """Put a backup for each of the last nights into the catalogue."""
        last = NOON.replace(hour=2)
        self.keep(*(backup(name, last - timedelta(days=n), policy=policy) for n in range(count)))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = VirtualClock(NOON)
    with open_vault("vault", base=tmp_path, clock=clock, create=True, actor="ann@laptop") as vault:
        yield World(vault, clock, [server("web-01"), server("web-02"), server("db-07")])
