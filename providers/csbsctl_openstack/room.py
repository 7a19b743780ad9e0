"""Whether the project's quotas have room for what a restore makes: asked before anything is stopped or copied.

Somebody else may use the room up meanwhile; then the cloud refuses in the middle, and the same command goes on later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from csbsctl.model.server import Refusal
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.limits import limit_in
from csbsctl_openstack.wire import gib

Json = dict[str, Any]

_CODE = "CSBS.9006"


def against_volumes(cloud: Cloud, sizes: Sequence[int]) -> Iterator[Refusal]:
    """Yield what keeps new volumes of some sizes (bytes) from being made."""
    if not sizes:
        return
    limits = cloud.cinder.get("ask for limits of volumes", "/limits")
    yield from _against(limits, "volumes", len(sizes), "maxTotalVolumes", "totalVolumesUsed")
    yield from _against(
        limits,
        "GiB of volumes",
        sum(map(gib, sizes)),
        "maxTotalVolumeGigabytes",
        "totalGigabytesUsed",
    )


def against_server(cloud: Cloud, flavor_id: str) -> Iterator[Refusal]:
    """Yield what keeps a new server from being built."""
    limits = cloud.nova.get("ask for limits of servers", "/limits")
    flavor = cloud.nova.get(f"look at flavor {flavor_id}", f"/flavors/{flavor_id}")["flavor"]
    yield from _against(limits, "servers", 1, "maxTotalInstances", "totalInstancesUsed")
    yield from _against(limits, "cores", flavor["vcpus"], "maxTotalCores", "totalCoresUsed")
    yield from _against(limits, "MiB of memory", flavor["ram"], "maxTotalRAMSize", "totalRAMUsed")


def _against(limits: Json, what: str, needed: int, most: str, used: str) -> Iterator[Refusal]:
    limit = limit_in(limits, most, used)
    if limit.short_of(needed):
        figures = f"{needed} needed, {limit.used} of {limit.allowed} are in use"
        yield Refusal(_CODE, f"the quota of {what} is too small: {figures}")
