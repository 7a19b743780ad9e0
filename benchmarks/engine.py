"""How long plan, apply, drift and their like take at 100 to 100,000 bindings and servers, beside Terraform on as many.

    python benchmarks/engine.py [--sizes 100 1000 10000 100000] [--terraform-up-to 10000]

Each figure is a process of its own, from start to end: interpreter, imports, YAML, the local cloud's inventory, the
vault, the answer. Terraform plans and applies N ``terraform_data`` with their names, the cheapest resource it has. What
is compared is measured in turns, and the best of the turns counts: on a busy machine all of them take longer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measured import Measured, measure
from targets import Target

CSBSCTL = (sys.executable, "-c", "import sys; from csbsctl.cli import main; sys.exit(main())")
POLICIES = 10
TERRAFORM_APPLIES = 1000
"""Up to this size Terraform applies; beyond, its time grows with the square and its state is written for it."""

CHANGED = 100
"""Every how manieth binding differs in the plan with changes."""

TURNS = 3
"""How often what is compared with Terraform, and how often starting, is measured."""

NOTHING = "plan, nothing to do"
APPLY = "apply, everything"
DRIFT = "drift, none"
TERRAFORM_NOTHING = "terraform plan, nothing to do"
TYPER = "python -c 'import typer'"
SMALL_PLAN = "plan of ten local bindings"

LOOKS = {
    "run --dry-run": ("run", "--dry-run"),
    "status": ("status",),
    "server list": ("server", "list"),
    "backup list": ("backup", "list"),
}


@dataclass
class Table:
    """Everything measured: what, at how many bindings."""

    taken: dict[tuple[str, int], Measured] = field(default_factory=dict)

    def add(self, what: str, size: int, taken: Measured) -> None:
        """Keep a figure, the better one of several, and say so."""
        known = self.taken.get((what, size))
        best = taken if known is None else Measured(*map(min, _figures(taken), _figures(known)))
        self.taken[what, size] = best
        print(
            f"  {size:>7,}  {what:<32}{taken.wall:>7.2f} s{taken.cpu:>8.2f} s{_mib(taken):>6} MiB", flush=True
        )

    def lines(self, sizes: list[int]) -> Iterator[str]:
        """Yield the whole as a table: wall seconds, CPU seconds and peak MiB for each size."""
        yield f"{'wall s / CPU s / peak MiB':<32}" + "".join(f"{size:>21,}" for size in sizes)
        for what in dict.fromkeys(what for what, _ in self.taken):
            cells = (self.taken.get((what, size)) for size in sizes)
            yield f"{what:<32}" + "".join(f"{_cell(cell):>21}" for cell in cells)

    def verdicts(self, sizes: list[int]) -> Iterator[str]:
        """Yield how CPU time grows with the number of bindings."""
        for less, more in itertools.pairwise(sizes):
            growth = [
                f"{what} x {self.taken[what, more].cpu / self.taken[what, less].cpu:.1f}"
                for what in (NOTHING, APPLY, DRIFT, *LOOKS)
                if (what, more) in self.taken
            ]
            yield f"CPU from {less:,} to {more:,}, x {more / less:.0f} (wanted: no more): {', '.join(growth)}"

    def targets(self) -> Iterator[Target]:
        """Yield how the largest plan that Terraform made, too, stands beside it, and how long its apply took."""
        sizes = [size for what, size in self.taken if what == TERRAFORM_NOTHING]
        if sizes:
            theirs, ours = self.taken[TERRAFORM_NOTHING, sizes[-1]], self.taken[NOTHING, sizes[-1]]
            what = f"plan of {sizes[-1]:,} bindings against Terraform"
            yield Target(what, theirs.wall / ours.wall, 20, "x as fast")
            yield Target(what, theirs.memory / ours.memory, 8, "x less memory")
        if taken := self.taken.get((APPLY, 10_000)):
            yield Target("apply of 10,000 bindings", taken.wall, 3.0, "s", at_most=True)


def main() -> None:
    """Measure every size, then print one table and what it comes to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--terraform-up-to", type=int, default=10_000)
    parser.add_argument("--looks-up-to", type=int, default=10_000, help="where status and lists are left out")
    given = parser.parse_args()
    reached = measure_all(given.sizes, terraform_up_to=given.terraform_up_to, looks_up_to=given.looks_up_to)
    for target in [*reached, *measure_starting()]:
        print(target)


def measure_all(sizes: list[int], *, terraform_up_to: int, looks_up_to: int) -> list[Target]:
    """Measure every size, print one table and what it comes to, and return how the targets stand."""
    table = Table()
    for size in sizes:
        terraform = shutil.which("terraform") is not None and size <= terraform_up_to
        with tempfile.TemporaryDirectory() as folder:
            looks = LOOKS if size <= looks_up_to else {}
            measure_size(table, Path(folder), size, looks, terraform=terraform)
    print()
    print("\n".join([*table.lines(sizes), "", *table.verdicts(sizes)]))
    return list(table.targets())


def measure_size(
    table: Table, folder: Path, size: int, looks: Mapping[str, Sequence[str]], *, terraform: bool
) -> None:
    """Measure everything at one size."""

    def run(what: str, *words: str) -> None:
        table.add(what, size, measure([*CSBSCTL, "-C", str(folder), *words], cwd=str(folder)))

    write_servers(folder, size)
    write_configuration(folder, size)
    run("sim server load", "sim", "server", "load", "servers.jsonl")
    run("plan, everything to do", "plan")
    run(APPLY, "apply", "--yes")
    theirs = terraform_plan(table, folder / "terraform", size) if terraform else None
    for _ in range(TURNS if theirs else 1):
        run(NOTHING, "plan")
        if theirs:
            table.add(TERRAFORM_NOTHING, size, measure(*theirs))
    run(DRIFT, "drift")
    for what, words in looks.items():
        run(what, *words)
    write_configuration(folder, size, changed=CHANGED)
    run("plan, 1 % to do", "plan")
    run("apply, 1 %", "apply", "--yes")


def measure_starting() -> list[Target]:
    """Measure what needs no configuration beside the import that all of it begins with, and a plan of ten bindings."""
    commands = {TYPER: [sys.executable, "-c", "import typer"]}
    commands |= {f"csbsctl {word}": [*CSBSCTL, word] for word in ("--version", "--help")}
    taken: dict[str, list[Measured]] = {what: [] for what in [*commands, SMALL_PLAN]}
    with tempfile.TemporaryDirectory() as name:
        write_servers(Path(name), 10)
        write_configuration(Path(name), 10)
        measure([*CSBSCTL, "-C", name, "sim", "server", "load", "servers.jsonl"], cwd=name)
        for _ in range(TURNS * 3):
            for what, command in commands.items():
                taken[what].append(measure(command))
            taken[SMALL_PLAN].append(measure([*CSBSCTL, "-C", name, "plan"], cwd=name))
    best = {what: (min(e.wall for e in each), min(e.cpu for e in each)) for what, each in taken.items()}
    for what, (wall, cpu) in best.items():
        print(f"{what:<32}{wall * 1000:>8.0f} ms{cpu * 1000:>8.0f} ms CPU")
    words = (f"csbsctl {word}" for word in ("--version", "--help"))
    reached = [
        Target(f"{word} by CPU", best[word][1] / best[TYPER][1], 1.5, "of importing typer", at_most=True)
        for word in words
    ]
    return [*reached, Target(SMALL_PLAN, best[SMALL_PLAN][0], 0.4, "s", at_most=True)]


def write_servers(folder: Path, size: int) -> None:
    """Write what the simulated cloud is to be filled with."""
    servers = "\n".join(json.dumps({"name": f"server-{n:06}", "disks": ["1G"]}) for n in range(size))
    (folder / "servers.jsonl").write_text(servers + "\n")


def write_configuration(folder: Path, size: int, *, changed: int = 0, keep: int = 30) -> None:
    """Write a configuration of ``size`` bindings of one server each, every ``changed``-th under another policy."""
    lines = [
        "version: 1",
        "stack: bench",
        "vault: ./vault",
        "providers:",
        "  default: {type: local, path: ./cloud}",
    ]
    lines.append("policies:")
    lines += [
        f'  p{n}: {{schedule: {{at: ["{n:02}:00"]}}, retention: {{count: {keep}}}}}' for n in range(POLICIES)
    ]
    lines.append("bindings:")
    for n in range(size):
        policy = (n + 1 if changed and n % changed == 0 else n) % POLICIES
        lines += [f"  b{n:06}:", f"    policy: p{policy}", f"    servers: [server-{n:06}]"]
    (folder / "csbs.yaml").write_text("\n".join(lines) + "\n")


def terraform_plan(table: Table, folder: Path, size: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of a Terraform plan that finds nothing to do."""
    folder.mkdir()
    objects = (
        f'resource "terraform_data" "b{n:06}" {{\n  input = "server-{n:06}"\n}}\n' for n in range(size)
    )
    (folder / "main.tf").write_text("".join(objects))
    environ = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    chdir = f"-chdir={folder}"
    measure(["terraform", chdir, "init", "-input=false", "-no-color"], environ)
    if size <= TERRAFORM_APPLIES:
        apply = ["terraform", chdir, "apply", "-auto-approve", "-input=false", "-no-color"]
        table.add("terraform apply, everything", size, measure(apply, environ))
    else:
        write_state(folder, size)
    return ["terraform", chdir, "plan", "-input=false", "-no-color"], environ


def write_state(folder: Path, size: int) -> None:
    """Write the state that applying would leave; Terraform itself writes it anew after every resource."""
    resources = [
        {
            "mode": "managed",
            "type": "terraform_data",
            "name": f"b{n:06}",
            "provider": 'provider["terraform.io/builtin/terraform"]',
            "instances": [{"schema_version": 0, "attributes": _attributes(n), "sensitive_attributes": []}],
        }
        for n in range(size)
    ]
    state = {"version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "benchmark", "outputs": {}}
    (folder / "terraform.tfstate").write_text(json.dumps({**state, "resources": resources}))


def _attributes(n: int) -> dict[str, object]:
    value = {"value": f"server-{n:06}", "type": "string"}
    return {"id": f"id-{n:06}", "input": value, "output": value, "triggers_replace": None}


def _figures(taken: Measured) -> tuple[float, float, int]:
    return taken.wall, taken.cpu, taken.memory


def _mib(taken: Measured) -> str:
    return f"{taken.memory / 2**20:.0f}"


def _cell(taken: Measured | None) -> str:
    return f"{taken.wall:.2f} / {taken.cpu:.2f} / {_mib(taken)}" if taken else "-"


if __name__ == "__main__":
    main()
