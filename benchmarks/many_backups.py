"""How much memory and time the commands that look at backups take, with very many of them.

    python benchmarks/many_backups.py [--sizes 1000 10000] [--each 30]

The vault is made without taking a backup: catalogue documents of as many nightly backups, as runs would have left them,
written through the vault's own code. Their data is in no cloud, so drift, which would find all of it missing, looks
for what it can tell without: objectives and bindings. Each figure is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from engine import CSBSCTL, POLICIES, Table, write_configuration
from measured import measure

from csbsctl.clock import SystemClock
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.model.slots import SlotLog
from csbsctl.vault import open_vault

GIB = 1 << 30
LOOKS = {
    "status": ("status", "--no-findings"),
    "drift --only objective": ("drift", "--only", "objective"),
    "server list": ("server", "list"),
    "backup list": ("backup", "list"),
    "backup list --json": ("backup", "list", "--json"),
    "forecast": ("forecast",),
    "run --dry-run": ("run", "--dry-run"),
    "run": ("run",),
}


def main() -> None:
    """Measure every size, then print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--each", type=int, default=30, help="backups of each server")
    given = parser.parse_args()
    table = Table()
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), size, given.each)
            for what, words in LOOKS.items():
                table.add(what, size, measure([*CSBSCTL, "-C", folder, *words], cwd=folder))
            write_configuration(Path(folder), size, keep=7)
            table.add("plan, 30 -> 7 backups", size, measure([*CSBSCTL, "-C", folder, "plan"], cwd=folder))
    print()
    print("\n".join(table.lines(given.sizes)))


def prepare(folder: Path, size: int, each: int) -> None:
    """Make a folder whose vault has backups of each of some servers, all in force."""
    servers = [json.dumps({"name": f"server-{n:06}", "disks": ["1G"]}) for n in range(size)]
    (folder / "servers.jsonl").write_text("\n".join(servers) + "\n")
    write_configuration(folder, size)
    for words in (("sim", "server", "load", "servers.jsonl"), ("apply", "--yes")):
        measure([*CSBSCTL, "-C", str(folder), *words], cwd=str(folder))
    clock = SystemClock()
    with open_vault("./vault", base=folder, clock=clock, actor="benchmark") as vault:
        members = vault.control.head().stacks["bench"].members
        for binding, reached in members.items():
            policy = f"p{int(binding[1:]) % POLICIES}"
            for server, name in reached.items():
                backups = list(nightly(ServerRef(id=server, name=name), policy, clock.now(), each))
                log = SlotLog(last=backups[-1].slot)
                vault.catalogue.update(
                    "default",
                    server,
                    lambda _, backups=backups: backups,  # type: ignore[misc]
                    slots=(policy, lambda _, log=log: log),  # type: ignore[misc]
                )


def nightly(server: ServerRef, policy: str, now: datetime, count: int) -> Iterator[Backup]:
    """Yield the backups of the last nights of one server with one disk: a full one, then increments."""
    hour = int(policy[1:])
    last = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    if last > now:
        last -= timedelta(days=1)
    for night in range(count):
        at = last - timedelta(days=count - 1 - night)
        kind = Kind.FULL if night == 0 else Kind.INCREMENTAL
        disk = StoredVolume(
            volume_id=f"disk-{server.id}",
            name="system",
            size=GIB,
            bootable=True,
            position=0,
            ref=new_id(),
            kind=kind,
            stored=GIB // 2 if night == 0 else GIB // 50,
        )
        yield Backup(
            id=new_id(),
            name=f"autobk_{night:04x}",
            server=server,
            provider="default",
            stack="bench",
            policy=policy,
            slot=at,
            trigger=Trigger.AUTO,
            state=BackupState.AVAILABLE,
            job=new_id(),
            consistency=Consistency.CRASH,
            method="reflink",
            evidence={"disks": 1, "instant": at.isoformat()},
            kind=kind,
            volumes=(disk,),
            started_at=at,
            taken_at=at,
            finished_at=at + timedelta(minutes=3),
            spec={"metadata": {}, "tags": [], "availability_zone": None},
        )


if __name__ == "__main__":
    sys.exit(main())
