"""Backups as the catalogue records them (csbs.md 1.2 to 1.4 and 1.10, design section 7)."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from pydantic import Field

from csbsctl.model.base import Record
from csbsctl.model.policy import Consistency


class BackupState(enum.StrEnum):
    """States of csbs.md 1.10."""

    WAITING_PROTECT = "waiting_protect"
    PROTECTING = "protecting"
    AVAILABLE = "available"
    WAITING_RESTORE = "waiting_restore"
    RESTORING = "restoring"
    WAITING_DELETE = "waiting_delete"
    DELETING = "deleting"
    ERROR = "error"
    DELETED = "deleted"


class Trigger(enum.StrEnum):
    """Who asked: the schedule, or a hand (safety backups and ``policy run`` included)."""

    AUTO = "auto"
    MANUAL = "manual"


class Kind(enum.StrEnum):
    """Whether the data was taken whole or as what changed since the parent; each restores the whole server."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Verification(enum.StrEnum):
    """What the last verification of the data said."""

    NONE = "none"
    PASSED = "passed"
    FAILED = "failed"


class StoredVolume(Record):
    """One disk's part of a backup. ``size`` is the disk's bytes, ``stored`` the bytes this backup added.

    ``ref`` is the provider's name for the data; ``parent`` is the ref without which this one cannot be restored
    (None where the provider's data stands alone); ``extra`` is for the provider alone. ``successors`` are the IDs of
    disks that took this disk's place in restores: they are the same disk under another ID.
    """

    volume_id: str
    name: str
    size: int
    bootable: bool
    position: int
    ref: str
    kind: Kind
    stored: int
    parent: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    successors: tuple[str, ...] = ()


class ServerRef(Record):
    """The server a backup was made of."""

    id: str
    name: str


class Backup(Record):
    """One server at one instant. Only ``available`` ones can be restored; ``taken_at`` is the instant itself."""

    id: str
    name: str
    description: str = ""
    server: ServerRef
    provider: str
    stack: str | None = None
    policy: str | None = None
    slot: datetime | None = None
    trigger: Trigger
    state: BackupState
    job: str
    expired: bool = False
    """Retention let go of it, but something that stays depends on its data."""
    protected: bool = False
    verification: Verification = Verification.NONE
    verified_at: datetime | None = None
    consistency: Consistency = Consistency.NONE
    method: str = ""
    """How the consistency was reached, in a word: ``reflink``, ``copy-before-write``, ``pause``, ``stopped`` ..."""
    evidence: dict[str, Any] = Field(default_factory=dict)
    kind: Kind = Kind.FULL
    instant_restore: bool = False
    volumes: tuple[StoredVolume, ...] = ()
    started_at: datetime
    taken_at: datetime | None = None
    finished_at: datetime | None = None
    availability_zone: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    images: tuple[str, ...] = ()
    spec: dict[str, Any] = Field(default_factory=dict)
    """Enough to build the server anew; the provider's own words."""
    error: dict[str, Any] | None = None
    """Code, message and hint of what went wrong."""

    @property
    def good(self) -> bool:
        """Whether it is whole, restorable and not known to be damaged: what retention and recovery points count."""
        return (
            self.state in (BackupState.AVAILABLE, BackupState.WAITING_RESTORE, BackupState.RESTORING)
            and self.verification is not Verification.FAILED
            and not self.expired
        )

    @property
    def size(self) -> int:
        """Return the bytes of all its disks."""
        return sum(volume.size for volume in self.volumes)

    @property
    def stored(self) -> int:
        """Return the bytes this backup added to the store."""
        return sum(volume.stored for volume in self.volumes)

    @property
    def instant(self) -> datetime:
        """Return the recovery point: when the data was current."""
        return self.taken_at or self.started_at
