"""Runners: who works on servers, and how others know that they are alive (design: one heartbeat object a runner).

A heartbeat is a counter, not a time: wall clocks of different machines do not matter. Whoever wants to know watches
whether it moves, on its own monotonic clock.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from csbsctl.blobs import BlobNotFound
from csbsctl.clock import Clock, format_instant, parse_instant
from csbsctl.errors import StoreUnavailable
from csbsctl.ids import new_id
from csbsctl.vault.documents import FORMAT, damaged, newer
from csbsctl.vault.processes import ProcessIdentity, this_process
from csbsctl.vault.stores.contract import Store

FOLDER = "runners"

HEARTBEAT = 20.0
"""Seconds between two heartbeats."""

SILENCE = 60.0
"""Seconds without a heartbeat, seen by the one who waits, after which a runner elsewhere counts as gone."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a runner last said of itself."""

    runner: str
    process: ProcessIdentity
    actor: str
    began: datetime
    beat: int

    def __str__(self) -> str:
        return f"{self.actor or 'somebody'} (process {self.process.pid} on {self.process.host})"


class Runner:
    """This process as a runner: keeps its heartbeat moving while it holds leases."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        actor: str,
        *,
        interval: float = HEARTBEAT,
        process: ProcessIdentity | None = None,
    ) -> None:
        self.id = new_id()
        self.process = process or this_process()
        self._store = store
        self._clock = clock
        self._actor = actor
        self._interval = interval
        self._began = clock.now()
        self._beat = 0
        self._last = float("-inf")
        self._holding = 0
        self._lock = threading.Lock()
        """Guards the counters above and the thread below."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """Note that one more lease is held (or about to be), with a heartbeat that is fresh."""
        with self._lock:
            if self._clock.monotonic() - self._last >= self._interval:
                self._send()
            self._holding += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def let_go(self) -> None:
        """Note that one lease less is held."""
        with self._lock:
            self._holding -= 1

    def close(self, *, leave: bool = False) -> None:
        """Stop the heartbeat and remove it: a runner that has none is gone.

        ``leave`` it where it is when leases are left, so that whoever finds it dead looks for them.
        """
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join()
        if leave:
            return
        try:
            self._store.delete(f"{FOLDER}/{self.id}")
        except StoreUnavailable:  # others find out by its silence
            return

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                if not self._holding:
                    continue
                try:
                    self._send()
                except (
                    StoreUnavailable
                ):  # the next beat may get through; leases are checked before every change
                    continue

    def _send(self) -> None:
        self._beat += 1
        text = {
            "format": FORMAT,
            "runner": self.id,
            "process": asdict(self.process),
            "actor": self._actor,
            "began": format_instant(self._began),
            "beat": self._beat,
        }
        self._store.put(f"{FOLDER}/{self.id}", json.dumps(text).encode())
        self._last = self._clock.monotonic()


class Witness:
    """Judges whether other runners are alive, by what this process itself has seen."""

    def __init__(self, store: Store, clock: Clock, *, silence: float = SILENCE) -> None:
        self.silence = silence
        self._store = store
        self._clock = clock
        self._me = this_process()
        self._seen: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        """Guards ``_seen``: runner -> last heartbeat number and when it was first seen (monotonic seconds)."""

    def look(self, runner: str) -> Heartbeat | None:
        """Return a runner's heartbeat; None when it has none (it ended, or never worked)."""
        key = f"{FOLDER}/{runner}"
        try:
            stored = self._store.get(key)
        except BlobNotFound:
            return None
        return _parse(key, stored)

    def _at_work_here(self, process: ProcessIdentity) -> bool:
        return self._me.same_machine(process) and process.running() and not process.stopped()

    def alive(self, runner: str) -> bool:
        """Tell whether a runner must be taken for alive.

        Of this machine: dead at once when its process is gone. Otherwise (it is elsewhere, or it was stopped): until we
        saw its heartbeat unchanged for long enough.
        """
        heartbeat = self.look(runner)
        if heartbeat is None:
            return False
        if self._me.same_machine(heartbeat.process) and not heartbeat.process.running():
            return False
        now = self._clock.monotonic()
        with self._lock:
            beat, since = self._seen.get(runner, (heartbeat.beat - 1, now))
            if beat != heartbeat.beat:
                since = now
            self._seen[runner] = heartbeat.beat, since
        return now - since < self.silence

    def known(self) -> dict[str, datetime]:
        """Return the runners that have a heartbeat, of the living and the dead, and when the store took the last one."""
        return {blob.key.rpartition("/")[2]: blob.modified for blob in self._store.list(FOLDER + "/")}

    def forget(self, runner: str) -> None:
        """Remove the heartbeat of a runner that is gone."""
        self._store.delete(f"{FOLDER}/{runner}")

    def settle(self, runner: str, wait: Callable[[float], bool]) -> bool:
        """Watch a runner until it shows life or has been silent for long enough; return whether it is alive.

        Of this machine that takes no time, elsewhere up to ``silence``. ``wait(seconds)`` returns True to give up.
        """
        first = self.look(runner)
        while first is not None and self.alive(runner):
            now = self.look(runner)
            if now is not None and (now.beat != first.beat or self._at_work_here(now.process)):
                return True
            if wait(min(1.0, self.silence / 10)):
                return True
        return False


def _parse(key: str, stored: bytes) -> Heartbeat:
    try:
        text: dict[str, Any] = json.loads(stored)
        if text["format"] != FORMAT:
            raise newer(key, text["format"])
        return Heartbeat(
            text["runner"],
            ProcessIdentity(**text["process"]),
            text["actor"],
            parse_instant(text["began"]),
            int(text["beat"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(key, "it is no heartbeat") from error
