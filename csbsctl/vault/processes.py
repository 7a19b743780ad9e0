"""Tells processes of this machine apart for sure: a pid alone is used again and again."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_START_TIME = 19
"""Index of the start time among the fields of /proc/<pid>/stat that follow the command's name."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for all time: the boot and pid namespace it lives in, its pid, and when it started (clock ticks)."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    def same_machine(self, other: ProcessIdentity) -> bool:
        """Tell whether both processes see each other's pid: same boot, same pid namespace (containers have their own)."""
        return bool(self.boot) and (self.boot, self.namespace) == (other.boot, other.namespace)

    def running(self) -> bool:
        """Tell whether the process is there still. Only meaningful for one of the same machine."""
        return _start_time(self.pid) == self.started

    def stopped(self) -> bool:
        """Tell whether the process is there but was stopped (SIGSTOP, a debugger)."""
        fields = _status(self.pid)
        return bool(fields) and fields[0] in "Tt"


def this_process() -> ProcessIdentity:
    """Return the identity of the running process."""
    pid = os.getpid()
    return ProcessIdentity(
        host=socket.gethostname(),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        namespace=_link("/proc/self/ns/pid"),
        pid=pid,
        started=_start_time(pid) or 0,
    )


def _start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None when it is gone or only waits to be reaped."""
    fields = _status(pid)
    if len(fields) <= _START_TIME or fields[0] in "ZX":
        return None
    return int(fields[_START_TIME])


def _status(pid: int) -> list[str]:
    """Return the fields of a process's status that follow its name; the state is the first."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
