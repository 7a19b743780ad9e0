"""A store in an S3 bucket, below a prefix, through boto3. Create-if-absent is ``If-None-Match: *``.

Every request is made once; trying again is ``RetryingStore``'s business, which knows what may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.clock import SystemClock
from csbsctl.errors import StoreUnavailable, UsageError
from csbsctl.vault.stores.contract import Store
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.stores.outage import Tell, to_nobody
from csbsctl.vault.stores.retrying import RetryingStore
from csbsctl.vault.stores.s3_errors import translate, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_PARALLEL = 16
_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 60
MULTIPART_FROM = 64 << 20
"""Bytes from which an object is uploaded in parts."""

_PART = 16 << 20
_PARTS_AT_ONCE = 4


def open_bucket(rest: str, options: StoreOptions, tell: Tell = to_nobody) -> Store:
    """Return the store at ``bucket/prefix``, which tries again what may be tried again. Sends nothing yet."""
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UsageError("the vault's URL names no bucket", hint="write s3://bucket/prefix", code="vault.url")
    store = S3Store(bucket, prefix.strip("/"), options)
    return RetryingStore(store, name=f"the vault at s3://{rest}", tell=tell)


class S3Store:
    """Objects of a bucket, below a prefix."""

    parallel = _PARALLEL
    remote = True

    def __init__(
        self, bucket: str, prefix: str, options: StoreOptions, *, multipart_from: int = MULTIPART_FROM
    ) -> None:
        self.lag = options.listing_lag + 1 if options.listing_lag else 0.0  # its times are whole seconds
        self._bucket = bucket
        self._prefix = prefix + "/" if prefix else ""
        self._client = _client(options, sign_payload=True)
        self._options = options
        self._multipart_from = multipart_from

    @cached_property
    def _lean(self) -> S3Client:
        """A client that hashes no payload."""
        return _client(self._options, sign_payload=False)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        if length == 0:
            length = 1  # a range cannot be empty; ask for a byte to learn whether the object is there
            return self.get(key, start, length)[:0]
        try:
            with translated("read", key, self._bucket):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, **_range(start, length)
                )
                with answer["Body"] as body:
                    return body.read()
        except StoreUnavailable as error:
            if start and "InvalidRange" in str(error.__cause__):
                return b""
            if "InvalidRange" in str(error.__cause__):  # an empty object has no first byte
                return self.get(key) if length is not None else b""
            raise

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        if len(data) >= self._multipart_from:
            self._create_in_parts(key, memoryview(data).cast("B"))
            return
        client = self._lean if authenticated else self._client
        with translated("write", key, self._bucket):
            client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=_body(data), IfNoneMatch="*")

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        with translated("write", key, self._bucket):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=_body(data))

    def delete(self, key: str) -> None:
        """See BlobStore."""
        try:
            with translated("delete", key, self._bucket):
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
        except BlobNotFound:
            return

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        cut = len(self._prefix)
        for page in self._pages(prefix, after):
            for entry in page.get("Contents", []):
                yield Blob(entry["Key"][cut:], entry["Size"], entry["LastModified"])

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return (blob.key for blob in self.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store."""
        cut = len(self._prefix) + len(prefix)
        for page in self._pages(prefix, "", "/"):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"][cut:-1]

    def now(self) -> datetime:
        """See BlobStore: the date of an answer, to the second."""
        with translated("list", "", self._bucket):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date) if date else SystemClock().now()

    def _pages(self, prefix: str, after: str, delimiter: str = "") -> Iterator[Any]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if delimiter:
            request["Delimiter"] = delimiter
        if after:
            request["StartAfter"] = self._prefix + after
        while True:
            with translated("list", prefix, self._bucket):
                page = self._client.list_objects_v2(**request)
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _create_in_parts(self, key: str, data: memoryview) -> None:
        """Upload something big in parts at once; the last request decides whether the key was free."""
        self._insist_on_absence(key)
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        with translated("write", key, self._bucket):
            place["UploadId"] = self._client.create_multipart_upload(**place)["UploadId"]

        def send(number: int) -> CompletedPartTypeDef:
            part = data[(number - 1) * _PART : number * _PART]
            with translated("write", key, self._bucket):
                tag = self._lean.upload_part(**place, PartNumber=number, Body=bytes(part))["ETag"]
            return {"ETag": tag, "PartNumber": number}

        try:
            with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="upload") as pool:
                parts = list(pool.map(send, range(1, -(-len(data) // _PART) + 1)))
            with translated("write", key, self._bucket):
                self._client.complete_multipart_upload(
                    **place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
        except BaseException:
            with translated("abandon the upload of", key, self._bucket):
                self._client.abort_multipart_upload(**place)
            raise

    def _insist_on_absence(self, key: str) -> None:
        try:
            self.get(key, 0, 1)
        except BlobNotFound:
            return
        raise BlobExists(key)


def _client(options: StoreOptions, *, sign_payload: bool) -> S3Client:
    """Return a client that tries once. Without a signed payload it hashes nothing: for what proves itself."""
    style = (
        "auto" if options.path_style is False or not (options.path_style or options.endpoint_url) else "path"
    )
    config = Config(
        s3={"addressing_style": style, "payload_signing_enabled": sign_payload},  # type: ignore[arg-type]
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=_PARALLEL * 2,
        tcp_keepalive=True,
    )
    try:
        session = boto3.session.Session(profile_name=options.profile, region_name=options.region)
        fallback = "us-east-1" if options.endpoint_url else None
        return session.client(
            "s3",
            config=config,
            endpoint_url=options.endpoint_url,
            region_name=session.region_name or fallback,
            verify=options.ca_bundle
            if options.verify_tls and options.ca_bundle
            else options.verify_tls or False,
        )
    except BotoCoreError as error:
        raise translate(error, "cannot open the vault") from error
    except ValueError as error:
        raise UsageError(f"{options.endpoint_url} is no endpoint", hint="write https://host:port") from error


def _range(start: int, length: int | None) -> dict[str, Any]:
    if length is not None:
        return {"Range": f"bytes={start}-{start + length - 1}"}
    return {"Range": f"bytes={start}-"} if start else {}


def _body(data: Buffer) -> bytes:
    return data if isinstance(data, bytes) else bytes(data)
