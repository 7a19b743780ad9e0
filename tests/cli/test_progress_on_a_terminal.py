"""Bars on a real (pseudo) terminal, and the lines that are printed while they are there."""

from __future__ import annotations

import os
import pty
from contextlib import suppress
from datetime import UTC, datetime

from csbsctl.cli.output import Output
from csbsctl.cli.progress import ProgressReporter
from csbsctl.protection.events import JobFinished, JobProgress


def test_a_line_stands_alone_though_a_bar_is_there(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    about = {
        "at": datetime(2027, 5, 1, tzinfo=UTC),
        "provider": "default",
        "server_id": "w",
        "server": "web",
        "backup": "autobk_0001",
        "job": "j",
        "kind": "backup",
    }
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        out = Output(color=False)
        out.stream = terminal
        with ProgressReporter(out) as reporter:
            reporter.report(JobProgress(**about, step="disk-0", done=5, total=10))
            shown = b""
            while b"disk-0" not in shown:
                shown += os.read(master, 4096)
            reporter.report(JobFinished(**about, size=10, stored=10))
    with suppress(OSError):  # what Linux says at the end
        while more := os.read(master, 4096):
            shown += more
    os.close(master)
    (line,) = (line for line in shown.decode().splitlines() if "backed up" in line)
    assert line.rpartition("\x1b[2K")[2] == "web: backed up as autobk_0001 (10 B, 10 B stored)"
