"""One process, measured: wall seconds, its own CPU seconds, its peak memory, and what others used meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall and CPU (user and system) in seconds, peak resident memory in bytes.

    ``others`` is how many CPUs everything else used meanwhile: other processes, and the kernel on behalf of all.
    """

    wall: float
    cpu: float
    memory: int
    others: float = 0.0


def measure(
    command: Sequence[str], environ: Mapping[str, str] | None = None, cwd: str | None = None
) -> Measured:
    """Run a command to its end and return what it took; exits with its output when it fails."""
    os.sync()
    busy = _busy()
    start = time.monotonic()
    with subprocess.Popen(
        command,
        env={**os.environ, **(environ or {})},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        memory = _Peak(process.pid)
        memory.start()
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, _busy() - busy - cpu) / wall
    memory.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output.decode(errors='replace')}")
    return Measured(wall, cpu, memory.bytes, others)


def _busy() -> float:
    """Return the seconds that all CPUs together have worked since the machine started."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class _Peak(threading.Thread):
    """Watches a process's high-water mark; what wait4 reports includes that of the process it was forked from."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.bytes = 0

    def run(self) -> None:
        """Look until the process has no memory any more."""
        while found := re.search(r"VmHWM:\s+(\d+) kB", self._read()):
            self.bytes = int(found[1]) * 1024
            time.sleep(0.02)

    def _read(self) -> str:
        try:
            return self._status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
