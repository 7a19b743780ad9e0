"""The jobs that protect servers: backup, restore, image, prune, verify, recover, and the runner that drives them.

Uses the vault, the provider contract and the rules; knows nothing of configuration files, plans or output.
"""

from __future__ import annotations

from csbsctl.protection.site import Site
from csbsctl.protection.stop import StopSignal

__all__ = ["Site", "StopSignal"]
