"""Where a repository may be: a folder, or a prefix of a bucket on a real S3 server on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RADOSGW = Path(__file__).parents[1] / "tests" / "s3" / "radosgw.sh"
KEYS = {"AWS_ACCESS_KEY_ID": "csbsctl", "AWS_SECRET_ACCESS_KEY": "csbsctl-secret", "AWS_REGION": "us-east-1"}
BUCKET = "bench"


class Place(Protocol):
    """Where one tool keeps its repository."""

    @property
    def url(self) -> str:
        """The repository, as restic and csbsctl write it."""
        ...

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs in its environment to get there."""
        ...

    def stored(self) -> int:
        """Return the bytes that are there."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on the disk that is measured."""

    path: Path

    @property
    def url(self) -> str:
        """See Place."""
        return str(self.path)

    @property
    def environ(self) -> Mapping[str, str]:
        """See Place."""
        return {}

    def stored(self) -> int:
        """See Place."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix in the bucket of an S3 server."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        """See Place."""
        return f"s3:{self.endpoint}/{BUCKET}/{self.name}"

    @property
    def environ(self) -> Mapping[str, str]:
        """See Place."""
        return KEYS

    def stored(self) -> int:
        """See Place."""
        pages = _client(self.endpoint).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=BUCKET, Prefix=self.name + "/")
        return sum(entry["Size"] for page in found for entry in page.get("Contents", []))


@contextmanager
def s3_server() -> Iterator[str | None]:
    """Yield the endpoint of a radosgw with an empty bucket, and stop it in the end; None where there can be none."""
    environ = {**os.environ, "CEPH_MON_PORT": "13700", "RGW_PORT": "17880"}
    folder = Path(tempfile.mkdtemp(prefix="csbsctl-bench-s3-"))
    started = subprocess.run(
        ["sh", str(RADOSGW), "start", str(folder)],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        if started.returncode:
            yield None
            return
        endpoint = started.stdout.strip()
        _client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        subprocess.run(["sh", str(RADOSGW), "stop", str(folder)], env=environ, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _client(endpoint: str):  # noqa: ANN202 - boto3 makes its classes when it runs
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_REGION"],
    )
