"""."""

from __future__ import annotations

from csbsctl.vault.stores.contract import Store
from csbsctl.vault.stores.options import StoreOptions


def open_bucket(rest: str, options: StoreOptions) -> Store:
    raise NotImplementedError
