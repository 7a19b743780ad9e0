"""The stores that the contract is held against; each test gets an empty one."""

from __future__ import annotations

import os
import threading

import pytest

from csbsctl.ids import new_id
from csbsctl.vault.coordination import SINGLE_WRITER, coordinated
from csbsctl.vault.stores import DirectoryStore, StoreOptions, open_store
from csbsctl.vault.stores.faulty import Faults, FaultyStore
from csbsctl.vault.stores.retrying import RetryingStore

KEYS = ["a-b/1", "a.b", "a/1", "a/2", "a/b/3", "a0", "b"]


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory):
    """A small S3 server in this process (moto), with made-up credentials."""
    server = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    served = make_server(
        "127.0.0.1", 0, server.DomainDispatcherApplication(server.create_backend_app), threaded=True
    )
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    kept = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    import boto3

    endpoint = f"http://127.0.0.1:{served.port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="vault")
    yield endpoint
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture(params=["directory", "s3", "coordinated", "retrying"])
def store(request, tmp_path):
    directory = DirectoryStore(tmp_path / "store")
    match request.param:
        case "directory":
            return directory
        case "coordinated":
            return coordinated(directory, SINGLE_WRITER)
        case "retrying":
            faults = Faults(refused=0.05, lost=0.05)
            return RetryingStore(FaultyStore(directory, faults, seed=7), first_patience=60)
        case _:
            endpoint = request.getfixturevalue("s3_endpoint")
            options = StoreOptions(endpoint_url=endpoint)
            return open_store(f"s3://vault/{new_id()}", base=tmp_path, options=options)


@pytest.fixture
def filled_store(store):
    for key in KEYS:
        store.create(key, key.encode())
    return store
