"""A whole small world for protection: a vault and a simulated cloud on disk, in virtual time."""

from __future__ import annotations

import hashlib
import multiprocessing
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csbsctl.clock import VirtualClock
from csbsctl.model.backup import Backup
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.declared import Declared
from csbsctl.model.server import Server
from csbsctl.protection.events import Event, Recorder
from csbsctl.protection.runner import Runner, Summary
from csbsctl.protection.site import Site
from csbsctl.provider import Host
from csbsctl.vault import Vault, open_vault
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings

START = datetime(2026, 11, 1, tzinfo=UTC)
MIB = 1 << 20
SCENARIO = Path(__file__).with_name("scenario.py")


@dataclass
class World:
    """One process's view of the vault and the cloud; open another one for another process or thread."""

    folder: Path
    clock: VirtualClock
    vault: Vault
    cloud: LocalProvider
    recorder: Recorder = field(default_factory=Recorder)

    @property
    def site(self) -> Site:
        return Site(
            vault=self.vault,
            providers={"default": self.cloud},
            clock=self.clock,
            actor="tester@here",
            reporter=self.recorder,
            patience=(0.0,),
        )

    def server(self, name: str, *disks: int) -> Server:
        """Create a running server whose disks carry something."""
        server_id = self.cloud.cloud.machines.create(Wanted(name, disks or (MIB,)))
        server = self.cloud.server(server_id)
        for number, volume in enumerate(server.volumes):
            self.write(server, number, f"{name} {volume.position}".encode() * 100)
        return server

    def write(self, server: Server, disk: int, data: bytes, offset: int = 0) -> None:
        """Write through the server's I/O path."""
        with self.cloud.cloud.disk(server.volumes[disk].id) as opened:
            opened.write(offset, data)

    def digest(self, server: Server | str) -> list[str]:
        """Return the digest of each disk as it is now."""
        server = self.cloud.server(server if isinstance(server, str) else server.id)
        digests = []
        for volume in server.volumes:
            with self.cloud.cloud.disk(volume.id) as disk:
                digests.append(hashlib.sha256(disk.read(0, volume.size)).hexdigest())
        return digests

    def damage_record(self, server: Server) -> None:
        """Let the newest document of a server's backups be bytes that nobody wrote."""
        newest = max((self.folder / "vault" / "catalogue" / f"default~{server.id}").iterdir())
        newest.with_name(f"{int(newest.stem) + 1:010d}.json").write_bytes(b"garbage")

    def declare(
        self, live: dict[str, Any], *, stack: str = "default", members: dict[str, Any] | None = None
    ) -> None:
        """Put policies and bindings in force, as an apply does; ``members`` is whom it found each binding to reach."""
        head = self.vault.control.head()
        canonical = Declared.model_validate(live).canonical()
        now = self.clock.now()
        before = head.stacks.get(stack)
        since = dict(before.since) if before else {}
        for kind, prefix in (("policies", "policy"), ("bindings", "binding")):
            for name in canonical.get(kind, {}):
                since.setdefault(f"{prefix}.{name}", now)
        state = StackState(live=canonical, applied=canonical, since=since, members=members or {})
        document = replace(
            head,
            generation=head.generation + 1,
            stacks={**head.stacks, stack: state},
            stack=stack,
            at=now,
        )
        assert isinstance(document, ControlDocument)
        self.vault.control.commit(document)

    def run(
        self, at: datetime | None = None, policies: list[str] | None = None, *, stack: str = "default"
    ) -> Summary:
        """Make one pass, at an instant."""
        if at:
            self.clock.move_to(at)
        return Runner(replace(self.site, stack=stack), policies).once()

    def backups(self, server: Server) -> tuple[Backup, ...]:
        return self.vault.catalogue.backups("default", server.id)

    def events(self, name: str) -> list[Event]:
        return [event for event in self.recorder.events if event.name == name]

    def leftovers(self) -> list[str]:
        """Return what a crash may have left: marked things that no backup of the catalogue explains."""
        known = {v.ref for b in self.vault.catalogue.all() for v in b.volumes}
        return [
            f"{m.kind.value} {m.ref}"
            for m in self.cloud.marked(self.vault.id)
            if m.kind.value in ("snapshot", "volume") or (m.kind.value == "backup" and m.ref not in known)
        ]

    def another(self) -> World:
        """Return a second runner's view of the same vault and cloud; close it."""
        return open_world(self.folder, self.clock)

    @staticmethod
    def night(number: int, hour: float = 2) -> datetime:
        """Return an instant of a night, by default its slot; number 0 is the first one after the start."""
        return START + timedelta(days=number, hours=hour)

    def close(self) -> None:
        self.cloud.close()
        self.vault.close()


def open_world(folder: Path, clock: VirtualClock | None = None, *, create: bool = True) -> World:
    """Open the vault and the cloud below a folder."""
    clock = clock or VirtualClock(START)
    vault = open_vault("./vault", base=folder, clock=clock, create=create, actor="tester@here")
    host = Host("default", folder, clock, vault.data("default"), vault.sealer)
    return World(folder, clock, vault, LocalProvider(LocalSettings(), host))


@pytest.fixture(scope="session", name="open_world")
def _open_world() -> Any:
    return open_world


@pytest.fixture(scope="session")
def scenario() -> SimpleNamespace:
    """Return the stories of scenario.py."""
    return SimpleNamespace(**runpy.run_path(str(SCENARIO)))


@pytest.fixture(scope="session")
def apart() -> Callable[..., ForkServerProcess]:
    """Return a function that starts a story in a process of its own: folder, instant, story, boundary to die at."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["csbsctl.protection.runner", "csbsctl_local.provider", "pytest"])

    def start(*arguments: str) -> ForkServerProcess:
        words = (str(SCENARIO), {"ARGUMENTS": arguments}, "__main__")
        process = context.Process(target=runpy.run_path, args=words)
        process.start()
        return process

    return start


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = open_world(tmp_path, VirtualClock(START))
    yield opened
    opened.close()
