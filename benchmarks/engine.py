"""How long plan, apply and drift take at 100 to 100,000 bindings and servers, beside Terraform on as many objects.

    python benchmarks/engine.py [--sizes 100 1000 10000] [--terraform-up-to 10000]

Each figure is a process of its own, from start to end: interpreter, imports, YAML, the local cloud's inventory, the
vault, the answer. Terraform plans and applies N ``terraform_data`` with their names, the cheapest resource it has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from measured import Measured, measure

CSBSCTL = (sys.executable, "-c", "import sys; from csbsctl.cli import main; sys.exit(main())")
POLICIES = 10
TERRAFORM_APPLIES = 1000
"""Up to this size Terraform applies; beyond, its time grows with the square and its state is written for it."""

CHANGED = 100
"""Every how manieth binding differs in the plan with changes."""


def main() -> None:
    """Measure every size and print a table as it fills."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--terraform-up-to", type=int, default=10_000)
    given = parser.parse_args()
    print(f"{'N':>7}  {'what':<28}{'wall s':>9}{'cpu s':>9}{'peak MiB':>10}")
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            ours = measure_csbsctl(Path(folder), size)
        theirs: Measured | None = None
        if shutil.which("terraform") and size <= given.terraform_up_to:
            with tempfile.TemporaryDirectory() as folder:
                theirs = measure_terraform(Path(folder), size)
        if theirs:
            print(
                f"{size:>7}  plan, nothing to do: {theirs.wall / ours.wall:.0f} times as fast as Terraform, "
                f"1/{theirs.memory / ours.memory:.1f} of its memory"
            )


def measure_csbsctl(folder: Path, size: int) -> Measured:
    """Print what csbsctl takes for everything, and return the plan that finds nothing to do."""
    servers = "\n".join(json.dumps({"name": f"server-{n:06}", "disks": ["1G"]}) for n in range(size))
    (folder / "servers.jsonl").write_text(servers + "\n")
    write_configuration(folder, size)
    run("sim server load", size, folder, "sim", "server", "load", "servers.jsonl")
    run("plan, everything to do", size, folder, "plan")
    run("apply, everything", size, folder, "apply", "--yes")
    nothing = run("plan, nothing to do", size, folder, "plan")
    run("drift, none", size, folder, "drift")
    write_configuration(folder, size, changed=CHANGED)
    run("plan, 1 % to do", size, folder, "plan")
    run("apply, 1 %", size, folder, "apply", "--yes")
    return nothing


def write_configuration(folder: Path, size: int, *, changed: int = 0) -> None:
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
        f'  p{n}: {{schedule: {{at: ["{n:02}:00"]}}, retention: {{count: 30}}}}' for n in range(POLICIES)
    ]
    lines.append("bindings:")
    for n in range(size):
        policy = (n + 1 if changed and n % changed == 0 else n) % POLICIES
        lines += [f"  b{n:06}:", f"    policy: p{policy}", f"    servers: [server-{n:06}]"]
    (folder / "csbs.yaml").write_text("\n".join(lines) + "\n")


def run(what: str, size: int, folder: Path, *words: str) -> Measured:
    """Run a command, print its row and return it."""
    return row(what, size, measure([*CSBSCTL, "-C", str(folder), *words], cwd=str(folder)))


def measure_terraform(folder: Path, size: int) -> Measured:
    """Print what Terraform takes, and return the plan that finds nothing to do."""
    objects = (
        f'resource "terraform_data" "b{n:06}" {{\n  input = "server-{n:06}"\n}}\n' for n in range(size)
    )
    (folder / "main.tf").write_text("".join(objects))
    environ = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    chdir = f"-chdir={folder}"
    measure(["terraform", chdir, "init", "-input=false", "-no-color"], environ)
    if size <= TERRAFORM_APPLIES:
        apply = ["terraform", chdir, "apply", "-auto-approve", "-input=false", "-no-color"]
        row("terraform apply, everything", size, measure(apply, environ))
    else:
        write_state(folder, size)
    plan = ["terraform", chdir, "plan", "-input=false", "-no-color"]
    return row("terraform plan, nothing to do", size, measure(plan, environ))


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


def row(what: str, size: int, taken: Measured) -> Measured:
    """Print one figure and return it."""
    print(
        f"{size:>7}  {what:<30}{taken.wall:>7.2f}{taken.cpu:>9.2f}{taken.memory / 2**20:>10.0f}", flush=True
    )
    return taken


if __name__ == "__main__":
    main()
