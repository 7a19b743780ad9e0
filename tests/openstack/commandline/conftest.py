"""A shop on the real cloud, worked by the command line alone: each command is a process of its own, which may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20
COMMAND = [sys.executable, "-c", "import sys; from csbsctl.cli import main; sys.exit(main())"]
PATIENCE = 900
"""Seconds for one command: no test is about how long they take."""


@dataclass
class Shop:
    """A folder with a configuration, a vault, and a server in the cloud."""

    folder: Path
    bench: Any
    settings: dict[str, Any] = field(default_factory=lambda: {"admin_cloud": "admin"})

    def configure(self, at: str = "03:33", **settings: Any) -> None:
        """Declare one policy and one binding by metadata; ``settings`` are further ones of the provider."""
        document = {
            "version": 1,
            "stack": "shop",
            "vault": "./vault",
            "providers": {
                "default": {"type": "openstack", "cloud": self.bench.project, **self.settings, **settings}
            },
            "policies": {
                "nightly": {"schedule": {"at": [at]}, "retention": {"count": 5}, "tags": {"a": "b"}}
            },
            "bindings": {"web": {"policy": "nightly", "match": {"metadata": {"tier": "web"}}}},
        }
        (self.folder / "csbs.yaml").write_text(json.dumps(document))

    def apply(self) -> datetime:
        """Apply with a slot that begins soon, and return when: surely after the commit, however slow the machine is."""
        while True:
            slot = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
            self.configure(f"{slot:%H:%M}")
            self.run("apply", "--yes")
            if datetime.now(UTC) < slot:
                return slot

    def run(
        self, *words: str, exits: int = 0, fault: str = "", environment: dict[str, str] | None = None
    ) -> str:
        """Run a command and return all that it said; its exit code must be ``exits``."""
        done = self._process(words, fault, environment, merged=True)
        assert done.returncode == exits, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def json(self, *words: str, exits: int = 0) -> Any:
        """Run a command with ``--json`` and return its document."""
        done = self._process((*words, "--json"), "", None, merged=False)
        assert done.returncode == exits, f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}"
        return json.loads(done.stdout)

    def killed(self, step: str, *words: str) -> None:
        """Run a command that kills itself at a step boundary."""
        self.run(*words, fault=f"kill:{step}", exits=-signal.SIGKILL)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; whoever does waits for its end."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*COMMAND, *words], cwd=self.folder, stdin=quiet, stdout=quiet, stderr=quiet, text=True
        )

    def until(self, instant: datetime) -> None:
        while datetime.now(UTC) < instant:
            time.sleep(0.5)

    def backups(self) -> list[Any]:
        return list(self.json("backup", "list"))

    def write(self, server_id: str, seed: int) -> list[str]:
        """Write something else into every disk, and return the digests."""
        for volume in self.bench.provider.server(server_id).volumes:
            self.bench.testbed.write(volume.id, 5 * MIB * volume.position, 4 * MIB, seed + volume.position)
        return self.digests(server_id)

    def digests(self, server_id: str) -> list[str]:
        volumes = self.bench.provider.server(server_id).volumes
        return [self.bench.testbed.digest(volume.id) for volume in volumes]

    def is_clean(self) -> None:
        """See to it that the cloud has put away what it works with itself, and that nothing else is left."""
        self.bench.until(lambda: "; ".join(self._left()), "", seconds=300)

    def _left(self) -> list[str]:
        """Return what is in the project beside whole servers, their volumes and whole backups."""
        storage, compute = self.bench.cloud.block_storage, self.bench.cloud.compute
        servers = list(compute.servers())
        attached = {volume["id"] for server in servers for volume in server.attached_volumes}
        pinned = {volume.id for volume in storage.volumes() if str(volume.name).startswith("t-golden")}
        busy = [f"server {s.name} is {s.status}" for s in servers if s.status not in ("ACTIVE", "SHUTOFF")]
        marked = [f"server {s.name} is marked as paused" for s in servers if "csbsctl:paused" in s.metadata]
        snapshots = [f"snapshot of {s.volume_id}" for s in storage.snapshots() if s.volume_id not in pinned]
        volumes = [f"volume {v.name}, {v.status}" for v in storage.volumes() if v.id not in attached | pinned]
        backups = [f"backup {b.name}, {b.status}" for b in storage.backups() if b.status != "available"]
        own = self.bench.testbed.ports()
        ports = [f"port {p.name}" for p in own if p.name.startswith("csbsctl:")]
        taken = {p.name for p in own if p.device_id}
        return busy + marked + snapshots + volumes + backups + [p for p in ports if p[5:] not in taken]

    def _process(
        self, words: tuple[str, ...], fault: str, environment: dict[str, str] | None, *, merged: bool
    ) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(environment or {})}
        if fault:
            environ["CSBSCTL_FAULT"] = fault
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture
def shop(bench: Any, tmp_path: Path) -> Shop:
    made = Shop(tmp_path, bench)
    made.configure()
    return made
