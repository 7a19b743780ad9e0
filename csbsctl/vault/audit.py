"""The audit trail: who did what, in batches, chained per writer by digests, so that a change or a hole shows.

What it proves: nobody altered or removed an event that is followed by another batch, or whose batch's digest was
anchored elsewhere (in a control generation, or on somebody's screen). What it cannot prove: that no tail was cut off
which no anchor covers. With a key the batches are signed too, so that nobody without it can forge any.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock
from csbsctl.errors import Conflict, Damaged, NotFound
from csbsctl.vault.documents import Codec
from csbsctl.vault.events import cadf_event
from csbsctl.vault.naming import writer_segment
from csbsctl.vault.series import Generation, Series, numbers_of
from csbsctl.vault.stores.contract import Store

FOLDER = "audit"

FLUSHED = Boundary("audit.flushed", "a batch of events is in the trail")

_BATCH = 500
"""Events after which a batch is written without being asked."""

_ATTEMPTS = 20


class Signer(Protocol):
    """Signs batches with the vault's key."""

    def sign(self, message: bytes) -> str:
        """Return a signature."""
        ...

    def verify(self, message: bytes, signature: str) -> bool:
        """Tell whether ``sign`` made it."""
        ...


class Trail:
    """Records and verifies events; safe to use from many threads.

    A writer is an actor (user and host): two processes of one actor share a chain by compare-and-swap.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        *,
        clock: Clock,
        actor: str,
        vault: str,
        signer: Signer | None = None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._actor = actor
        self._vault = vault
        self._signer = signer
        self._writer = writer_segment(actor)
        self._known: Generation | None = None
        self._buffer: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        """Guards the buffer and the chain's known head."""

    def record(
        self,
        action: str,
        *,
        resource_type: str,
        resource_id: str,
        outcome: str = "success",
        reason: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Note that something was done, refused or failed (``outcome``); durable after ``flush``."""
        event = cadf_event(
            action,
            at=self._clock.now(),
            actor=self._actor,
            observer=self._vault,
            resource_type=resource_type,
            resource_id=resource_id,
            outcome=outcome,
            reason=reason,
            details=details,
        )
        with self._lock:
            self._buffer.append(event)
            if len(self._buffer) >= _BATCH:
                self.flush()

    def flush(self) -> None:
        """Write what was recorded as one batch at the end of this writer's chain."""
        with self._lock:
            if not self._buffer:
                return
            for attempt in range(_ATTEMPTS):
                series, base = self._end_of_chain()
                try:
                    self._known = series.commit(base, self._batch(base))
                except Conflict:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    self._known = None
                    continue
                break
            self._buffer.clear()
            FLUSHED()

    def _end_of_chain(self) -> tuple[Series, Generation]:
        """Return this writer's chain and its last batch; a chain whose end is damaged is left, a new one begun beside it.

        What happened must be recorded on the worst day, too; ``verify`` goes on naming the damage.
        """
        for number in itertools.count(2):
            series = self._series(self._writer)
            try:
                return series, series.head(self._known)
            except Damaged:
                self._writer, self._known = f"{writer_segment(self._actor)}~{number}", None
        raise AssertionError  # pragma: no cover - count does not end

    def heads(self) -> dict[str, str]:
        """Return the digest of the newest batch of every writer: what anchors the trail as it is now.

        A chain whose end is damaged anchors nothing any more.
        """
        heads = {}
        for writer in self.writers():
            with contextlib.suppress(Damaged):
                heads[writer] = self._series(writer).head().digest
        return heads

    def writers(self) -> list[str]:
        """Return the names of the chains."""
        return list(self._store.folders(FOLDER + "/"))

    def events(self, damage: Callable[[Damaged], None] | None = None) -> Iterator[dict[str, Any]]:
        """Yield every event, oldest first; a batch that cannot be read is handed to ``damage``, or raises Damaged."""
        with self._lock:
            waiting = list(self._buffer)
        found = [
            event
            for writer in self.writers()
            for batch in self._batches(writer, damage)
            for event in _events(batch)
        ]
        yield from sorted(found + waiting, key=lambda event: str(event["eventTime"]))

    def verify(self, anchor: str | None = None, *, anchors: dict[str, set[str]] | None = None) -> list[str]:
        """Return what is wrong with the trail; empty when it is whole.

        ``anchor`` is a batch's digest (or several, with commas) that somebody kept; ``anchors`` maps writers to
        digests from control generations. Each must be found in the trail, with everything before it.
        """
        problems: list[str] = []
        digests = {writer: self._verify_chain(writer, problems) for writer in self.writers()}
        everything = set().union(*digests.values()) if digests else set()
        kept = (anchor or "").replace(",", " ").split()
        problems += [
            f"no batch has the digest {wanted}: the trail was cut off or rewritten"
            for wanted in kept
            if wanted not in everything
        ]
        problems += [
            f"audit/{writer}: the batch {wanted[:16]} that a control generation anchors is not there"
            for writer, anchored in (anchors or {}).items()
            for wanted in sorted(anchored - digests.get(writer, set()))
        ]
        return problems

    def _verify_chain(self, writer: str, problems: list[str]) -> set[str]:
        series = self._series(writer)
        digests: set[str] = set()
        expected, previous = 1, ""
        for number in numbers_of(self._store.keys(series.prefix + "/"), series.prefix):
            if number != expected:
                problems.append(f"{series.prefix}: batches {expected} to {number - 1} are missing")
            try:
                batch = series.at(number)
            except (Damaged, NotFound) as error:
                problems.append(str(error))
                expected, previous = number + 1, ""
                continue
            if previous and batch.previous != previous:
                problems.append(f"{series.key(number)} does not follow the batch before it")
            problems += self._verify_signature(series.key(number), batch)
            digests.add(batch.digest)
            expected, previous = number + 1, batch.digest
        return digests

    def _verify_signature(self, key: str, batch: Generation) -> list[str]:
        if self._signer is None:
            return []
        message = _signed(self._vault, batch.number, batch.previous, batch.body.get("events", []))
        if self._signer.verify(message, str(batch.body.get("signature", ""))):
            return []
        return [f"{key} is not signed with the vault's key"]

    def _batch(self, base: Generation) -> dict[str, Any]:
        body: dict[str, Any] = {"writer": self._writer, "events": self._buffer}
        if self._signer is not None:
            body["signature"] = self._signer.sign(
                _signed(self._vault, base.number + 1, base.digest, self._buffer)
            )
        return body

    def _batches(self, writer: str, damage: Callable[[Damaged], None] | None) -> Iterator[Generation]:
        series = self._series(writer)
        for number in series.numbers():
            try:
                yield series.at(number)
            except Damaged as error:
                if damage is None:
                    raise
                damage(error)

    def _series(self, writer: str) -> Series:
        return Series(self._store, self._codec, f"{FOLDER}/{writer}", keep=None)


def _events(batch: Generation) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = batch.body.get("events", [])
    return events


def _signed(vault: str, number: int, previous: str, events: list[dict[str, Any]]) -> bytes:
    """Return what a signature covers: the place in the chain, and the events in canonical JSON."""
    return json.dumps([vault, number, previous, events], sort_keys=True, separators=(",", ":")).encode()
