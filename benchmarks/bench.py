"""``make bench``: every benchmark in one run, and at its end which targets are met and which are missed.

    python benchmarks/bench.py [--rounds 2] [--size 2G] [--s3-size 512M] [--backups 10000] [--dir FOLDER]
                               [--only PART]... [--also PROGRAM]...

Parts: start, folder, s3, tebibyte, prune, engine. Peers are measured where they are installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dataplane
import engine
import peers
import tebibyte
from disk_image import MIB
from targets import Target

from csbsctl.units import parse_size

ENGINE_SIZES = [100, 1000, 10_000]
"""A hundred thousand bindings take minutes: ``python benchmarks/engine.py`` has them."""

PRUNE_AT_MOST = 10.0
"""CPU seconds for a prune of one in ten of 10,000 backups, collection included."""


def main() -> None:
    """Run every part that is asked for, then print how all targets stand."""
    given = _arguments()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs, {platform.platform()}, Python", end=" ")
    print(f"{platform.python_version()}; load {os.getloadavg()[0]:.1f}")
    tools = [*peers.installed(given.also)]
    print("measured:", ", ".join(name for name, _ in tools))
    parts: dict[str, Callable[[], list[Target]]] = {
        "start": engine.measure_starting,
        "folder": lambda: dataplane.measure_all(
            tools, size=given.size, rounds=given.rounds, folder=given.dir, s3=False
        ),
        "s3": lambda: dataplane.measure_all(tools, size=given.s3_size, rounds=1, folder=given.dir, s3=True),
        "tebibyte": lambda: tebibyte.measure_all(given.dir),
        "prune": lambda: _prune(given.backups),
        "engine": lambda: engine.measure_all(ENGINE_SIZES, terraform_up_to=10_000, looks_up_to=10_000),
    }
    reached: list[Target] = []
    for name in given.only or parts:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        reached += parts[name]()
        print(f"== {name} took {time.monotonic() - began:.0f} s", flush=True)
    missed = [target for target in reached if not target.met]
    print(f"\n== targets: {len(reached) - len(missed)} met, {len(missed)} missed\n")
    print("\n".join(map(str, reached)))


def _prune(backups: int) -> list[Target]:
    script = Path(__file__).with_name("prune.py")
    command = [sys.executable, str(script), "--backups", str(backups)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(said, end="")
    took = float(said.split("prune of one in ten")[1].split("CPU")[0].split()[-2])
    wanted = PRUNE_AT_MOST * backups / 10_000
    return [Target(f"prune of one in ten of {backups:,} backups", took, wanted, "s of CPU", at_most=True)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=parse_size, default=2048 * MIB)
    parser.add_argument("--s3-size", type=parse_size, default=512 * MIB)
    parser.add_argument("--backups", type=int, default=10_000)
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--only", action="append")
    parser.add_argument("--also", type=Path, action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
