"""Garbage collection in two phases, safe beside writers in any number of processes.

A collection marks what the manifests need. Packs without anything marked are *condemned*: a verdict on the doom list
names them, and who was registered or had an open job right after it was stored. From then on nobody new relies on
them: writers read the list after they register, and again before they commit, and store doomed chunks anew. A later
collection, when all of those have ended, marks again and deletes what is still without a mark; what found a
reference in between stays, and its verdict is lifted.

Packs that are mostly dead, and crowds of small ones, are compacted: what lives in them is copied, then they are
condemned like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, Damaged

from .copier import Copier
from .deposit import Check, Deposit
from .doom import Verdict
from .layout import COLLECTOR, PACK_TARGET, PACKS, ChunkName, PackId, pack_key, pack_of_key
from .marks import Marks
from .parts import Parts
from .session import Session, end_session, load_document, session_of, sessions, store_document
from .verify import stored_table

COPIED = Boundary(
    "collect.copied", "the living of mostly dead packs are copied, the packs are not condemned yet"
)
DOOMED = Boundary("collect.doomed", "a verdict is stored, but not yet for whom it has to wait")
UNINDEXED = Boundary("collect.unindexed", "the index has forgotten packs that are about to be deleted")
DELETED = Boundary("collect.deleted", "packs are deleted, their verdict is still listed")

_AT_ONCE = 1000
"""Packs that are deleted in one go: as many as one request to a bucket may name."""
_DEAD_ENOUGH = 0.5
_SMALL = PACK_TARGET // 8
_CROWD = 16
_FORGOTTEN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did, in bytes: deleted, waiting for a later one (condemned now or before), copied by compaction.

    ``busy`` is the job of another collector that was at work, so that nothing was done.
    """

    freed: int = 0
    condemned: int = 0
    copied: int = 0
    busy: str | None = None


class Collector:
    """One collection."""

    def __init__(self, parts: Parts, job: str, open_jobs: frozenset[str], budget: int, check: Check) -> None:
        self._parts = parts
        self._job = job
        self._open_jobs = open_jobs
        self._budget = budget
        self._check = check
        self._lag = timedelta(seconds=parts.lag)
        self._doomed: set[PackId] = set()
        self._lifted: set[str] = set()

    def run(self) -> Collected:
        """Collect; see the module. Raises Damaged while something a manifest needs cannot be read."""
        seat = CollectorSeat(self._parts, self._job, self._open_jobs)
        holder = seat.take()
        if holder is not None:
            return Collected(busy=holder)
        session = Session(self._parts.blobs, self._parts.codec, self._job)
        try:
            return self._collect(seat, session)
        finally:
            session.close()
            seat.leave()

    def _collect(self, seat: CollectorSeat, session: Session) -> Collected:
        parts = self._parts
        # Every pack listed here belongs to a session that is still registered two lines on, or has committed by then.
        sizes = {pack: blob.size for blob in parts.blobs.list(PACKS) if (pack := pack_of_key(blob.key))}
        registered = {each.nonce: each for each in sessions(parts.blobs, parts.codec)}
        verdicts = parts.doom.verdicts()
        now = parts.blobs.now()
        ready = [v for v in verdicts if v.ready(self._open_jobs, registered, now, self._lag)]
        self._end_sessions(ready)
        doomed = self._doomed = {pack for verdict in verdicts for pack in verdict.packs}
        marks = Marks(parts, avoid=doomed, check=self._check)
        sizes = {**parts.index.packs(), **sizes}
        seat.check()
        freed = self._carry_out(ready, marks, sizes, now, seat)
        active = {nonce for nonce, each in registered.items() if each.job in self._open_jobs}
        idle = {pack for pack in sizes if pack not in doomed and session_of(pack) not in active}
        garbage = self._without_anything_missing(
            {pack for pack in idle if pack not in marks.live}, marks, sizes
        )
        compacted, copied = self._compact(session, marks, sizes, idle - garbage, doomed | garbage)
        condemned = garbage | compacted
        seat.check()
        self._condemn(condemned, verdicts, session)
        parts.doom.sweep()
        self._forget_sessions()
        self._forget_lost(marks)
        left = {verdict.id for verdict in verdicts} - self._lifted
        waiting = {pack for verdict in verdicts if verdict.id in left for pack in verdict.packs}
        bytes_left = sum(sizes.get(pack, 0) for pack in condemned | waiting)
        return Collected(freed, bytes_left or min(len(left), 1), copied)

    def _end_sessions(self, ready: Iterable[Verdict]) -> None:
        # A writer that was thought dead and wakes up must not commit what relies on packs that go now.
        for verdict in ready:
            for nonce in verdict.sessions or ():
                end_session(self._parts.blobs, nonce)

    def _carry_out(
        self, ready: list[Verdict], marks: Marks, sizes: dict[PackId, int], now: datetime, seat: CollectorSeat
    ) -> int:
        """Take ready verdicts as far as they may go now, and return the bytes that were freed.

        The index forgets the packs, then they go, then the verdict. Where listings lag each waits until everybody sees
        the one before: else somebody finds no index that knows what is needed, or relies on an index of what is gone.
        The packs that go are those that nothing needs at both looks: what the first did not see the second does.
        """
        dead = {pack for verdict in ready for pack in verdict.packs if pack not in marks.live}
        dead = self._without_anything_missing(dead, marks, sizes)
        fresh = [v for v in ready if not v.past("unindexed", now, self._lag)] if self._lag else []
        if fresh:
            condemned = {pack for verdict in fresh for pack in verdict.packs}
            self._parts.index.supersede(condemned & dead, dead, self._doomed, seat.check)
            for verdict in fresh:
                self._parts.doom.reach(verdict.id, "unindexed", verdict.packs & dead)
        return self._delete([verdict for verdict in ready if verdict not in fresh], dead, sizes, now, seat)

    def _delete(
        self,
        settled: list[Verdict],
        dead: set[PackId],
        sizes: dict[PackId, int],
        now: datetime,
        seat: CollectorSeat,
    ) -> int:
        """Delete the packs of verdicts whose turn it is, once: a verdict that is about to be lifted takes no more."""
        due, done = settled, list[Verdict]()
        if self._lag:
            done = [verdict for verdict in settled if self._parts.doom.reached(verdict.id, "deleted")]
            due = [verdict for verdict in settled if verdict not in done]
        going = {pack for v in due for pack in (v.confirmed if self._lag else v.packs)} & dead
        if going:
            self._parts.index.drop(going, seat.check, self._doomed)
            UNINDEXED()
        keys = sorted(pack_key(pack) for pack in going)
        for start in range(0, len(keys), _AT_ONCE):
            self._check()
            self._parts.blobs.delete_all(keys[start : start + _AT_ONCE])
        for verdict in due:
            DELETED()
            if self._lag:
                self._parts.doom.reach(verdict.id, "deleted")
            else:
                self._lift(verdict)
        for verdict in done:
            if verdict.past("deleted", now, self._lag):
                self._lift(verdict)
        return sum(sizes.pop(pack, 0) for pack in going)

    def _lift(self, verdict: Verdict) -> None:
        self._parts.doom.lift(verdict.id)
        self._lifted.add(verdict.id)

    def _without_anything_missing(
        self, dead: set[PackId], marks: Marks, sizes: dict[PackId, int]
    ) -> set[PackId]:
        """Return the packs without those in which something is that manifests need and the index does not know.

        The tables of the packs are the truth: an index may be lost, or not be listed yet.
        """
        if not marks.absent:
            return dead
        return {pack for pack in dead if not self._has_any(pack, sizes.get(pack, 0), marks.absent)}

    def _has_any(self, pack: PackId, size: int, names: set[ChunkName]) -> bool:
        table = stored_table(self._parts.blobs, self._parts.codec, pack, size) if size else None
        return table is not None and any(name in names for name, _ in table.entries())

    def _compact(
        self,
        session: Session,
        marks: Marks,
        sizes: dict[PackId, int],
        candidates: set[PackId],
        doomed: set[PackId],
    ) -> tuple[set[PackId], int]:
        chosen = self._choose(marks, sizes, candidates)
        if not chosen:
            return set(), 0
        parts = self._parts
        deposit = Deposit(parts.blobs, parts.codec, parts.index, session, doomed | chosen)
        copier = Copier(parts, deposit)
        for pack, name in marks.living_in(chosen):
            self._check()
            try:
                copier.copy(name)
            except Damaged:
                chosen.discard(pack)  # verify and repair deal with it; here it only must not get worse
        copier.finish()
        COPIED()
        return chosen, deposit.stored

    def _choose(self, marks: Marks, sizes: dict[PackId, int], candidates: set[PackId]) -> set[PackId]:
        totals = marks.totals()
        share = {pack: marks.live[pack] / totals[pack] for pack in candidates if totals.get(pack)}
        small = {pack for pack in share if sizes[pack] < _SMALL}
        if len(small) < _CROWD:
            small = set()
        chosen: set[PackId] = set()
        budget = self._budget
        for pack in sorted(share, key=lambda pack: share[pack]):
            cost = round(share[pack] * sizes[pack])
            if cost <= budget and (share[pack] <= 1 - _DEAD_ENOUGH or pack in small):
                chosen.add(pack)
                budget -= cost
        return chosen

    def _condemn(self, packs: set[PackId], verdicts: list[Verdict], session: Session) -> None:
        doom = self._parts.doom
        unfinished = [verdict.id for verdict in verdicts if verdict.sessions is None]
        if packs:
            unfinished.append(doom.condemn(packs))
            DOOMED()
        if unfinished:
            present = {each.nonce: each.job for each in sessions(self._parts.blobs, self._parts.codec)}
            present.pop(session.nonce, None)
            for name in unfinished:
                doom.wait_for(name, present, self._open_jobs - {self._job})

    def _forget_sessions(self) -> None:
        """Deregister those whose process died long ago. A young one may belong to a job we were not told of."""
        long_ago = self._parts.blobs.now() - _FORGOTTEN
        for each in sessions(self._parts.blobs, self._parts.codec):
            if each.job not in self._open_jobs and each.modified < long_ago:
                end_session(self._parts.blobs, each.nonce)

    def _forget_lost(self, marks: Marks) -> None:
        for key, names in self._parts.lost_lists().items():
            if not any(name in marks.absent for name in names):
                self._parts.blobs.delete(key)


class CollectorSeat:
    """There is one collector at a time: the seat is a numbered key, and the next number takes over from the dead."""

    def __init__(self, parts: Parts, job: str, open_jobs: frozenset[str]) -> None:
        self._parts = parts
        self._job = job
        self._open_jobs = open_jobs
        self._key = ""

    def take(self) -> str | None:
        """Take the seat; return the job that has it instead, if its process may be alive."""
        held = self._held()
        busy = self._alive(held)
        if busy:
            return busy
        number = max((int(key.rpartition("/")[2]) for key in held), default=0) + 1
        self._key = f"{COLLECTOR}{number:010}"
        try:
            store_document(self._parts.blobs, self._parts.codec, self._key, {"job": self._job})
        except BlobExists:
            return "another"
        others = {key: job for key, job in self._held().items() if key != self._key}
        busy = self._alive({key: job for key, job in others.items() if key not in held})
        if busy:
            self.leave()
            return busy
        for key in others:
            self._parts.blobs.delete(key)
        return None

    def check(self) -> None:
        """Make sure that nobody took over. Raises Conflict."""
        try:
            self._parts.blobs.get(self._key)
        except BlobNotFound:
            raise Conflict(f"another collection took over from job {self._job}") from None

    def leave(self) -> None:
        """Give the seat up."""
        self._parts.blobs.delete(self._key)

    def _alive(self, held: dict[str, str]) -> str | None:
        return next((job for job in held.values() if job in self._open_jobs and job != self._job), None)

    def _held(self) -> dict[str, str]:
        held = {}
        for key in [blob.key for blob in self._parts.blobs.list(COLLECTOR)]:
            with suppress(BlobNotFound):
                held[key] = str(load_document(self._parts.blobs, self._parts.codec, key).get("job", ""))
        return held
