"""How much would be lost, day by day: the age of the newest recovery point while backups come as scheduled.

Pure; knows nothing of jobs that fail, nor of what retention deletes: the newest good backup is never deleted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from csbsctl.rules.outlook import Outlook


@dataclass(frozen=True, slots=True)
class Ages:
    """The recovery point of some servers of one policy, judged by the one that is worst off.

    ``newest`` is its newest recovery point; None where a server has no good backup yet.
    """

    newest: datetime | None
    slots: Sequence[datetime]

    @classmethod
    def of(cls, newest: Sequence[datetime | None], outlook: Outlook) -> Self:
        """Return the ages of servers with these newest recovery points; None for one that has none."""
        known = [point for point in newest if point is not None]
        return cls(min(known) if known and len(known) == len(newest) else None, outlook.slots)

    def worst(self, start: datetime, end: datetime) -> timedelta | None:
        """Return the greatest age in ``[start, end]``; None while a server has no backup at all."""
        first, last = bisect_right(self.slots, start), bisect_right(self.slots, end)
        point = self.slots[first - 1] if first else self.newest
        worst = timedelta(0)
        for moment in (*self.slots[first:last], end):
            if point is None:
                return None
            worst, point = max(worst, moment - point), moment
        return worst
