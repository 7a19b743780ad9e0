"""What Cinder allows a project, asked before a server is frozen, so that a backup without room disturbs nobody.

A backup of a server takes, for each of its volumes: a snapshot and its size for some minutes, a backup and its size
for as long as it is kept; for a root that is no volume, an image. Cinder charges an increment with the whole size of
its volume. Whether snapshots count towards ``gigabytes`` is the operator's choice (``no_snapshot_gb_quota``), which no
API tells: the settings do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from csbsctl.errors import CloudRefused, QuotaExceeded, ResourceNotFound, Unsupported
from csbsctl.model.server import Server
from csbsctl.provider import Quota
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.inventory import volumes_of
from csbsctl_openstack.limits import Limit, limit, limit_in
from csbsctl_openstack.wire import GIB, gib

_FROM_LIMITS = {
    "backups": ("maxTotalBackups", "totalBackupsUsed"),
    "backup_gigabytes": ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed"),
    "snapshots": ("maxTotalSnapshots", "totalSnapshotsUsed"),
    "gigabytes": ("maxTotalVolumeGigabytes", "totalGigabytesUsed"),
}


class Quotas:
    """Asks Cinder for the quotas of the project."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def of_backups(self) -> Quota:
        """Return what the core wants to know: numbers and bytes of backups."""
        limits = self._project_wide()
        backups, size = limits["backups"], limits["backup_gigabytes"]
        return Quota(
            backups=backups.allowed,
            backups_used=backups.used,
            size=size.allowed * GIB if size.allowed is not None else None,
            size_used=size.used * GIB,
        )

    def insist_on_room(self, server: Server) -> None:
        """Make sure that one backup of a server fits. Raises QuotaExceeded, which names every quota that is short."""
        limits = {**self._all(), **(self._of_images() if server.image_backed_root else {})}
        needs = self._needs(server)
        short = [
            f"{name}: {needed} more needed, {limits[name].used} of {limits[name].allowed} used"
            for name, needed in needs.items()
            if name in limits and limits[name].short_of(needed)
        ]
        if short:
            raise QuotaExceeded(
                f"no room for a backup of server {server.name}: quota {'; quota '.join(short)}",
                hint=f"nothing was frozen; {' '.join(self._ways_out(server, limits, needs))}",
            )

    def _needs(self, server: Server) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        if server.image_backed_root:  # what the image will be like, nobody knows beforehand
            counts.update({"image_count_total": 1, "image_size_total": 1})
        for volume in volumes_of(server):
            size = gib(volume.size)
            counts.update({"backups": 1, "backup_gigabytes": size, "snapshots": 1})
            if volume.type:
                counts[f"snapshots_{volume.type}"] += 1
            if self._cloud.settings.snapshots_count_gigabytes:
                counts["gigabytes"] += size
                if volume.type:
                    counts[f"gigabytes_{volume.type}"] += size
        return counts

    def _ways_out(
        self, server: Server, limits: Mapping[str, Limit], needs: Mapping[str, int]
    ) -> Iterator[str]:
        short = {
            n: limits[n].used + need for n, need in needs.items() if n in limits and limits[n].short_of(need)
        }
        if images := [name for name in short if name.startswith("image_")]:
            yield f"ask an administrator for a higher limit of {' and '.join(images)} in Glance."
            short = {name: total for name, total in short.items() if name not in images}
        if not short:
            return
        if any(name.startswith("backup") for name in short):
            yield "keep fewer backups (`retention`), or"
        flags = " ".join(f"--{name.replace('_', '-')} {total}" for name, total in short.items())
        yield f"ask an administrator for: openstack quota set {flags} PROJECT."
        if any(name.startswith("gigabytes") for name in short):
            yield "Where snapshots do not count towards gigabytes, say `snapshots_count_gigabytes: false`."

    def _all(self) -> Mapping[str, Limit]:
        """Return all quotas, those of volume types included where the credentials may see them."""
        path = f"/os-quota-sets/{self._cloud.project_id}"
        try:
            answer = self._cloud.cinder.get("ask for quotas", path, usage="true")["quota_set"]
        except (CloudRefused, ResourceNotFound, Unsupported):
            return self._project_wide()
        return {
            name: limit(item["limit"], item["in_use"] + item["reserved"])
            for name, item in answer.items()
            if isinstance(item, dict)
        }

    def _of_images(self) -> Mapping[str, Limit]:
        """Return Glance's quotas, numbers and MiB, where the operator set any and this Glance tells."""
        try:
            usage = self._cloud.glance.get("ask for quotas of images", "/info/usage").get("usage", {})
        except (CloudRefused, ResourceNotFound, Unsupported):
            return {}
        return {name: limit(item["limit"], item["usage"]) for name, item in usage.items()}

    def _project_wide(self) -> Mapping[str, Limit]:
        answer = self._cloud.cinder.get("ask for limits", "/limits")
        return {name: limit_in(answer, allowed, used) for name, (allowed, used) in _FROM_LIMITS.items()}
