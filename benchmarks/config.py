"""How long loading a configuration takes, and how much memory: `python benchmarks/config.py [BINDINGS]...`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from csbsctl.config import load
from csbsctl.errors import ConfigError

HEAD = """\
version: 1
vault: ./vault
providers: {default: {type: local}}
variables: {keep: {type: integer, default: 30}}
policies:
  gold:
    schedule: {at: ["02:00", "14:00"], timezone: Europe/Berlin}
    retention: {count: %s}
bindings:
"""
BINDING = "  b{0:06}:\n    policy: {1}\n    provider: default\n    servers: [web-{0:06}]\n"


def configuration(count: int, *, templated: bool = False, broken: bool = False) -> str:
    """Return a configuration with so many bindings; ``broken`` misspells the policy of every hundredth."""
    bindings = (BINDING.format(n, "gould" if broken and n % 100 == 0 else "gold") for n in range(count))
    return HEAD % ('"{{ var.keep }}"' if templated else "30") + "".join(bindings)


def measure(label: str, text: str) -> None:
    """Print the best of three loadings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "csbs.yaml").write_text(text, encoding="utf-8")
        best, found = float("inf"), 0
        for _ in range(3):
            start = time.perf_counter()
            try:
                load(folder, environ={})
            except ConfigError as error:
                found = len(error.diagnostics)
            best = min(best, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{label:32} {best:8.3f} s   peak {peak:6.0f} MiB   {found} diagnostics")


def main() -> None:
    """Measure each size given, 100 to 10,000 bindings otherwise."""
    for count in [int(word) for word in sys.argv[1:]] or [100, 1000, 10_000]:
        measure(f"{count} bindings", configuration(count))
        measure(f"{count} bindings, expressions", configuration(count, templated=True))
        measure(f"{count} bindings, 1 % wrong", configuration(count, broken=True))


if __name__ == "__main__":
    main()
