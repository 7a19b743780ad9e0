"""How a bucket is reached: boto3's clients, and the credentials they sign with, read anew when they were replaced."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from csbsctl.errors import UsageError
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.stores.s3_errors import translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARALLEL = 16
_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 60


class Access:
    """Clients that sign with the credentials configured at this moment; each request is tried once."""

    def __init__(self, options: StoreOptions) -> None:
        """Read profile and environment. Raises StoreUnavailable and UsageError."""
        self._options = options
        self._lock = threading.Lock()
        """Guards ``_successor``: hundreds of requests may be refused at once."""
        self._successor: Access | None = None
        try:
            self._session = boto3.session.Session(profile_name=options.profile, region_name=options.region)
            found = self._session.get_credentials()
            self._credentials = found.get_frozen_credentials() if found else None
        except BotoCoreError as error:
            raise translate(error, "cannot open the vault") from error
        self.full = self._client(sign_payload=True)

    @cached_property
    def lean(self) -> S3Client:
        """A client that hashes no payload: for what proves itself."""
        return self._client(sign_payload=False)

    def renewed(self) -> Access:
        """Return an access with the credentials of now, this one when they are still the same."""
        with self._lock:
            if self._successor is None:
                fresh = Access(self._options)
                if fresh._credentials == self._credentials:
                    return self
                self._successor = fresh
            return self._successor

    def _client(self, *, sign_payload: bool) -> S3Client:
        style = (
            "auto"
            if self._options.path_style is False
            or not (self._options.path_style or self._options.endpoint_url)
            else "path"
        )
        config = Config(
            s3={"addressing_style": style, "payload_signing_enabled": sign_payload},  # type: ignore[arg-type]
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=PARALLEL * 2,
            tcp_keepalive=True,
        )
        try:
            fallback = "us-east-1" if self._options.endpoint_url else None
            return self._session.client(
                "s3",
                config=config,
                endpoint_url=self._options.endpoint_url,
                region_name=self._session.region_name or fallback,
                verify=self._options.ca_bundle
                if self._options.verify_tls and self._options.ca_bundle
                else self._options.verify_tls or False,
            )
        except BotoCoreError as error:
            raise translate(error, "cannot open the vault") from error
        except ValueError as error:
            raise UsageError(
                f"{self._options.endpoint_url} is no endpoint", hint="write https://host:port"
            ) from error
