"""Which way each disk of a restore takes, and what the cloud has against it. Changes nothing.

Decided once here, so that the preflight cannot promise another way than the one that is taken.
"""

from __future__ import annotations

import enum
import functools
from contextlib import suppress
from typing import Any, assert_never

from csbsctl.errors import CloudRefused, ProviderError
from csbsctl.model.backup import StoredVolume
from csbsctl.model.server import Refusal, Volume
from csbsctl.provider import Mapping, Preflight, RestorePlan
from csbsctl_openstack import marks
from csbsctl_openstack.backup import Backups
from csbsctl_openstack.connection import Cloud, Service
from csbsctl_openstack.kept import KeptSnapshots
from csbsctl_openstack.offers import Offers
from csbsctl_openstack.room import against_volumes
from csbsctl_openstack.roots import Roots
from csbsctl_openstack.settings import RootRestore
from csbsctl_openstack.wishes import read_wishes

Json = dict[str, Any]


class Way(enum.StrEnum):
    """How a disk comes back."""

    NEW = "new"
    """Onto a new volume."""
    DETACH = "detach"
    """Onto the volume itself, which is off the server meanwhile."""
    RESET = "reset"
    """Onto the root volume itself, whose state an administrator resets."""
    REBUILD = "rebuild"
    """By way of an image as large as the root volume."""
    REPLACE = "replace"
    """Onto a new root volume, from which a new server takes over."""
    BOOT = "boot"
    """From the image of a root that is no volume, of which the hypervisor makes the root of a new server."""
    REWRITE = "rewrite"
    """From the image of a root that is no volume, by a rebuild of the server that has such a root."""


_NO_ADMIN = (
    "whoever resets the root volume has no role admin: where the cloud gives that right to no other role, the restore "
    "stops with the server off; with another `root_restore` the same command goes on"
)
_FRESH = frozenset({Way.NEW, Way.REBUILD, Way.REPLACE})
"""The ways that make a new volume, for a while at least."""


class Ways:
    """Decides, from settings, rights and what the cloud can do."""

    def __init__(self, cloud: Cloud, backups: Backups, roots: Roots, offers: Offers) -> None:
        self._cloud = cloud
        self._backups = backups
        self._roots = roots
        self._kept = KeptSnapshots(cloud)
        self.offers = offers
        self._admin_cloud: Cloud | None = None

    def of(self, plan: RestorePlan, mapping: Mapping) -> Way:
        """Return the way of one disk."""
        of_image = marks.is_image(mapping.stored.ref)
        if plan.server is None or mapping.target is None:
            return Way.BOOT if of_image and not plan.volumes_only else Way.NEW
        if mapping.target.position > 0:
            return Way.DETACH
        if of_image:
            return Way.REWRITE
        gives_way = self._root is Way.REBUILD and self._cloud.settings.root_restore is RootRestore.AUTO
        return Way.REPLACE if gives_way and _is_encrypted(mapping) else self._root

    @functools.cached_property
    def admin(self) -> Service:
        """Return Cinder's API with the credentials that may reset the state of volumes."""
        settings = self._cloud.settings
        if settings.admin_cloud is None:
            return self._cloud.cinder
        own = settings.model_copy(update={"project": None})
        self._admin_cloud = Cloud(own, self._cloud.clock, entry=settings.admin_cloud)
        return self._admin_cloud.cinder

    def close(self) -> None:
        """Let go of the administrator's connection."""
        if self._admin_cloud:
            self._admin_cloud.close()

    @functools.cached_property
    def _root(self) -> Way:
        match self._cloud.settings.root_restore:
            case RootRestore.RESET:
                return Way.RESET
            case RootRestore.REBUILD:
                return Way.REBUILD
            case RootRestore.REPLACE:
                return Way.REPLACE
            case RootRestore.AUTO:
                if self._cloud.settings.admin_cloud or "admin" in self._cloud.roles():
                    return Way.RESET
                return Way.REBUILD if self._can_rebuild() else Way.REPLACE
            case other:
                assert_never(other)

    def check(self, plan: RestorePlan) -> Preflight:
        """Return what the cloud has against a restore, and how each disk will come back."""
        refusals: list[Refusal] = []
        notes: list[str] = []
        for mapping in plan.mappings:
            stored = mapping.stored
            at_once, source = self._source(plan, mapping) if plan.instant else (False, "from the backup")
            if not at_once:  # a kept snapshot serves even where the backup itself is lost
                keeper = self._roots if marks.is_image(stored.ref) else self._backups
                refusals += [
                    Refusal("CSBS.4000", f"volume {stored.name}: {damage.message}")
                    for damage in keeper.check(stored)
                ]
            refusals += self._against(plan, mapping)
            if marks.is_image(stored.ref):
                notes.append(f"disk {stored.name}: {self._words(plan, mapping)}")
            else:
                notes.append(f"volume {stored.name}: {self._words(plan, mapping)}, {source}")
        if any(self.of(plan, mapping) is Way.RESET for mapping in plan.mappings):
            refusals += self._against_reset()
            notes += self._doubts_about_reset()
        fresh = [m for m in plan.mappings if self.of(plan, m) in _FRESH]
        sizes = [max(m.stored.size, m.target.size if m.target else 0) for m in fresh]
        refusals += against_volumes(self._cloud, sizes)
        if plan.server is None:
            try:
                wishes = read_wishes(plan.overrides)
            except CloudRefused as error:
                return Preflight(
                    (*refusals, Refusal(error.code, f"{error.message}: {error.hint}")), tuple(notes)
                )
            refusals += self.offers.against_disks(plan, wishes)
            if not plan.volumes_only:
                refusals += self.offers.against(plan, wishes)
                notes += self.offers.notes(plan, wishes)
        return Preflight(tuple(refusals), tuple(notes))

    def _against_reset(self) -> list[Refusal]:
        """Refuse credentials for the reset that do not open anything, before the server is stopped for nothing."""
        try:
            self._reset_roles()
        except ProviderError as error:
            entry = self._cloud.settings.admin_cloud
            return [Refusal("restore.admin-cloud", f"admin_cloud {entry} cannot be used: {error.message}")]
        return []

    def _doubts_about_reset(self) -> list[str]:
        with suppress(ProviderError):
            if "admin" not in self._reset_roles():
                return [_NO_ADMIN]
        return []

    def _reset_roles(self) -> frozenset[str]:
        _ = self.admin
        return (self._admin_cloud or self._cloud).roles()

    def _against(self, plan: RestorePlan, mapping: Mapping) -> list[Refusal]:
        target, stored = mapping.target, mapping.stored
        if target is None or plan.server is None:
            return []
        of_image = marks.is_image(stored.ref)
        onto_image = target.position == 0 and plan.server.image_backed_root
        if of_image and not onto_image:
            reason = f"disk {stored.name} is stored as an image of a root disk, and {target.name} is a volume"
            return [Refusal("CSBS.6019", f"{reason}: restore it with --as NAME")]
        if onto_image and not of_image:
            reason = f"disk {stored.name} is stored as a volume, and {target.name} is none"
            return [Refusal("CSBS.6019", f"{reason}: restore it with --as NAME")]
        if target.shared:
            return [Refusal("CSBS.6021", f"volume {target.name} is shared with another server")]
        if target.size < stored.size:
            return [Refusal("CSBS.6024", f"volume {target.name} is smaller than the backup of {stored.name}")]
        if self.of(plan, mapping) is Way.REBUILD and _is_encrypted(mapping):
            reason = f"volume {target.name} is encrypted, and Nova rebuilds no server from an image of such a volume"
            return [Refusal("CSBS.6013", f"{reason}: `root_restore: replace`, or `reset`, brings it back")]
        if of_key := _against_encryption(mapping.stored, target):
            return [Refusal("CSBS.6013", f"{of_key}; restore it with --as NAME")]
        if target.state not in {"in-use", "available", "restoring-backup"}:
            return [Refusal("CSBS.6015", f"volume {target.name} is in state {target.state}")]
        return []

    def _words(self, plan: RestorePlan, mapping: Mapping) -> str:
        way = self.of(plan, mapping)
        match way:
            case Way.NEW:
                return "a new volume" + (" made from its image" if marks.is_image(mapping.stored.ref) else "")
            case Way.DETACH:
                return "detached, restored onto and attached again under its ID"
            case Way.RESET:
                return (
                    "the root volume is set available by an administrator, restored onto and set in use again"
                )
            case Way.REBUILD:
                return (
                    "the root volume is rewritten by a rebuild of the server from an image as large as the volume; "
                    "the bytes are copied three times"
                )
            case Way.REPLACE:
                return (
                    "the root volume cannot be restored in place here: a new server takes over ports and data "
                    "volumes, under the same name and another ID; the old one stays, stopped and renamed"
                )
            case Way.BOOT:
                return "the new server boots from its image, and has its root disk with the hypervisor"
            case Way.REWRITE:
                return (
                    "the root disk is rewritten by a rebuild of the server from its image, under the same ID and "
                    "addresses; Nova starts the server for a moment, and empties its ephemeral and swap disks"
                )
            case other:
                assert_never(other)

    def _source(self, plan: RestorePlan, mapping: Mapping) -> tuple[bool, str]:
        """Return whether the bytes come from a kept snapshot, and where from in words; of an instant restore."""
        if marks.is_image(mapping.stored.ref):
            return False, "from its image"
        if self._kept.of(mapping.stored) is None:
            return False, "from the backup, for its snapshot is gone"
        taken_back = self.of(plan, mapping) in (Way.DETACH, Way.RESET)
        if taken_back and self._kept.to_revert_to(plan, mapping) is None:
            return False, "from the backup, for it was extended or other snapshots were made since"
        return True, "from the snapshot that was kept"

    def _can_rebuild(self) -> bool:
        """Whether Nova rebuilds servers whose root is a volume, and Cinder lets it."""
        try:
            self._cloud.nova.get("look for rebuild of volumes", "/limits", microversion="2.93")
            self._cloud.cinder.get("look for rebuild of volumes", "/limits", microversion="3.68")
        except ProviderError:
            return False
        return True


def _is_encrypted(mapping: Mapping) -> bool:
    return bool(mapping.stored.extra.get("encrypted") or (mapping.target and mapping.target.encrypted))


def _against_encryption(stored: StoredVolume, target: Volume) -> str | None:
    """Return why a backup's bytes and the key of a volume do not go together, or None. Cinder finds out too late."""
    own, encrypted = stored.extra.get("type"), stored.extra.get("encrypted")
    if encrypted and target.type != own:
        which = f"the backup of {stored.name} is encrypted, and goes onto volumes of its own type {own} only"
        return f"{which}: {target.name} is of type {target.type}"
    if encrypted is False and target.encrypted:
        return f"volume {target.name} is encrypted, and the backup of {stored.name} would lie on it in plain"
    return None
