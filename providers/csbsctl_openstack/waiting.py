"""Waiting for things in the cloud: always with a deadline, always knowing the states that mean failure.

A Hub lets hundreds of threads wait cheaply: one poller asks for all that are waited for, singly while they are few and
by listing when they are many. Knows states as words; what they mean for a step is the caller's affair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from csbsctl.clock import Clock
from csbsctl.errors import CloudUnavailable, ProviderError, ResourceNotFound

Json = dict[str, Any]
GONE: Json = {"status": "gone"}
"""What a waiter sees of a thing that is not there any more."""
FAILED = frozenset(
    {"error", "error_deleting", "error_restoring", "error_extending", "error_managing", "killed"}
)
_LIST_FROM = 4
_COALESCE = 0.1
_SLOWEST = 5.0
_SHARE = 10
"""A look is worth a tenth of what was waited already."""


def poll(
    look: Callable[[], Json],
    done: Callable[[Json], bool],
    *,
    clock: Clock,
    deadline: timedelta,
    what: str,
    every: float = 0.5,
    check: Callable[[], None] = lambda: None,
) -> Json:
    """Return the first look that is done, asking at a slowing pace. Raises CloudUnavailable past the deadline."""
    begun = clock.monotonic()
    while True:
        seen = look()
        if done(seen):
            return seen
        check()
        waited = clock.monotonic() - begun
        if waited > deadline.total_seconds():
            raise CloudUnavailable(f"{what}: still {seen.get('status')} after {deadline}")
        clock.sleep(min(max(every, waited / _SHARE), _SLOWEST))


@dataclass(slots=True)
class _Ticket:
    """One waiter: whom it waits for, what was last seen, and the signal that there is news."""

    wanted: str
    born: float
    news: threading.Event = field(default_factory=threading.Event)
    seen: Json | None = None
    error: ProviderError | None = None


class Hub:
    """Waits for many things of one kind with few calls.

    Args:
        one: asks for one thing by ID; raises ResourceNotFound.
        many: yields all things of the kind, the newest first.
    """

    def __init__(
        self,
        one: Callable[[str], Json],
        many: Callable[[], Iterable[Json]],
        clock: Clock,
        *,
        fastest: float = 1.0,
    ) -> None:
        self._one = one
        self._many = many
        self._clock = clock
        self._fastest = fastest
        self._lock = threading.Lock()
        self._tickets: list[_Ticket] = []
        """Guarded by ``_lock``; the poller thread lives while it is not empty."""
        self._wake = threading.Event()
        self._running = False

    def wait(
        self,
        wanted: str,
        done: Callable[[Json], bool],
        *,
        deadline: timedelta,
        what: str,
        check: Callable[[], None] = lambda: None,
    ) -> Json:
        """Return the thing once it is done (GONE when it is not there). Raises CloudUnavailable past the deadline."""
        end = self._clock.monotonic() + deadline.total_seconds()
        ticket = _Ticket(wanted, self._clock.monotonic())
        self._join(ticket)
        try:
            while True:
                ticket.news.wait(1.0)
                ticket.news.clear()
                if ticket.error:
                    raise ticket.error
                if ticket.seen is not None and done(ticket.seen):
                    return ticket.seen
                check()
                if self._clock.monotonic() > end:
                    state = ticket.seen.get("status") if ticket.seen else "unknown"
                    raise CloudUnavailable(f"{what}: still {state} after {deadline}")
        finally:
            self._leave(ticket)

    def _join(self, ticket: _Ticket) -> None:
        with self._lock:
            self._tickets.append(ticket)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="openstack-hub", daemon=True).start()
        self._wake.set()

    def _leave(self, ticket: _Ticket) -> None:
        with self._lock:
            self._tickets.remove(ticket)

    def _run(self) -> None:
        while True:
            with self._lock:
                tickets = list(self._tickets)
                if not tickets:
                    self._running = False
                    return
            try:
                found = dict(self._look({ticket.wanted for ticket in tickets}))
            except ProviderError as error:
                self._tell(tickets, error)
            else:
                for ticket in tickets:
                    ticket.seen = found.get(ticket.wanted, GONE)
                    ticket.news.set()
            if self._wake.wait(self._pace(tickets)):
                self._clock.sleep(_COALESCE)  # who comes at the same time is asked for with the same call
            self._wake.clear()

    def _look(self, wanted: set[str]) -> Iterator[tuple[str, Json]]:
        missing = set(wanted)
        if len(missing) >= _LIST_FROM:
            for item in self._many():
                if item["id"] in missing:
                    missing.discard(item["id"])
                    yield item["id"], item
                if not missing:
                    break
        for name in missing:
            try:
                yield name, self._one(name)
            except ResourceNotFound:
                yield name, GONE

    def _tell(self, tickets: list[_Ticket], error: ProviderError) -> None:
        # An outage in the middle of a long wait is no verdict on what is waited for: waiters have deadlines.
        if isinstance(error, CloudUnavailable):
            return
        for ticket in tickets:
            ticket.error = error
            ticket.news.set()

    def _pace(self, tickets: list[_Ticket]) -> float:
        youngest = self._clock.monotonic() - max(ticket.born for ticket in tickets)
        return min(max(self._fastest, youngest / _SHARE), _SLOWEST)
