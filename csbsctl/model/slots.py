"""What became of the slots of one policy on one server: kept beside the server's backups, which may be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from csbsctl.model.base import Record

_KEPT = 50
"""How many missed and skipped slots are remembered each."""


AHEAD = timedelta(minutes=5)
"""Instants further in the future than this come from a clock that was wrong, then or now."""


def not_ahead(instants: Iterable[datetime | None], now: datetime) -> list[datetime]:
    """Return the instants that can be believed at ``now``; None is nothing to believe."""
    return [instant for instant in instants if instant is not None and instant - now <= AHEAD]


class SlotLog(Record):
    """The newest slot that was dealt with in whatever way, and the newest of those that gave no backup."""

    last: datetime | None = None
    missed: tuple[datetime, ...] = ()
    skipped: tuple[datetime, ...] = ()
    released: datetime | None = None
    """When a run found that the server is not in the policy any more, whose backups of it stay as they are since."""

    def as_of(self, now: datetime, served: Iterable[datetime] = ()) -> SlotLog:
        """Return the log without what a clock that ran ahead wrote into it: else nothing were due until then.

        ``served`` are slots that are known to have given backups. They tell how far the log came before: slots that
        were called missed after them were perhaps not even reached, and are looked at once more.
        """
        if self.last is None or self.last - now <= AHEAD:
            return self
        known = max((slot for slot in served if slot <= now), default=None)
        until = known or now
        missed = tuple(slot for slot in self.missed if slot <= until)
        skipped = tuple(slot for slot in self.skipped if slot <= until)
        past = (*missed, *skipped, *([known] if known else ()))
        return SlotLog(last=max(past, default=None), missed=missed, skipped=skipped, released=self.released)

    def taken(self, slot: datetime) -> SlotLog:
        """Return the log after a slot was used, whether or not the backup was good."""
        return self._with(slot)

    def with_missed(self, slots: tuple[datetime, ...]) -> SlotLog:
        """Return the log after slots were found to have passed unused; those already known change nothing."""
        new = tuple(slot for slot in slots if self.last is None or slot > self.last)
        if not new:
            return self
        log = self._with(max(new))
        return log.model_copy(update={"missed": (*self.missed, *new)[-_KEPT:]})

    def with_skipped(self, slot: datetime) -> SlotLog:
        """Return the log after a slot was passed over because the server was busy."""
        return self._with(slot).model_copy(update={"skipped": (*self.skipped, slot)[-_KEPT:]})

    def let_go(self, at: datetime | None) -> SlotLog:
        """Return the log after the server left the policy, or (None) came back."""
        return self.model_copy(update={"released": at})

    def _with(self, slot: datetime) -> SlotLog:
        return self.model_copy(update={"last": max(self.last, slot) if self.last else slot})
