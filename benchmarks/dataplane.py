"""The data plane beside restic, borg and kopia: six steps on one image, interleaved, on a folder or on a real S3 server.

    python benchmarks/dataplane.py [--s3] [--size 2G] [--rounds 2] [--dir FOLDER] [--also PROGRAM]... [--only NAME]...

CPU seconds (user and system) are the figures to trust on a machine that others use too; walls are printed beside
them, with the CPUs that others used meanwhile. The best of the rounds counts. Every step is a process of its own; the
image is in memory, the disk is synced before each. Repositories are encrypted. ``--also`` names a further program,
such as another version of restic.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from disk_image import MIB, DiskImage
from measured import Measured
from peers import Borg, Kopia, Restic, Tool, folder_of, installed
from places import Place, Prefix, s3_server
from targets import Target

from csbsctl.units import format_size, parse_size

STEPS = ("full", "incremental", "scattered", "unchanged", "restore", "verify")
WRITES = STEPS[:4]
SYNCED = ", synced"
WANTED = {"full": 3.0, "incremental": 6.0, "restore": 2.0, "verify": 2.0}
"""How many times restic's speed by wall is wanted on a folder. On S3 it is to be restic's speed at least."""

STORED = {"full": 1.08, "incremental": 1.0}
"""How many of restic's stored bytes are accepted."""

Figures = dict[tuple[str, str], list[Measured]]
Sizes = dict[tuple[str, str], int]
Found = tuple[str, type[Tool]]


class Bench:
    """One run of everything, in a folder that it may fill; repositories are there or on an S3 server."""

    def __init__(self, folder: Path, size: int, tools: list[Found], endpoint: str | None) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._image = DiskImage(folder / "disk.raw", size)
        self._makers = dict(tools)
        self._tools: dict[str, Tool] = {}
        self.figures: Figures = {}
        self.sizes: Sizes = {}

    def run(self, round_number: int) -> None:
        """Take every step with every tool, the order of tools turned by the round."""
        self._tools = {}
        for number, (name, maker) in enumerate(self._makers.items()):
            home = self._folder / f"tool-{number}"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            place: Place = folder_of(home)
            if self._endpoint:
                place = Prefix(self._endpoint, f"{round_number}-{number}")
            self._tools[name] = maker(home, place, self._image.path)
            self._tools[name].prepare()
        changes: dict[str, Callable[[], None]] = {
            "full": self._image.fill,
            "incremental": self._image.live_a_day,
            "scattered": lambda: self._image.scatter(1500),
            "unchanged": lambda: None,
        }
        for step, change in changes.items():
            change()
            self._each(step, round_number, lambda tool, step=step: tool.write(step, self._image.changed))
        self._each("restore", round_number, lambda tool: self._checked(tool, tool.restore))
        for name, tool in self._tools.items():
            if isinstance(tool, Restic):
                took = self._checked(tool, tool.restore_durably)
                self.figures.setdefault(("restore", name + SYNCED), []).append(took)
        self._each("verify", round_number, lambda tool: tool.verify())

    def _each(self, step: str, round_number: int, action: Callable[[Tool], Measured]) -> None:
        names = list(self._tools)
        turn = (round_number + STEPS.index(step)) % len(names)
        for name in names[turn:] + names[:turn]:
            tool = self._tools[name]
            before = tool.place.stored()
            took = action(tool)
            self.figures.setdefault((step, name), []).append(took)
            self.sizes[step, name] = tool.place.stored() - before
            print(f"  {step:<12}{name:<24}{took.wall:>7.2f} s{took.cpu:>8.2f} s CPU", flush=True)

    def _checked(self, tool: Tool, restore: Callable[[Path], Measured]) -> Measured:
        target = self._folder / "restored"
        took = restore(target)
        found = target if target.is_file() else next(path for path in target.rglob("*.raw"))
        if _digest(found) != _digest(self._image.path):
            sys.exit(f"{type(tool).__name__} restored other bytes")
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return took


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _best(runs: list[Measured]) -> Measured:
    """Return the least wall, CPU and load of several runs, and the most memory."""
    return Measured(
        min(run.wall for run in runs),
        min(run.cpu for run in runs),
        max(run.memory for run in runs),
        min(run.others for run in runs),
    )


def table(figures: Figures, sizes: Sizes) -> str:
    """Return the figures as text; a ratio is the peer's figure by csbsctl's, walls and CPU seconds."""
    lines = [
        (
            f"{'step':<12}{'tool':<24}{'wall s':>8}{'CPU s':>8}{'others':>8}{'memory':>11}{'stored':>11}"
            f"{'csbsctl is faster by: wall, CPU':>34}"
        )
    ]
    for step in STEPS:
        ours = _best(figures[step, "csbsctl"])
        for (each, name), runs in figures.items():
            if each != step:
                continue
            best = _best(runs)
            stored = format_size(sizes[step, name]) if step in WRITES else ""
            memory = "" if name.endswith(SYNCED) else format_size(best.memory)  # a shell's, there
            ratios = (
                "" if name == "csbsctl" else f"{best.wall / ours.wall:.2f} x, {best.cpu / ours.cpu:.2f} x"
            )
            lines.append(
                f"{step:<12}{name:<24}{best.wall:>8.2f}{best.cpu:>8.2f}{best.others:>8.2f}"
                f"{memory:>11}{stored:>11}{ratios:>34}"
            )
    return "\n".join(lines)


def targets(figures: Figures, sizes: Sizes, *, s3: bool) -> Iterator[Target]:
    """Yield how csbsctl stands beside every restic that was measured, against what is wanted."""
    where = "S3, " if s3 else ""
    for peer in dict.fromkeys(name for _, name in figures if name.startswith("restic") and "," not in name):
        for step in STEPS:
            wanted = 1.0 if s3 else WANTED.get(step)
            if wanted is None:
                continue
            theirs, ours = _best(figures[step, peer]), _best(figures[step, "csbsctl"])
            by_cpu = f" ({theirs.cpu / ours.cpu:.1f} x by CPU)"
            what = f"{where}{step} against {peer}{by_cpu}"
            yield Target(what, theirs.wall / ours.wall, wanted, "x as fast")
        for step, most in STORED.items():
            found = sizes[step, "csbsctl"] / sizes[step, peer]
            yield Target(f"{where}stored by {step} against {peer}", found, most, "x the bytes", at_most=True)
        peaks = [max(_best(figures[step, name]).memory for step in STEPS) for name in ("csbsctl", peer)]
        yield Target(f"{where}peak memory against {peer}", peaks[0] / peaks[1], 1.0, "x", at_most=True)


def measure_all(tools: list[Found], *, size: int, rounds: int, folder: Path | None, s3: bool) -> list[Target]:
    """Run the rounds on a folder or on S3, print the table, and return how the targets stand."""
    tools = [found for found in tools if not (s3 and issubclass(found[1], (Borg, Kopia)))]
    with tempfile.TemporaryDirectory(prefix="csbsctl-bench-", dir=folder) as name:
        if not s3:
            bench = _rounds(Path(name), size, tools, rounds, None)
        else:
            with s3_server() as endpoint:
                if endpoint is None:
                    print("no radosgw: its packages are not there and cannot be installed; S3 is left out")
                    return []
                bench = _rounds(Path(name), size, tools, rounds, endpoint)
    where = "S3: radosgw on loopback, on the same CPUs" if s3 else "a folder"
    print(f"\na disk of {format_size(size)} into {where}; {os.cpu_count()} CPUs, best of {rounds} round(s)")
    print(table(bench.figures, bench.sizes))
    return list(targets(bench.figures, bench.sizes, s3=s3))


def _rounds(folder: Path, size: int, tools: list[Found], rounds: int, endpoint: str | None) -> Bench:
    bench = Bench(folder, size, tools, endpoint)
    for number in range(rounds):
        bench.run(number)
    return bench


def main() -> None:
    """Parse the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--s3", action="store_true", help="into a radosgw that is started for it")
    parser.add_argument("--size", type=parse_size, default=2048 * MIB, help="size of the disk, such as 256M")
    parser.add_argument("--rounds", type=int, default=2, help="how often; the best counts")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (default: a temporary one)")
    parser.add_argument(
        "--also", type=Path, action="append", default=[], help="a further program; repeatable"
    )
    parser.add_argument("--only", action="append", help="measure only tools of this name; repeatable")
    given = parser.parse_args()
    tools = [each for each in installed(given.also) if not given.only or each[0].split()[0] in given.only]
    for target in measure_all(tools, size=given.size, rounds=given.rounds, folder=given.dir, s3=given.s3):
        print(target)


if __name__ == "__main__":
    main()
