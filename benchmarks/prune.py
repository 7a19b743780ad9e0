"""Prune and collection of garbage with many backups: ``python benchmarks/prune.py [--backups 10000]``.

Builds servers with that many backups altogether, all but one in ten of which a policy keeps, and measures one ``run``.
While they are built nothing is synced, which would take most of the time and is not what is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from csbsctl.clock import VirtualClock
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger
from csbsctl.model.control import StackState
from csbsctl.model.declared import Declared
from csbsctl.model.server import Server
from csbsctl.protection.runner import Runner
from csbsctl.protection.site import Site
from csbsctl.provider import Host
from csbsctl.vault import Vault, open_vault
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.provider import LocalProvider
from csbsctl_local.repository import FileSource
from csbsctl_local.settings import LocalSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 1 << 20


def fill(vault: Vault, cloud: LocalProvider, server: Server, count: int, image: Path) -> None:
    """Store a full backup and unchanged increments of it, and enter them all in the catalogue."""
    backups = []
    parent = None
    for number in range(count):
        at = START + timedelta(hours=number)
        name = f"{server.name}-{number}"
        with image.open("r+b") as file:
            file.write(f"{name}".encode())
        cloud._shelf.repository.write(  # noqa: SLF001 - past the steps, which would take an hour
            FileSource(image), manifest=name, parent=parent, changed=[(0, 1)] if parent else None, job="b"
        )
        parent = name
        volume = server.volumes[0]
        stored = StoredVolume(
            volume_id=volume.id,
            name=volume.name,
            size=SIZE,
            bootable=True,
            position=0,
            ref=name,
            kind=Kind.FULL,
            stored=0,
        )
        backups.append(
            Backup(
                id=name,
                name=name,
                server=ServerRef(id=server.id, name=server.name),
                provider="default",
                policy="gold",
                slot=at,
                trigger=Trigger.AUTO,
                state=BackupState.AVAILABLE,
                job="b",
                volumes=(stored,),
                started_at=at,
                taken_at=at,
                finished_at=at,
            )
        )
    vault.catalogue.update("default", server.id, lambda _before: backups)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=10_000)
    parser.add_argument("--servers", type=int, default=50)
    asked = parser.parse_args()
    each = asked.backups // asked.servers
    with tempfile.TemporaryDirectory() as folder:
        base, clock = Path(folder), VirtualClock(START)
        vault = open_vault("./vault", base=base, clock=clock, create=True, actor="bench@here")
        host = Host("default", base, clock, vault.data("default"), vault.sealer)
        cloud = LocalProvider(LocalSettings(), host)
        for number in range(asked.servers):
            cloud.cloud.machines.create(Wanted(f"web-{number:03}", (SIZE,)))
        image = base / "image"
        image.write_bytes(bytes(SIZE))
        began = time.monotonic()
        sync, os.fsync = os.fsync, lambda _fd: None
        for server in cloud.servers():
            fill(vault, cloud, server, each, image)
        os.fsync = sync
        print(f"built {each * asked.servers} backups in {time.monotonic() - began:.1f} s")
        live = {
            "policies": {"gold": {"schedule": {"at": ["23:00"]}, "retention": {"count": each * 9 // 10}}},
            "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}},
        }
        canonical = Declared.model_validate(live).canonical()
        clock.move_to(START + timedelta(hours=each, days=1))
        head = vault.control.head()
        since = {"policy.gold": clock.now(), "binding.web": clock.now()}
        state = StackState(live=canonical, applied=canonical, since=since)
        vault.control.commit(
            replace(head, generation=1, stacks={"default": state}, stack="default", at=clock.now())
        )
        for what in ("prune of one in ten, with collection", "the next run, with nothing to do"):
            began, busy = time.monotonic(), time.process_time()
            summary = Runner(Site(vault, {"default": cloud}, clock)).once()
            wall, cpu = time.monotonic() - began, time.process_time() - busy
            print(f"{what}: {wall:.1f} s, {cpu:.2f} s CPU, {summary.deleted} deleted, {summary.problems}")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
        cloud.close()
        vault.close()


if __name__ == "__main__":
    main()
