"""A vault in a bucket: what is particular to S3. The contract itself is in test_store_contract.py."""

from __future__ import annotations

import socket
from collections import Counter
from inspect import signature
from string import Formatter
from types import SimpleNamespace

import boto3
import pytest
from botocore import exceptions as botocore

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.clock import SystemClock
from csbsctl.errors import NotFound, StoreUnavailable
from csbsctl.ids import new_id
from csbsctl.model.control import ControlDocument
from csbsctl.vault import StoreOptions, open_vault
from csbsctl.vault.check import check
from csbsctl.vault.stores.contract import Transient
from csbsctl.vault.stores.retrying import RetryingStore
from csbsctl.vault.stores.s3 import S3Store
from csbsctl.vault.stores.s3_errors import CredentialsRefused, refusal_of_some, translate, translated


def every_subclass(base):
    for kind in base.__subclasses__():
        if kind.__module__ == base.__module__:
            yield kind
        yield from every_subclass(kind)


def made(kind):
    """Make an exception of botocore's with something in every field of its message."""
    fields = {name: "x" for _, name, _, _ in Formatter().parse(kind.fmt) if name}
    own = {name: "x" for name in signature(kind.__init__).parameters if name not in ("self", "kwargs")}
    if issubclass(kind, botocore.HTTPClientError):
        fields["error"] = "x"
    return kind(
        **fields,
        **{
            name: value
            for name, value in own.items()
            if name not in fields and name not in ("request", "response", "msg")
        },
    )


@pytest.mark.parametrize(
    "kind", sorted(set(every_subclass(botocore.BotoCoreError)), key=lambda kind: kind.__name__)
)
def test_every_exception_of_botocore_becomes_one_of_ours(kind):
    with pytest.raises(StoreUnavailable, match="cannot read s3://b/k"), translated("read", "k", "b"):
        raise made(kind)


@pytest.mark.parametrize(
    ("kind", "passing"),
    [
        (botocore.EndpointConnectionError, True),
        (botocore.ReadTimeoutError, True),
        (botocore.ConnectionClosedError, True),
        (botocore.ResponseStreamingError, True),
        (botocore.SSLError, False),
        (botocore.NoCredentialsError, False),
        (botocore.ProfileNotFound, False),
    ],
)
def test_only_what_may_pass_is_tried_again(kind, passing):
    assert isinstance(translate(made(kind), "cannot read"), Transient) is passing


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, BlobNotFound),
        ("PreconditionFailed", 412, BlobExists),
        ("ConditionalRequestConflict", 409, Transient),
        ("SlowDown", 503, Transient),
        ("", 500, Transient),
        ("TooManyRequests", 429, Transient),
        ("NotImplemented", 501, StoreUnavailable),
        ("AccessDenied", 403, StoreUnavailable),
        ("ExpiredToken", 400, CredentialsRefused),
        ("NoSuchBucket", 404, StoreUnavailable),
    ],
)
def test_answers_of_the_server_are_understood(code, status, expected):
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(expected) as caught, translated("read", "k", "b"):
        raise botocore.ClientError(answer, "GetObject")
    assert caught.type is expected


def test_a_bucket_that_is_not_there_is_named(s3_endpoint, tmp_path):
    options = StoreOptions(endpoint_url=s3_endpoint)
    with pytest.raises(StoreUnavailable, match="nowhere") as caught:
        open_vault("s3://nowhere/p", base=tmp_path, clock=SystemClock(), options=options)
    assert "bucket" in (caught.value.hint or "")


def test_a_server_that_is_not_there_is_given_up_on_soon(s3_endpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inner = S3Store("vault", "p", StoreOptions(endpoint_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(StoreUnavailable, match="cannot read s3://vault/p/k: ") as caught:
        RetryingStore(inner, first_patience=0.3).get("k")
    assert "endpoint_url" in (caught.value.hint or "")


def test_an_object_in_parts_is_created_once(s3_endpoint):
    store = S3Store("vault", new_id(), StoreOptions(endpoint_url=s3_endpoint), multipart_from=1 << 20)
    data = bytes(range(256)) * (80 << 10)
    store.create("big", data, authenticated=True)
    assert store.get("big") == data
    assert store.get("big", 17 << 20, 10) == data[17 << 20 : (17 << 20) + 10]
    with pytest.raises(BlobExists):
        store.create("big", data)


def test_a_whole_vault_works_in_a_bucket(s3_endpoint, tmp_path):
    url, options = f"s3://vault/{new_id()}", StoreOptions(endpoint_url=s3_endpoint)
    with pytest.raises(NotFound):
        open_vault(url, base=tmp_path, clock=SystemClock(), options=options)
    with open_vault(
        url, base=tmp_path, clock=SystemClock(), options=options, create=True, actor="a@b"
    ) as vault:
        vault.audit.record("createBackupPolicy", resource_type="backupPolicy", resource_id="gold")
        vault.audit.flush()
        vault.control.commit(ControlDocument(1))
        with vault.leases.acquire("p", "s") as lease:
            lease.check()
            vault.catalogue.update("p", "s", lambda before: before, fence=lease.number)
        assert check(vault, race=False).findings == ()
    again = open_vault(url, base=tmp_path, clock=SystemClock(), options=options)
    assert again.control.head().generation == 1
    assert again.catalogue.servers() == [("p", "s")]


def test_prefixes_of_one_bucket_do_not_see_each_other(s3_endpoint):
    options = StoreOptions(endpoint_url=s3_endpoint)
    one, other = S3Store("vault", "a", options), S3Store("vault", "ab", options)
    other.create("k", b"")
    assert list(one.list("")) == []
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    assert client.head_object(Bucket="vault", Key="ab/k")["ContentLength"] == 0


def test_objects_are_deleted_in_batches_and_one_by_one_where_that_is_not_known(s3_endpoint):
    options = StoreOptions(endpoint_url=s3_endpoint)
    for refuse in ("", "MalformedXML"):
        store = S3Store("vault", new_id(), options)
        requests = counted(store, refuse_batches=refuse)
        keys = [f"k/{number:04d}" for number in range(30)]
        for key in keys:
            store.create(key, b"x")
        requests.clear()
        store.delete_all([*keys[:25], "never/was"])
        assert [blob.key for blob in store.list("")] == keys[25:]
        assert requests["DeleteObjects"] == 1
        assert requests["DeleteObject"] == (26 if refuse else 0)
        store.delete_all(keys)
        assert requests["DeleteObjects"] == (1 if refuse else 2), (
            "what a server does not know is not asked again"
        )
        store.delete_all([])


def test_objects_of_a_batch_that_were_not_deleted_are_named():
    errors = [
        {"Key": "p/k1", "Code": "AccessDenied", "Message": "Access Denied"},
        {"Key": "p/k2", "Code": "SlowDown"},
    ]
    error = refusal_of_some(errors, 1000, "vault")
    assert not isinstance(error, Transient)
    assert "2 of 1000 objects, first s3://vault/p/k1: Access Denied" in error.message
    assert isinstance(refusal_of_some(errors[1:], 1000, "vault"), Transient)


def test_credentials_that_were_replaced_are_followed(s3_endpoint, tmp_path, monkeypatch):
    shared = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    shared.write_text("[backup]\naws_access_key_id = first\naws_secret_access_key = s\n")
    store = S3Store("vault", new_id(), StoreOptions(endpoint_url=s3_endpoint, profile="backup"))
    store.create("k", b"x")
    requests = counted(store, expired=True)
    with pytest.raises(StoreUnavailable, match="cannot read") as caught:
        store.get("k")
    assert "renew the credentials" in (caught.value.hint or "")
    assert not isinstance(caught.value, Transient)
    assert requests["GetObject"] == 1
    shared.write_text("[backup]\naws_access_key_id = second\naws_secret_access_key = s\n")
    assert store.get("k") == b"x"
    assert store.get("k") == b"x"
    assert requests["GetObject"] == 2, "the new ones are kept, and these requests go where nobody counts"


def counted(store, *, refuse_batches="", expired=False):
    """Count a store's requests as boto3 sends them; answer some as a server would that knows or believes less."""
    requests = Counter()
    events = store._access.full.meta.events

    def before(model, **_):
        requests[model.name] += 1
        code = refuse_batches if model.name == "DeleteObjects" else "ExpiredToken" if expired else ""
        if not code:
            return None
        answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return SimpleNamespace(status_code=400), answer

    events.register("before-call.s3", before)
    return requests
