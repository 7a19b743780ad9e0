"""The one place where foreign exceptions become ours: openstacksdk's, keystoneauth's and those of the HTTP library.

Knows the exception classes and the status codes of OpenStack's APIs; knows nothing of what was being done beyond the
sentence it is handed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    ProviderError,
    QuotaExceeded,
    ResourceConflict,
    ResourceNotFound,
    Unsupported,
)

_TRANSITIONAL = re.compile(
    r"status must be|must be (?:in )?(?:the )?(?:available|in-use)|current(?:ly)? status|but current|"
    r"Incremental backups exist|is in an invalid state|volume is busy|in transition|already attached",
    re.IGNORECASE,
)
_POLICY = re.compile(r"Policy doesn't allow (\S+) to be performed")
_QUOTA = re.compile(r"quota|exceeds allowed|limit exceeded|over limit", re.IGNORECASE)
_FALLBACK = {4: CloudRefused, 5: CloudUnavailable}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn whatever OpenStack's libraries raise inside into the ProviderError family.

    Args:
        what: what is being done and to what, as the first words of the message: ``snapshot volume 1a2b``.
    """
    try:
        yield
    except foreign() as error:
        raise from_exception(error, what) from error


@functools.cache
def foreign() -> tuple[type[Exception], ...]:
    """Return the root classes of everything that the libraries raise."""
    import requests  # noqa: PLC0415 - openstacksdk has loaded it when there is anything to translate
    from keystoneauth1 import exceptions as keystone  # noqa: PLC0415
    from openstack import exceptions as sdk  # noqa: PLC0415

    return (
        sdk.SDKException,
        keystone.ClientException,
        keystone.RetriableConnectionFailure,
        keystone.ImpliedVersionMismatch,
        requests.exceptions.RequestException,
    )


def from_exception(error: Exception, what: str) -> ProviderError:
    """Return our error for a foreign one."""
    status = getattr(error, "status_code", None) or getattr(error, "http_status", None)
    request_id = getattr(error, "request_id", None)
    if isinstance(status, int) and status:
        text = getattr(error, "details", None) or getattr(error, "message", None) or str(error)
        return from_status(status, str(text), what, request_id=request_id, retry_after=_retry_after(error))
    kind, hint = classify(error)
    return kind(
        f"{what}: {_first_line(str(error)) or type(error).__name__}", hint=hint, request_id=request_id
    )


def from_status(
    status: int, text: str, what: str, *, request_id: str | None = None, retry_after: float = 0
) -> ProviderError:
    """Return our error for an HTTP answer of 400 and above."""
    message = f"{what}: {_first_line(text)} (HTTP {status}{f', {request_id}' if request_id else ''})"
    kind, hint = _by_status(status, text, retry_after)
    return kind(message, hint=hint, request_id=request_id)


def classify(error: Exception) -> tuple[type[ProviderError], str | None]:
    """Return which error of ours a foreign exception without an HTTP status is, and what to do about it."""
    for classes, kind, hint in _table():
        if isinstance(error, classes):
            return kind, hint
    return CloudUnavailable, None


def _by_status(status: int, text: str, retry_after: float) -> tuple[type[ProviderError], str | None]:
    match status:
        case 401:
            return CloudRefused, "check the credentials of this entry in clouds.yaml"
        case 403 if _QUOTA.search(text):
            return QuotaExceeded, "free some of the quota, or ask for a larger one"
        case 403:
            right = _POLICY.search(text)
            missing = f"the right {right[1]} is missing: " if right else ""
            return CloudRefused, f"{missing}docs/howto/openstack.md lists the rights every command needs"
        case 404 | 410:
            return ResourceNotFound, None
        case 405 | 406 | 501:
            return Unsupported, "this cloud is too old for it, or has it switched off"
        case 409:
            return ResourceConflict, None
        case 413 if not retry_after:
            return QuotaExceeded, "free some of the quota, or ask for a larger one"
        case 408 | 413 | 425 | 429:
            return CloudUnavailable, "the cloud asks for patience"
        case 400 if _TRANSITIONAL.search(text):
            return ResourceConflict, None
        case _:
            return _FALLBACK.get(status // 100, CloudUnavailable), None


@functools.cache
def _table() -> list[tuple[tuple[type[Exception], ...], type[ProviderError], str | None]]:
    """Return the classes that carry no HTTP status, the most specific first."""
    from keystoneauth1 import exceptions as keystone  # noqa: PLC0415
    from openstack import exceptions as sdk  # noqa: PLC0415

    credentials = "check the entry in clouds.yaml, or the OS_* variables"
    return [
        ((sdk.ServiceDisabledException, sdk.NotSupported, sdk.MethodNotSupported), Unsupported, None),
        (
            (sdk.ConfigException,),
            CloudRefused,
            "check the name of the entry and of the region in clouds.yaml",
        ),
        ((sdk.ResourceTimeout, sdk.InvalidResponse, sdk.ServiceDiscoveryException), CloudUnavailable, None),
        ((sdk.DuplicateResource,), ResourceConflict, "names are not unique in OpenStack: use the ID"),
        ((sdk.InvalidRequest, sdk.InvalidResourceQuery, sdk.ValidationException), CloudRefused, None),
        (
            (sdk.EndpointNotFound, keystone.EndpointNotFound, keystone.CatalogException),
            Unsupported,
            credentials,
        ),
        ((keystone.VersionNotAvailable, keystone.ImpliedVersionMismatch), Unsupported, None),
        (
            (keystone.SSLError,),
            CloudRefused,
            "give the cloud's certificate authority as `cacert` in clouds.yaml",
        ),
        ((keystone.AuthPluginException, keystone.AuthorizationFailure), CloudRefused, credentials),
        ((keystone.MissingAuthMethods, keystone.ServiceProviderNotFound), CloudRefused, credentials),
    ]


def _retry_after(error: Exception) -> float:
    response: Any = getattr(error, "response", None)
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return float(value) if value.isdigit() else 0


def _first_line(text: str) -> str:
    return next((line.strip().rstrip(".") for line in text.splitlines() if line.strip()), "")
