"""Races writers against a store before it is believed: create-if-absent is what the whole vault stands on.

Some stores refuse a second put but not a simultaneous one. That cannot be read in any manual; it shows in a race.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from csbsctl.blobs import BlobExists
from csbsctl.clock import Clock
from csbsctl.errors import VaultError
from csbsctl.ids import new_id
from csbsctl.vault.description import ProbeResult
from csbsctl.vault.stores.contract import Store

FOLDER = "probe"
RACES = 20
WRITERS = 8


def probe(store: Store, clock: Clock, *, races: int = RACES, writers: int = WRITERS) -> ProbeResult:
    """Race writers for keys and count the races with several winners. Leaves nothing behind."""
    session = f"{FOLDER}/{new_id()}"
    several = 0
    with ThreadPoolExecutor(writers, thread_name_prefix="probe") as pool:
        for race in range(races):
            several += _race(store, pool, f"{session}/{race:04d}", writers) > 1
    return ProbeResult(races, writers, several, clock.now())


def insist(result: ProbeResult, url: str, coordination: str | None) -> None:
    """Refuse a store where two writers won, unless somebody else coordinates them.

    Raises:
        VaultError: the store cannot be a vault (code ``vault.not-atomic``).
    """
    if result.atomic or coordination:
        return
    raise VaultError(
        f"{url} cannot be a vault as it is: in {result.several_winners} of {result.races} races of {result.writers} "
        "writers for one key several won, so two runs could overwrite each other",
        hint="set vault.coordination to a lock service (redis://, etcd3+http://, postgresql://, file://), or to "
        "single-writer if you promise that only one csbsctl ever runs on this vault",
        code="vault.not-atomic",
    )


def _race(store: Store, pool: ThreadPoolExecutor, key: str, writers: int) -> int:
    """Return how many writers were told that they created one key."""
    start = threading.Barrier(writers)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.create(key, f"{number} {new_id()}".encode())
        except BlobExists:
            return False
        return True

    try:
        return sum(pool.map(write, range(writers)))
    finally:
        store.delete(key)
