"""Object stores: a folder, a bucket, and what wraps them."""

from __future__ import annotations

from pathlib import Path

from csbsctl.errors import UsageError
from csbsctl.vault.stores.contract import Store
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.stores.read_only import ReadOnlyStore

__all__ = ["DirectoryStore", "ReadOnlyStore", "Store", "StoreOptions", "open_store"]


def open_store(url: str, *, base: Path, options: StoreOptions) -> Store:
    """Return the store that a vault's URL names; relative paths start at ``base``. Touches nothing."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return DirectoryStore((base / Path(url).expanduser()).absolute())
    if scheme == "file":
        return DirectoryStore((base / rest).absolute())
    if scheme == "s3":
        from csbsctl.vault.stores.s3 import open_bucket  # noqa: PLC0415 - boto3 is heavy

        return open_bucket(rest, options)
    raise UsageError(
        f"{url} is no vault: {scheme}:// is not known",
        hint="use a path, or s3://bucket/prefix",
        code="vault.url",
    )
