"""``csbsctl sim write|workload|check|attack|fill``: what happens inside the servers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from csbsctl.clock import Clock
from csbsctl.errors import UsageError
from csbsctl.units import format_size
from csbsctl_local.commands.session import DiskArgument, JsonFlag, ProviderName, ServerArgument, local, size

_PIECE = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    for command in (write, workload, check, attack, fill):
        app.command()(command)


def write(
    context: typer.Context,
    disk: DiskArgument,
    offset: Annotated[
        str, typer.Option("--offset", metavar="BYTES", help="Where on the disk; sizes are fine.")
    ] = "0",
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Write the bytes of a file.")
    ] = None,
    random_bytes: Annotated[
        str | None, typer.Option("--random", metavar="BYTES", help="Write so many random bytes.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 0,
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Write to a disk as its server would; the server must be running.

    Example: `csbsctl sim write web-01:0 --offset 1M --random 4M --seed 7`
    """
    if (file is None) == (random_bytes is None):
        raise UsageError("give either --file FILE or --random BYTES")
    position = start = size(offset)
    pieces = _file(file) if file is not None else _random(size(random_bytes or "0"), seed)
    with local(context, provider, as_json=as_json) as (session, opened):
        _, volume = opened.cloud.inventory.find_disk(disk)
        with opened.cloud.disk(volume.id) as target:
            for piece in pieces:
                target.write(position, piece)
                position += len(piece)
        session.say(f"Wrote {format_size(position - start)} to {volume.name}.")
        session.result({"volume": volume.id, "offset": start, "written": position - start})


def workload(
    context: typer.Context,
    server: ServerArgument,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Write for so long (default 10).")
    ] = None,
    records: Annotated[int | None, typer.Option("--records", help="Write so many records.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over at record 1.")] = False,
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Write numbered records across all disks, each only when the last is done, going on after those that are there.

    The records lie in a ring on each disk, from 64 KiB on, and overwrite what is there (up to 8 MiB). It ends early
    when the server is stopped. Take snapshots meanwhile, restore one, and see what `sim check` says.

    Example: `csbsctl sim workload db-01 --seconds 30 &`
    """
    from csbsctl_local.cloud.workload import run

    if seconds is not None and records is not None:
        raise UsageError("give --seconds or --records, not both")
    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        with opened.cloud.disks(found) as disks:
            written, last = run(disks, more=_until(session.clock, seconds, records), fresh=fresh)
        session.say(f"Wrote {written} records to {found.name}; the last is {last}.")
        session.result({"server": found.id, "written": written, "last": last})


def check(
    context: typer.Context, server: ServerArgument, provider: ProviderName = None, as_json: JsonFlag = False
) -> None:
    """Read the records of `sim workload` back: are they a prefix of what was written?

    Prints `prefix 1..M` and exits 0 if they are, as on every crash-consistent copy; else names the first hole, exit 1.

    Example: `csbsctl sim check db-01`
    """
    from csbsctl_local.cloud.workload import check_at_rest

    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        with opened.cloud.disks(found) as disks:
            verdict = check_at_rest(disks)
        session.say(str(verdict))
        session.result(
            {
                "server": found.id,
                "consistent": verdict.consistent,
                "last": verdict.last,
                "hole": verdict.hole,
                "reason": verdict.reason or None,
            }
        )
    if not verdict.consistent:
        raise typer.Exit(1)


def attack(
    context: typer.Context,
    server: ServerArgument,
    seed: Annotated[int, typer.Option("--seed", help="The same seed does the same damage.")],
    provider: ProviderName = None,
    as_json: JsonFlag = False,
) -> None:
    """Be ransomware: encrypt in place everything that lies on the server's disks.

    Example: `csbsctl sim attack web-01 --seed 1`
    """
    from csbsctl_local.cloud.attack import attack as strike

    with local(context, provider, as_json=as_json) as (session, opened):
        found = opened.cloud.inventory.find(server)
        with opened.cloud.disks(found) as disks:
            overwritten = strike(disks, seed)
        session.say(f"Encrypted {format_size(overwritten)} on {len(found.volumes)} disks of {found.name}.")
        session.result({"server": found.id, "overwritten": overwritten})


def fill(context: typer.Context, provider: ProviderName = None, as_json: JsonFlag = False) -> None:
    """Finish instant restores: fetch everything that restored disks still miss, and wait for it.

    Example: `csbsctl sim fill`
    """
    with local(context, provider, as_json=as_json) as (session, opened):
        pending = opened.cloud.filler.pending()
        opened.cloud.filler.run()
        missing = sum(pending.values())
        session.say(
            f"Filled {len(pending)} disks with {format_size(missing)}."
            if pending
            else "Nothing is to be filled."
        )
        session.result({"disks": len(pending), "filled": missing})


def _until(clock: Clock, seconds: float | None, records: int | None) -> Callable[[int], bool]:
    if records is not None:
        return lambda written: written < records
    end = clock.monotonic() + (10 if seconds is None else seconds)
    return lambda _written: clock.monotonic() < end


def _file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None


def _random(count: int, seed: int) -> Iterator[bytes]:
    generator = random.Random(seed)  # noqa: S311 - repeatable bytes, not secrets
    for start in range(0, count, _PIECE):
        yield generator.randbytes(min(_PIECE, count - start))
