"""The data plane beside restic and borg: full, incremental, scattered, unchanged, restore, verify; on one image, interleaved.

    python benchmarks/dataplane.py [--size 2G] [--rounds 1] [--dir FOLDER] [--only csbsctl]

CPU seconds (user and system) are the figures to trust on a machine that others use too; walls are printed beside
them. Every step is a process of its own. Repositories are encrypted. What is not installed is skipped with a word.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from disk_image import MIB, DiskImage
from measured import Measured, measure

from csbsctl.units import format_size, parse_size

STEPS = ("full", "incremental", "scattered", "unchanged", "restore", "verify")
PASSWORD = "benchmark"
BORG_LABELS = {"full": "full", "incremental": "day", "scattered": "scattered", "unchanged": "same"}


class Tool:
    """A backup tool: how it does each step on an image. ``home`` is its repository."""

    def __init__(self, home: Path, image: Path) -> None:
        self.home = home
        self.image = image

    def prepare(self) -> None:
        """Make the repository; not measured."""

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """Back the image up."""
        raise NotImplementedError

    def restore(self, target: Path) -> Measured:
        """Bring the last state back into a file."""
        raise NotImplementedError

    def verify(self) -> Measured:
        """Read and check all data."""
        raise NotImplementedError

    def stored(self) -> int:
        """Return bytes of the repository."""
        return sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())


class Csbsctl(Tool):
    """The repository of the local provider; ``unchanged`` reads everything, as without a block map."""

    _last: str | None = None

    def _run(self, *words: str) -> Measured:
        script = Path(__file__).with_name("dataplane_csbsctl.py")
        return measure([sys.executable, str(script), str(self.home), *words])

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        words = ["write", step, str(self.image)]
        if self._last and step != "unchanged":
            blocks = self.home.with_name("changed.json")
            blocks.write_text(json.dumps(changed))
            words += [self._last, str(blocks)]
        self._last = step
        return self._run(*words)

    def restore(self, target: Path) -> Measured:
        """See Tool."""
        return self._run("restore", str(self._last), str(target))

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("verify", str(self._last))


class Restic(Tool):
    """restic with its defaults; ``--force`` because a disk that ran has a new mtime."""

    def _run(self, *words: str) -> Measured:
        environ = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": str(self.home.with_name("restic-cache"))}
        return measure(["restic", "-q", "-r", str(self.home), *words], environ)

    def prepare(self) -> None:
        """See Tool."""
        self._run("init")

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        return self._run("backup", "--force", "--host", "bench", str(self.image))

    def restore(self, target: Path) -> Measured:
        """See Tool."""
        return self._run("restore", "latest", "--target", str(target))

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("check", "--read-data")


class Borg(Tool):
    """borg at its best on images: fixed chunks, zstd 1, encrypted."""

    _last = ""

    def _run(self, *words: str, cwd: Path | None = None) -> Measured:
        environ = {
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.home.with_name("borg-base")),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        return measure(["borg", *words], environ, cwd=str(cwd) if cwd else None)

    def prepare(self) -> None:
        """See Tool."""
        self._run("init", "-e", "repokey-blake2", str(self.home))

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        self._last = f"{self.home}::{BORG_LABELS[step]}"
        options = [
            "--compression",
            "zstd,1",
            "--chunker-params",
            "fixed,4194304",
            "--files-cache",
            "disabled",
        ]
        return self._run("create", *options, self._last, str(self.image))

    def restore(self, target: Path) -> Measured:
        """See Tool."""
        target.mkdir(exist_ok=True)
        return self._run("extract", "--sparse", self._last, cwd=target)

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("check", "--verify-data", str(self.home))


TOOLS: dict[str, type[Tool]] = {"csbsctl": Csbsctl, "restic": Restic, "borg": Borg}
Figures = dict[tuple[str, str], list[Measured]]
Sizes = dict[tuple[str, str], int]


class Bench:
    """One run of everything, in a folder that it may fill."""

    def __init__(self, folder: Path, size: int, tools: list[str]) -> None:
        self._folder = folder
        self._image = DiskImage(folder / "disk.raw", size)
        self._tools = {name: TOOLS[name](folder / name / "repository", self._image.path) for name in tools}
        self.figures: Figures = {}
        self.sizes: Sizes = {}

    def run(self, round_number: int) -> None:
        """Take every step with every tool, the order of tools turned by the round."""
        for name, tool in self._tools.items():
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir()
            tool.prepare()
        changes: dict[str, Callable[[], None]] = {
            "full": self._image.fill,
            "incremental": self._image.live_a_day,
            "scattered": lambda: self._image.scatter(1500),
            "unchanged": lambda: None,
        }
        for step, change in changes.items():
            change()
            self._each(step, round_number, lambda tool, step=step: tool.write(step, self._image.changed))
        self._each("restore", round_number, self._restore)
        self._each("verify", round_number, lambda tool: tool.verify())

    def _each(self, step: str, round_number: int, action: Callable[[Tool], Measured]) -> None:
        names = list(self._tools)
        turn = (round_number + STEPS.index(step)) % len(names)
        for name in names[turn:] + names[:turn]:
            tool = self._tools[name]
            before = tool.stored()
            self.figures.setdefault((step, name), []).append(action(tool))
            self.sizes[step, name] = tool.stored() - before

    def _restore(self, tool: Tool) -> Measured:
        target = self._folder / "restored"
        took = tool.restore(target)
        found = target if target.is_file() else next(path for path in target.rglob("*.raw"))
        if _digest(found) != _digest(self._image.path):
            sys.exit(f"{type(tool).__name__} restored other bytes")
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return took


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _table(figures: Figures, sizes: Sizes, tools: list[str]) -> str:
    """Return the figures as text; ratios are restic's CPU seconds by those of the row."""
    lines = [
        f"{'step':<12}{'tool':<9}{'wall s':>8}{'CPU s':>8}{'memory':>10}{'stored':>10}{'x restic':>10}{'x borg':>8}"
    ]
    for step in STEPS:
        for name in tools:
            runs = figures[step, name]
            cpu = statistics.median(run.cpu for run in runs)
            ratios = "".join(
                f"{statistics.median(run.cpu for run in figures[step, other]) / cpu:>{width}.1f}"
                if other in tools
                else " " * (width - 1) + "-"
                for other, width in (("restic", 10), ("borg", 8))
            )
            stored = format_size(sizes[step, name]) if step in BORG_LABELS else ""
            memory = format_size(max(run.memory for run in runs))
            wall = statistics.median(run.wall for run in runs)
            lines.append(f"{step:<12}{name:<9}{wall:>8.2f}{cpu:>8.2f}{memory:>10}{stored:>10}{ratios}")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run the rounds, print the table, and clean up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--size", type=parse_size, default=2 * 1024 * MIB, help="size of the disk, such as 256M or 2G"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often; medians are printed")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (default: a temporary one)")
    parser.add_argument(
        "--only", action="append", choices=sorted(TOOLS), help="measure only this tool; repeatable"
    )
    options = parser.parse_args()
    tools = []
    for name in options.only or TOOLS:
        if name == "csbsctl" or shutil.which(name):
            tools.append(name)
        else:
            print(f"{name} is not installed: skipped")
    with tempfile.TemporaryDirectory(prefix="csbsctl-bench-", dir=options.dir) as folder:
        bench = Bench(Path(folder), options.size, tools)
        for number in range(options.rounds):
            bench.run(number)
    print(f"a disk of {format_size(options.size)}, {os.cpu_count()} CPUs, {options.rounds} round(s)")
    print(_table(bench.figures, bench.sizes, tools))


if __name__ == "__main__":
    main()
