"""Turns what botocore raises into what a store may raise: the one place that knows botocore's exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as botocore

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores.contract import Transient

_ABSENT = {"NoSuchKey", "404", "NotFound"}
_EXISTS = {"PreconditionFailed", "412"}
_BUSY = {
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "InternalError",
    "OperationAborted",
    "ConditionalRequestConflict",
    "RequestTimeout",
    "RequestTimeoutException",
    "BadDigest",
    "IncompleteBody",
}
_HINTS = {
    "NoSuchBucket": "make the bucket first, or check vault.url and endpoint_url",
    "AccessDenied": "allow GetObject, PutObject, DeleteObject and ListBucket on the bucket",
    "AllAccessDisabled": "the bucket was disabled by its provider",
    "403": "check the credentials, and what they allow on the bucket",
    "InvalidAccessKeyId": "check the access key (profile, AWS_ACCESS_KEY_ID)",
    "SignatureDoesNotMatch": "check the secret key, and region",
    "ExpiredToken": "renew the credentials and run the command again; it continues",
    "InvalidToken": "renew the credentials and run the command again; it continues",
    "RequestTimeTooSkewed": "set this machine's clock right (NTP)",
    "PermanentRedirect": "the bucket is in another region: set vault.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set vault.region",
    "QuotaExceeded": "raise the bucket's quota, or delete backups; nothing that was committed is lost",
    "NotImplemented": "this store lacks something the vault needs; use another, or set vault.coordination",
}
_CREDENTIALS = "give credentials: vault.profile, or AWS_ACCESS_KEY_ID and its secret"
_NETWORK = "check vault.endpoint_url and the network"
_FAILURES: tuple[tuple[tuple[type[botocore.BotoCoreError], ...], type[StoreUnavailable], str], ...] = (
    (
        (botocore.SSLError,),
        StoreUnavailable,
        "name the authority of the server's certificate in vault.ca_bundle",
    ),
    ((botocore.ConnectionError, botocore.HTTPClientError, botocore.IncompleteReadError), Transient, _NETWORK),
    ((botocore.ChecksumError, botocore.FlexibleChecksumError), Transient, _NETWORK),
    (
        (
            botocore.NoCredentialsError,
            botocore.PartialCredentialsError,
            botocore.CredentialRetrievalError,
            botocore.TokenRetrievalError,
            botocore.NoAuthTokenError,
        ),
        StoreUnavailable,
        _CREDENTIALS,
    ),
    ((botocore.ProfileNotFound,), StoreUnavailable, "check vault.profile and ~/.aws/config"),
    ((botocore.NoRegionError,), StoreUnavailable, "set vault.region"),
)
_CREDENTIALS_REFUSED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_NO_BATCHES = {"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "InvalidRequest", "MalformedXML"}
"""What servers say that do not know DeleteObjects, or not as it is sent today."""

_SERVER_FAULT = 500
_NOT_IMPLEMENTED = 501
_TOO_MANY = 429


class CredentialsRefused(StoreUnavailable):
    """The server does not take the credentials, or not any more: others may be configured by now."""


def knows_no_batches(error: StoreUnavailable) -> bool:
    """Say whether a request to delete many failed because the server has no such thing."""
    cause = error.__cause__
    return isinstance(cause, botocore.ClientError) and cause.response["Error"].get("Code") in _NO_BATCHES


def refusal_of_some(refused: Sequence[Mapping[str, Any]], asked: int, bucket: str) -> StoreUnavailable:
    """Return the error for objects of a batch that were not deleted; Transient when all of it may pass."""
    first = refused[0]
    code = str(first.get("Code", ""))
    kind = Transient if all(each.get("Code") in _BUSY for each in refused) else StoreUnavailable
    message = (
        f"cannot delete {len(refused)} of {asked} objects, first s3://{bucket}/{first.get('Key')}: "
        f"{first.get('Message') or code}"
    )
    return kind(message, hint=_HINTS.get(code))


@contextmanager
def translated(action: str, key: str, folder: str) -> Iterator[None]:
    """Run a block, turning botocore's exceptions into BlobNotFound, BlobExists or StoreUnavailable.

    ``folder`` is the bucket, and the prefix where there is one, without a slash at the end.
    """
    try:
        yield
    except botocore.ClientError as error:
        raise _answer(error, f"cannot {action} s3://{folder}/{key}", key) from error
    except botocore.BotoCoreError as error:
        raise translate(error, f"cannot {action} s3://{folder}/{key}") from error


def translate(error: botocore.BotoCoreError, what: str) -> StoreUnavailable:
    """Return what an exception that is no answer of the server means."""
    for kinds, result, hint in _FAILURES:
        if isinstance(error, kinds):
            return result(f"{what}: {error}", hint=hint)
    return StoreUnavailable(f"{what}: {error}")


def _answer(error: botocore.ClientError, what: str, key: str) -> Exception:
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        return BlobNotFound(key)
    if code in _EXISTS:
        return BlobExists(key)
    message = f"{what}: {details.get('Message') or code or f'status {status}'}"
    if code in _BUSY or status == _TOO_MANY or (status >= _SERVER_FAULT and status != _NOT_IMPLEMENTED):
        return Transient(message, hint="the store is busy or failing; try again later")
    kind = CredentialsRefused if code in _CREDENTIALS_REFUSED else StoreUnavailable
    return kind(message, hint=_HINTS.get(code))
