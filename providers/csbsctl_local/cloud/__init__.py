"""The simulated cloud: servers with real disks, snapshots of all of them at one instant, faults on demand.

It knows nothing of backups, policies or vaults: ``csbsctl_local.provider`` joins it with the repository.
"""

from csbsctl_local.cloud.cloud import Cloud

__all__ = ["Cloud"]
