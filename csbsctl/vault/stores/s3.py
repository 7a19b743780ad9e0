"""A store in an S3 bucket, below a prefix, through boto3. Create-if-absent is ``If-None-Match: *``.

Every request is made once; trying again is ``RetryingStore``'s business, which knows what may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.clock import SystemClock
from csbsctl.errors import StoreUnavailable, UsageError
from csbsctl.vault.stores.contract import Store
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.stores.outage import Tell, to_nobody
from csbsctl.vault.stores.retrying import RetryingStore
from csbsctl.vault.stores.s3_access import PARALLEL, Access
from csbsctl.vault.stores.s3_errors import (
    CredentialsRefused,
    knows_no_batches,
    refusal_of_some,
    translated,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, ObjectIdentifierTypeDef

Answer = TypeVar("Answer")

_BATCH = 1000
"""Objects that one request may delete."""
MULTIPART_FROM = 64 << 20
"""Bytes from which an object is uploaded in parts."""

_WORTH_SPARING = 1 << 20
"""Bytes from which hashing costs more than making the client that does not."""

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

    parallel = PARALLEL
    remote = True

    def __init__(
        self, bucket: str, prefix: str, options: StoreOptions, *, multipart_from: int = MULTIPART_FROM
    ) -> None:
        self.lag = options.listing_lag + 1 if options.listing_lag else 0.0  # its times are whole seconds
        self._bucket = bucket
        self._prefix = prefix + "/" if prefix else ""
        self._folder = f"{bucket}/{prefix}" if prefix else bucket
        self._access = Access(options)
        self._options = options
        self._multipart_from = multipart_from
        self._batches = True

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        if length == 0:
            length = 1  # a range cannot be empty; ask for a byte to learn whether the object is there
            return self.get(key, start, length)[:0]
        try:
            return self._ask("read", key, lambda client: self._read(client, key, start, length))
        except StoreUnavailable as error:
            if start and "InvalidRange" in str(error.__cause__):
                return b""
            if "InvalidRange" in str(error.__cause__):  # an empty object has no first byte
                return self.get(key) if length is not None else b""
            raise

    def _read(self, client: S3Client, key: str, start: int, length: int | None) -> bytes:
        answer = client.get_object(Bucket=self._bucket, Key=self._prefix + key, **_range(start, length))
        with answer["Body"] as body:
            return body.read()

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        if len(data) >= self._multipart_from:
            self._create_in_parts(key, memoryview(data).cast("B"))
            return
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        self._ask(
            "write",
            key,
            lambda client: client.put_object(**place, Body=_body(data), IfNoneMatch="*"),
            lean=authenticated and len(data) >= _WORTH_SPARING,
        )

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        self._ask("write", key, lambda client: client.put_object(**place, Body=_body(data)))

    def delete(self, key: str) -> None:
        """See BlobStore."""
        try:
            self._ask(
                "delete",
                key,
                lambda client: client.delete_object(Bucket=self._bucket, Key=self._prefix + key),
            )
        except BlobNotFound:
            return

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore: up to 1,000 a request, or one by one side by side where the server knows no such request."""
        waiting = list(keys)
        while waiting and self._batches:
            batch, rest = waiting[:_BATCH], waiting[_BATCH:]
            if self._delete_batch(batch):
                waiting = rest
        if waiting:
            with ThreadPoolExecutor(PARALLEL, thread_name_prefix="delete") as pool:
                list(pool.map(self.delete, waiting))

    def _delete_batch(self, keys: list[str]) -> bool:
        """Delete some objects in one request; False when the server cannot, which is remembered.

        Raises:
            StoreUnavailable: some of them were not deleted; Transient where trying again may help.
        """
        objects: list[ObjectIdentifierTypeDef] = [{"Key": self._prefix + key} for key in keys]
        try:
            answer = self._ask(
                "delete",
                keys[0],
                lambda client: client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                ),
            )
        except StoreUnavailable as error:
            if not knows_no_batches(error):
                raise
            self._batches = False
            return False
        refused = [each for each in answer.get("Errors", []) if each.get("Code") != "NoSuchKey"]
        if refused:
            raise refusal_of_some(refused, len(keys), self._bucket)
        return True

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
        place: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix}
        answer = self._ask("list", "", lambda client: client.list_objects_v2(**place, MaxKeys=1))
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date) if date else SystemClock().now()

    def _pages(self, prefix: str, after: str, delimiter: str = "") -> Iterator[Any]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if delimiter:
            request["Delimiter"] = delimiter
        if after:
            request["StartAfter"] = self._prefix + after
        while True:
            page = self._ask("list", prefix, lambda client: client.list_objects_v2(**request))
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _create_in_parts(self, key: str, data: memoryview) -> None:
        """Upload something big in parts at once; the last request decides whether the key was free."""
        self._insist_on_absence(key)
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        begun = self._ask("write", key, lambda client: client.create_multipart_upload(**place))
        place["UploadId"] = begun["UploadId"]

        def send(number: int) -> CompletedPartTypeDef:
            part = data[(number - 1) * _PART : number * _PART]
            sent = self._ask(
                "write",
                key,
                lambda client: client.upload_part(**place, PartNumber=number, Body=bytes(part)),
                lean=True,
            )
            return {"ETag": sent["ETag"], "PartNumber": number}

        try:
            with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="upload") as pool:
                parts = list(pool.map(send, range(1, -(-len(data) // _PART) + 1)))
            uploaded: Any = {"MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
            self._ask("write", key, lambda client: client.complete_multipart_upload(**place, **uploaded))
        except BaseException:
            self._ask("abandon the upload of", key, lambda client: client.abort_multipart_upload(**place))
            raise

    def _ask(
        self, action: str, key: str, call: Callable[[S3Client], Answer], *, lean: bool = False
    ) -> Answer:
        """Make a request, and once more when the credentials were refused and others are configured by now."""
        while True:
            access = self._access
            try:
                with translated(action, key, self._folder):
                    return call(access.lean if lean else access.full)
            except CredentialsRefused:
                self._access = access.renewed()
                if self._access is access:
                    raise

    def _insist_on_absence(self, key: str) -> None:
        try:
            self.get(key, 0, 1)
        except BlobNotFound:
            return
        raise BlobExists(key)


def _range(start: int, length: int | None) -> dict[str, Any]:
    if length is not None:
        return {"Range": f"bytes={start}-{start + length - 1}"}
    return {"Range": f"bytes={start}-"} if start else {}


def _body(data: Buffer) -> bytes:
    """Return what boto3 sends; it takes a bytearray as it is, which its types do not say: packs are not copied."""
    return data if isinstance(data, bytes | bytearray) else bytes(data)  # type: ignore[return-value]
