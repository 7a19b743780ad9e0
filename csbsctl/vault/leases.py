"""Leases: one runner at a time works on a server, and one that wakes from the dead does no harm.

A lease is a series of generations, so taking it is compare-and-swap. Its number grows with every holder and fences:
a taker-over first writes the higher number into the server's catalogue, where compare-and-swap refuses the old one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from csbsctl.blobs import BlobNotFound
from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock, format_instant
from csbsctl.errors import Conflict, Damaged, LeaseLost, StoreUnavailable
from csbsctl.vault.catalogue import Catalogue
from csbsctl.vault.documents import Codec
from csbsctl.vault.naming import server_segment, split_segment
from csbsctl.vault.runners import Runner, Witness
from csbsctl.vault.series import Generation, Series
from csbsctl.vault.stores.contract import Store

FOLDER = "leases"

FENCED = Boundary("lease.fenced", "the server's catalogue carries the taker-over's number, the lease not yet")
TAKEN = Boundary("lease.taken", "a lease is taken, nothing was done under it")
RELEASED = Boundary("lease.released", "a lease is given back")

_RECHECK = 0.5
"""Seconds for which a distant store's answer about a lease is believed."""

_POLL = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a server, as ``Leases.holders`` tells."""

    provider: str
    server: str
    number: int
    runner: str
    since: str
    alive: bool


class Lease:
    """The right to work on one server, until released or taken over. ``number`` fences: the higher one is right."""

    def __init__(self, leases: Leases, segment: str, generation: Generation) -> None:
        self.number: int = generation.body["number"]
        self.provider, self.server = split_segment(segment)
        self._leases = leases
        self._segment = segment
        self._generation = generation
        self._checked = float("-inf")
        self._gone = False
        self._released = False

    def check(self) -> None:
        """Make sure the server is still ours; call it right before every call that changes something.

        Raises:
            LeaseLost: another runner took over, or the lease was released.
        """
        if self._gone or self._released:
            raise self._lost()
        if not self._leases.trusted_since(self._checked):
            now = self._leases.clock.monotonic()
            if not self._leases.stands(self._segment, self._generation):
                self._gone = True
                raise self._lost()
            self._checked = now

    def release(self) -> None:
        """Give the server back. Harmless when called twice, when the lease was lost, and when the store is away."""
        if self._released:
            return
        self._released = True
        if self._gone:
            self._leases.forget(self._segment)
        else:
            self._leases.give_back(self._segment, self._generation)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"another runner took over {self.server} ({self.provider}) after lease {self.number}",
            hint="what was under way is finished or undone by that runner",
        )


class Leases:
    """Takes and gives back leases for this process's runner; safe to use from many threads."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        *,
        clock: Clock,
        runner: Runner,
        witness: Witness,
        catalogue: Catalogue,
    ) -> None:
        self.clock = clock
        self.runner = runner
        self._store = store
        self._codec = codec
        self._witness = witness
        self._catalogue = catalogue
        self._held: set[str] = set()
        self._unreturned: set[str] = set()
        self._lock = threading.Lock()
        """Guards ``_held``, the segments that this process has or is about to take, and ``_unreturned``, those that
        it could not give back while the store was away, or may have taken without hearing of it."""

    def acquire(self, provider: str, server: str, *, patience: float = 0.0) -> Lease:
        """Take the lease of a server, from a dead runner if need be.

        ``patience`` is for how many seconds to wait for the holder to finish or to be found dead; a runner on another
        machine counts as dead only after a minute of watching, so give more than that to take over from it.

        Raises:
            Conflict: somebody else works on the server (code ``lease.held``).
        """
        deadline = self.clock.monotonic() + patience
        while True:
            try:
                return self._try(provider, server)
            except Conflict:
                left = deadline - self.clock.monotonic()
                if left <= 0:
                    raise
                self.clock.sleep(min(_POLL, left, max(self._witness.silence / 10, 0.01)))

    @property
    def silence(self) -> float:
        """Seconds for which a silent runner of another machine is watched before it counts as gone."""
        return self._witness.silence

    def settle(self, runner: str, wait: Callable[[float], bool]) -> bool:
        """Tell whether a runner is alive, watching one of another machine for as long as that takes; see Witness."""
        return runner == self.runner.id or self._witness.settle(runner, wait)

    def release_the_dead(self) -> int:
        """Give back the leases of runners that are gone, forget those runners, and return how many leases it was.

        Looks through the leases only when there is a runner that ended without saying so.
        """
        known = self._witness.known()
        dead = {runner for runner in known if runner != self.runner.id and not self._witness.alive(runner)}
        released = 0
        for holder in self.holders() if dead else ():
            if holder.runner in dead:
                with suppress(Conflict):
                    self.acquire(holder.provider, holder.server).release()
                    released += 1
        settled = self._store.now() - timedelta(seconds=self._store.lag) if dead else None
        for runner in dead:
            if settled and known[runner] <= settled:  # else a lease of it may not be listed yet
                self._witness.forget(runner)
        return released

    def holders(self) -> list[Holder]:
        """Return every lease that is held, by the living and the dead; ``vault check`` finds the unreadable ones."""
        held = []
        for segment in self._store.folders(FOLDER + "/"):
            with suppress(Damaged):
                held.append(self.holder(*split_segment(segment)))
        return [holder for holder in held if holder is not None]

    def holder(self, provider: str, server: str) -> Holder | None:
        """Return who has a server; None when nobody has."""
        body = self._series(server_segment(provider, server)).head().body
        if not body.get("runner"):
            return None
        alive = body["runner"] == self.runner.id or self._witness.alive(body["runner"])
        return Holder(provider, server, body["number"], body["runner"], body["since"], alive)

    def stands(self, segment: str, generation: Generation) -> bool:
        """Tell whether nothing was written after a generation of a lease."""
        try:
            self._store.get(self._series(segment).key(generation.number + 1), 0, 1)
        except BlobNotFound:
            return True
        return False

    def trusted_since(self, moment: float) -> bool:
        """Tell whether an answer of a moment (monotonic) is recent enough: on a near store none ever is."""
        return self._store.remote and self.clock.monotonic() - moment < _RECHECK

    def give_back(self, segment: str, generation: Generation) -> None:
        """Commit the end of a lease, if it is ours still; where the store is away that waits for ``close``."""
        try:
            self._series(segment).commit(generation, _body(generation.body["number"], None, self.clock))
            RELEASED()
        except Conflict:  # taken over
            pass
        except StoreUnavailable:
            with self._lock:
                self._unreturned.add(segment)
        finally:
            self.forget(segment)

    def forget(self, segment: str) -> None:
        """Note that this process works under a lease no longer, so that it may take it again."""
        self._drop(segment)
        self.runner.let_go()

    def close(self) -> bool:
        """Give back what could not be given back before; tell whether nothing is left to this process."""
        return all(self._let_be(segment) for segment in sorted(self._unreturned))

    def _let_be(self, segment: str) -> bool:
        """Give a lease back if it is ours after all; tell whether it is nobody's concern here any more."""
        series = self._series(segment)
        try:
            head = series.head()
            if head.body.get("runner") == self.runner.id:
                series.commit(head, _body(int(head.body["number"]), None, self.clock))
        except Conflict:  # taken over
            return True
        except (Damaged, StoreUnavailable):
            return False
        return True

    def _try(self, provider: str, server: str) -> Lease:
        segment = server_segment(provider, server)
        with self._lock:
            if segment in self._held:
                raise _held(server, "this process", None)
            self._held.add(segment)
        try:
            self.runner.hold()
        except BaseException:
            self._drop(segment)
            raise
        try:
            generation = self._take(segment, provider, server)
        except BaseException:
            self._drop(segment)
            self.runner.let_go()
            raise
        TAKEN()
        return Lease(self, segment, generation)

    def _take(self, segment: str, provider: str, server: str) -> Generation:
        series = self._series(segment)
        head = series.head()
        holder = head.body.get("runner")
        highest = self._catalogue.fence(
            provider, server
        )  # above the lease's own when somebody removed leases by hand
        number = max(int(head.body.get("number", 0)), highest) + 1
        if holder:
            if holder != self.runner.id and self._witness.alive(holder):
                raise _held(server, str(self._witness.look(holder) or holder), head.body.get("since"))
            self._catalogue.update(provider, server, lambda backups: backups, fence=number)
            FENCED()
        try:
            return series.commit(head, _body(number, self.runner.id, self.clock))
        except Conflict:
            raise _held(server, "another runner, this very moment", None) from None
        except StoreUnavailable:
            with self._lock:
                self._unreturned.add(segment)
            raise

    def _drop(self, segment: str) -> None:
        with self._lock:
            self._held.discard(segment)

    def _series(self, segment: str) -> Series:
        return Series(self._store, self._codec, f"{FOLDER}/{segment}")


def _body(number: int, runner: str | None, clock: Clock) -> dict[str, Any]:
    return {"number": number, "runner": runner, "since": format_instant(clock.now())}


def _held(server: str, holder: str, since: str | None) -> Conflict:
    when = f" since {since}" if since else ""
    return Conflict(
        f"{server} is being worked on by {holder}{when}",
        hint="wait until that is done; a runner that died is taken over from by itself",
        code="lease.held",
    )
