"""The stores that the contract is held against; each test gets an empty one."""

from __future__ import annotations

import os

import pytest

from csbsctl.clock import SystemClock
from csbsctl.ids import new_id
from csbsctl.vault.coordination import SINGLE_WRITER, coordinated
from csbsctl.vault.probe import probe
from csbsctl.vault.stores import DirectoryStore, StoreOptions, open_store
from csbsctl.vault.stores.faulty import Faults, FaultyStore
from csbsctl.vault.stores.memory import MemoryStore
from csbsctl.vault.stores.retrying import RetryingStore

KEYS = ["a-b/1", "a.b", "a/1", "a/2", "a/b/3", "a0", "b"]


@pytest.fixture(scope="session")
def s3_endpoint(small_s3, serve_s3):
    """A small S3 server in this process, with made-up credentials."""
    kept = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    with serve_s3(small_s3) as endpoint:
        yield endpoint
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def real_s3_endpoint():
    """A real S3 server that somebody started: its endpoint is in CSBSCTL_TEST_S3, the keys where boto3 looks."""
    endpoint = os.environ.get("CSBSCTL_TEST_S3")
    if not endpoint:
        pytest.skip(
            "no real S3 server: set CSBSCTL_TEST_S3 to its endpoint, and AWS_ACCESS_KEY_ID and its secret"
        )
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    if "csbsctl-test" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="csbsctl-test")
    return endpoint


@pytest.fixture(scope="session")
def real_s3_is_atomic(real_s3_endpoint, tmp_path_factory):
    """Whether that server's create-if-absent holds in a race; where not, the contract is held under a lock service."""
    options = StoreOptions(endpoint_url=real_s3_endpoint)
    store = open_store(f"s3://csbsctl-test/{new_id()}", base=tmp_path_factory.mktemp("s3"), options=options)
    return probe(store, SystemClock()).atomic


@pytest.fixture(
    params=[
        "directory",
        "memory",
        "s3",
        "coordinated",
        "retrying",
        pytest.param("real s3", marks=pytest.mark.s3),
    ]
)
def store(request, tmp_path):
    directory = DirectoryStore(tmp_path / "store")
    match request.param:
        case "directory":
            return directory
        case "memory":
            return MemoryStore(SystemClock())
        case "coordinated":
            return coordinated(directory, SINGLE_WRITER)
        case "retrying":
            faults = Faults(refused=0.05, lost=0.05)
            return RetryingStore(FaultyStore(directory, faults, seed=7), first_patience=60)
        case "s3":
            options = StoreOptions(endpoint_url=request.getfixturevalue("s3_endpoint"))
            return open_store(f"s3://vault/{new_id()}", base=tmp_path, options=options)
        case _:
            options = StoreOptions(endpoint_url=request.getfixturevalue("real_s3_endpoint"))
            store = open_store(f"s3://csbsctl-test/{new_id()}", base=tmp_path, options=options)
            atomic = request.getfixturevalue("real_s3_is_atomic")
            return store if atomic else coordinated(store, f"file://{tmp_path}/locks")


@pytest.fixture
def filled_store(store):
    for key in KEYS:
        store.create(key, key.encode())
    return store
