"""A sparse disk of 1 TiB: memory must not grow with the disk. ``python benchmarks/tebibyte.py``.

Half a gibibyte lies on it in 8,192 spots, one for each 128 MiB; a full backup, an increment of 100 changed spots, and a
restore of it, each a process of its own.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

from measured import Measured, measure
from targets import Target

from csbsctl.units import format_size

SIZE = 1 << 40
SPOTS = 8192
SPOT = 64 * 1024
MOST = 128
"""MiB of memory that no step may exceed."""


def measure_all(folder: Path | None = None) -> list[Target]:
    """Take the three steps, print what each took, and return how memory stands."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="csbsctl-bench-", dir=folder) as name:
        base = Path(name)
        disk, restored, changed = base / "disk.raw", base / "restored.raw", base / "changed.json"

        def csbsctl(*words: str) -> Measured:
            script = Path(__file__).with_name("dataplane_csbsctl.py")
            return measure(
                [sys.executable, str(script), str(base / "repository"), str(base / "cache"), *words]
            )

        with disk.open("wb") as file:
            file.truncate(SIZE)
            for number in range(SPOTS):
                file.seek(number * (SIZE // SPOTS))
                file.write(chance.randbytes(SPOT))
        taken = {"full": csbsctl("write", "full", str(disk))}
        spots = [number * (SIZE // SPOTS) for number in chance.sample(range(SPOTS), 100)]
        with disk.open("r+b") as file:
            for spot in spots:
                file.seek(spot)
                file.write(chance.randbytes(SPOT))
        changed.write_text(json.dumps([(spot, SPOT) for spot in spots]))
        taken["increment"] = csbsctl("write", "day", str(disk), "full", str(changed))
        taken["restore"] = csbsctl("restore", "day", str(restored))
        with disk.open("rb") as one, restored.open("rb") as other:
            for number in range(SPOTS):
                for file in (one, other):
                    file.seek(number * (SIZE // SPOTS))
                if one.read(SPOT) != other.read(SPOT):
                    sys.exit("csbsctl restored other bytes")
    print(f"\na sparse disk of {format_size(SIZE)} with {format_size(SPOTS * SPOT)} on it")
    for step, each in taken.items():
        print(
            f"{step:<12}{each.wall:>8.2f} s{each.cpu:>8.2f} s CPU{format_size(each.memory):>11}{each.others:>8.2f} others"
        )
    most = max(each.memory for each in taken.values()) / 2**20
    return [Target("peak memory for a sparse disk of 1 TiB", most, MOST, "MiB", at_most=True)]


if __name__ == "__main__":
    for line in measure_all():
        print(line)
