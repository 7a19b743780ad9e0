"""Which backups can be restored instantly: the decision table of csbs.md 1.4, and nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from csbsctl.model.backup import Backup, Kind, Trigger


class Eligibility(enum.StrEnum):
    """The row of the table that decided; the reason to show."""

    BEFORE_FEATURE = "taken before instant restore was there"
    ENABLING_FULL = "a full backup asked for by hand"
    BUILT_ON_ENABLING = "an increment of a full backup that was asked for by hand"
    NO_EARLIER_BACKUPS = "made by hand, and the server has no backups from before instant restore"
    NOT_ENABLED = "the server has older backups, and no full backup by hand since"
    AUTOMATIC_NOT_ENABLED = "automatic, and no full backup by hand has been made yet"

    @property
    def eligible(self) -> bool:
        """Return whether the backup can be restored instantly."""
        return self in (
            Eligibility.ENABLING_FULL,
            Eligibility.BUILT_ON_ENABLING,
            Eligibility.NO_EARLIER_BACKUPS,
        )


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the table asks about a backup."""

    taken_at: datetime
    trigger: Trigger
    kind: Kind
    full_requested: bool
    """"Full" was asked for, rather than being a server's first backup by nature."""
    server_has_older: bool
    """The server has backups from before the feature date."""
    stands_on_enabling: bool
    """It is an increment whose full backup ``enables``."""


def instant_restore(backup: Circumstances, feature_date: datetime) -> Eligibility:
    """Return whether a backup can be restored instantly, as the row of the table that says so."""
    if backup.taken_at < feature_date:
        return Eligibility.BEFORE_FEATURE
    if backup.kind is Kind.INCREMENTAL and backup.stands_on_enabling:
        return Eligibility.BUILT_ON_ENABLING
    if backup.trigger is Trigger.AUTO:
        return Eligibility.AUTOMATIC_NOT_ENABLED
    if backup.kind is Kind.FULL and backup.full_requested:
        return Eligibility.ENABLING_FULL
    return Eligibility.NOT_ENABLED if backup.server_has_older else Eligibility.NO_EARLIER_BACKUPS


def enables(backup: Backup) -> bool:
    """Return whether the increments of a backup can be restored instantly: a full one by hand that can itself."""
    return backup.kind is Kind.FULL and backup.trigger is Trigger.MANUAL and backup.instant_restore
