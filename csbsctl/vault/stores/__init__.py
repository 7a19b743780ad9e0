"""Object stores: a folder, a bucket, and what wraps them."""

from __future__ import annotations

from pathlib import Path

from csbsctl.errors import UsageError
from csbsctl.vault.stores.contract import Store
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.stores.outage import Tell, to_nobody
from csbsctl.vault.stores.read_only import ReadOnlyStore
from csbsctl.vault.stores.retrying import RetryingStore

__all__ = ["DirectoryStore", "ReadOnlyStore", "RetryingStore", "Store", "StoreOptions", "open_store"]

_FOLDER_PATIENCE = 20.0
"""Seconds to go on with a folder that fails in passing (a network file system whose server restarts)."""


def open_store(url: str, *, base: Path, options: StoreOptions, tell: Tell = to_nobody) -> Store:
    """Return the store that a vault's URL names, which tries again what may pass; relative paths start at ``base``.

    Touches nothing. ``tell`` takes a word when the store is away for a while, and when it is back.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _folder((base / Path(url).expanduser()).absolute(), url, tell)
    if scheme == "file":
        return _folder((base / rest).absolute(), url, tell)
    if scheme == "s3":
        from csbsctl.vault.stores.s3 import open_bucket  # noqa: PLC0415 - boto3 is heavy

        return open_bucket(rest, options, tell)
    raise UsageError(
        f"{url} is no vault: {scheme}:// is not known",
        hint="use a path, or s3://bucket/prefix",
        code="vault.url",
    )


def _folder(path: Path, url: str, tell: Tell) -> Store:
    return RetryingStore(
        DirectoryStore(path),
        first_patience=_FOLDER_PATIENCE,
        patience=_FOLDER_PATIENCE,
        name=f"the vault at {url}",
        tell=tell,
    )
