"""A simulated cloud in a folder, and processes that use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csbsctl.clock import SystemClock
from csbsctl.model.server import Server
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.machines import Wanted

MiB = 1024 * 1024

WORKLOAD = """
import sys
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl_local.cloud import Cloud
from csbsctl_local.cloud.workload import run
cloud = Cloud(Path(sys.argv[1]), SystemClock())
with cloud.disks(cloud.inventory.find(sys.argv[2])) as disks:
    print("ready", flush=True)
    run(disks, more=lambda written: True)
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    opened = Cloud(tmp_path / "cloud", SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def server(cloud: Cloud) -> Server:
    """Return a running server with disks of 2, 2 and 1 MiB."""
    return make(cloud, "guest", 2 * MiB, 2 * MiB, MiB)


def make(cloud: Cloud, name: str, *sizes: int) -> Server:
    return cloud.inventory.server(cloud.machines.create(Wanted(name, sizes)))


@pytest.fixture(name="make")
def make_server(cloud: Cloud) -> Callable[..., Server]:
    return lambda name, *sizes: make(cloud, name, *sizes)


@pytest.fixture
def freeze(cloud: Cloud) -> Callable[..., str]:
    """Return a function that takes a snapshot and returns its id."""
    count = iter(range(1_000_000))

    def take(server: Server, claim: str | None = None) -> str:
        now = SystemClock().now()
        return cloud.snapshots.take(server.id, dict, claim or f"claim {next(count)}", {}, now).id

    return take


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python programs of our own, and end them with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def workload(
    cloud: Cloud, spawn: Callable[..., subprocess.Popen[str]]
) -> Callable[[Server], subprocess.Popen[str]]:
    """Start a workload in a process of its own; return when it is about to write."""

    def start(server: Server, where: Cloud = cloud) -> subprocess.Popen[str]:
        process = spawn(WORKLOAD, str(where.layout.folder), server.id)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    return start
