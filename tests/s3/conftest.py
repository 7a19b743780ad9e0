"""Real S3 servers, started when ``make test-s3`` asks for them: Ceph's radosgw, which is atomic, and Swift, which is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STATE = HERE.parents[1] / ".testbed" / "s3"
CANNOT = 77
"""The exit code with which a script says that this machine lacks something."""


@dataclass(frozen=True)
class Server:
    """A running S3 server."""

    name: str
    endpoint: str
    environ: dict[str, str]
    atomic: bool


KINDS = {
    "radosgw": ([], {"AWS_ACCESS_KEY_ID": "csbsctl", "AWS_SECRET_ACCESS_KEY": "csbsctl-secret"}, True),
    "swift": (
        [str(STATE / "venv")],
        {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"},
        False,
    ),
}


@pytest.fixture(scope="session", params=sorted(KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Return a real S3 server with a bucket ``vault``."""
    if not os.environ.get("CSBSCTL_REAL_S3"):
        pytest.skip("real S3 servers are started by make test-s3")
    more, environ, atomic = KINDS[request.param]
    script, state = HERE / f"{request.param}.sh", str(STATE / request.param)
    STATE.mkdir(parents=True, exist_ok=True)
    started = subprocess.run([script, "start", state, *more], capture_output=True, text=True, check=False)
    if started.returncode == CANNOT:
        pytest.skip(started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr
    try:
        endpoint = started.stdout.strip().splitlines()[-1]
        made = (
            f"import boto3; boto3.client('s3', endpoint_url='{endpoint}', region_name='us-east-1')"
            ".create_bucket(Bucket='vault')"
        )
        subprocess.run(["python", "-c", made], env={**os.environ, **environ, "PATH": _path()}, check=True)
        yield Server(request.param, endpoint, environ, atomic)
    finally:
        subprocess.run([script, "stop", state], check=False)


def _path() -> str:
    import sys

    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
