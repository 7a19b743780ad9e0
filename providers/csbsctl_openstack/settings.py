"""What a configuration says of one OpenStack cloud: ``providers: {prod: {type: openstack, cloud: prod, ...}}``."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from csbsctl.model.base import Model
from csbsctl.model.policy import Duration


class RootRestore(enum.StrEnum):
    """How the root volume of a server, which Nova never detaches, is restored in place."""

    AUTO = "auto"
    """By reset where the credentials allow it, else by rebuild where the cloud can, else by replacement."""
    RESET = "reset"
    """An administrator sets the volume available, restores onto it and sets it in use again."""
    REBUILD = "rebuild"
    """The restored bytes become an image as large as the volume, from which Nova rebuilds the server."""
    REPLACE = "replace"
    """A new server takes over ports and data volumes; the old one stays, stopped and renamed."""


class Deadlines(Model):
    """How long each kind of wait may last before it fails; nothing ever waits without end."""

    request: Duration = timedelta(seconds=60)
    """One call of an API."""
    server: Duration = timedelta(minutes=10)
    """Stopping, starting, building and rebuilding a server."""
    snapshot: Duration = timedelta(minutes=10)
    """Making or deleting a snapshot."""
    volume: Duration = timedelta(minutes=10)
    """Creating, attaching and detaching a volume."""
    backup: Duration = timedelta(hours=24)
    """Copying one volume into a backup, the time spent in Cinder's queue included."""
    restore: Duration = timedelta(hours=24)
    """Copying one backup onto a volume."""
    delete: Duration = timedelta(hours=1)
    """Deleting one backup."""
    image: Duration = timedelta(hours=4)
    """Uploading one volume to an image, or one root disk that is no volume; writing an image onto a root disk."""


class OpenStackSettings(Model):
    """One region and project of a cloud, as clouds.yaml or the environment name it."""

    cloud: str | None = None
    """The entry of clouds.yaml; the OS_* variables of the environment when absent."""
    region: str | None = None
    """The region, where the entry has several."""
    project: str | None = None
    """The project's name, where it is not the entry's own."""
    admin_cloud: str | None = None
    """An entry whose credentials may reset the state of volumes: used for that one call and nothing else."""
    root_restore: RootRestore = RootRestore.AUTO
    pause: bool = True
    """Whether a running server may be paused for the moment of its snapshots."""
    max_pause: Duration = timedelta(seconds=30)
    """A server is resumed after this long at the latest, and the backup fails."""
    consistent_group_type: str | None = None
    """A group type of whose driver you vouch that it snapshots all volumes of a group at one instant."""
    snapshots_count_gigabytes: bool = True
    """Whether snapshots count towards the quota of gigabytes; not so where the operator set ``no_snapshot_gb_quota``."""
    container: str | None = None
    """The container or bucket of Cinder's backups, where not its default."""
    backup_availability_zone: str | None = None
    """Where cinder-backup runs, where not in the volume's zone."""
    parallel: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many servers are worked on at once."""
    parallel_disks: Annotated[int, Field(ge=1, le=100)] = 16
    """How many volumes of one server are copied at once: Cinder queues what its hosts have no hands for."""
    parallel_pauses: Annotated[int, Field(ge=1, le=100)] = 4
    """How many servers are paused at once; more would wait for each other's snapshots while they stand still."""
    calls: Annotated[int, Field(ge=1, le=100)] = 16
    """How many API calls may be in flight at once."""
    deadlines: Deadlines = Deadlines()
