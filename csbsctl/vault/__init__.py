"""The vault: object stores, versioned documents, catalogue, leases, job journal, audit trail.

Knows nothing of policies' meaning, of providers or of YAML.
"""

from __future__ import annotations

from csbsctl.vault.key_sources import KeySource
from csbsctl.vault.stores.options import StoreOptions
from csbsctl.vault.vault import Timing, Vault, open_vault, vault_exists

__all__ = ["KeySource", "StoreOptions", "Timing", "Vault", "open_vault", "vault_exists"]
