"""Jobs: multi-step operations with a journal, so that whoever comes next can finish or undo them (design section 2.5)."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from csbsctl.model.base import Record

REFUSED = "refused"
"""The step of a deletion that says what could not be deleted yet."""


class JobKind(enum.StrEnum):
    """What a job does."""

    BACKUP = "backup"
    RESTORE = "restore"
    FETCH = "fetch"
    IMAGE = "image"
    DELETE = "delete"
    PRUNE = "prune"
    VERIFY = "verify"
    COLLECT = "collect"


class JobState(enum.StrEnum):
    """Where a job stands. A running job whose runner is gone is picked up by the next command."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Job(Record):
    """One operation: what it intends, which steps are done and what they gave, how it ended.

    ``intent`` is all that is needed to continue it; ``steps`` maps the names of finished steps to their results.
    """

    id: str
    kind: JobKind
    state: JobState
    provider: str
    server: str | None = None
    server_name: str | None = None
    backup: str | None = None
    policy: str | None = None
    slot: datetime | None = None
    intent: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    runner: str
    fence: int
    by: str = ""
    started_at: datetime
    finished_at: datetime | None = None
    error: dict[str, Any] | None = None

    @property
    def refused(self) -> dict[str, str]:
        """Return which backups a cloud refused to delete when the job was last tried, by ID, and why."""
        return dict(self.steps.get(REFUSED) or {})
