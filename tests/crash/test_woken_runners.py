"""A runner that is stopped, taken over and woken again cannot harm; and two of them share the slots."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.crash.conftest import Yard

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(8))
def test_a_runner_that_wakes_from_the_dead_harms_nothing(yard: Yard, seed: int):
    sleeper = yard.start_hasty()
    time.sleep(random.Random(seed).uniform(0.05, 0.4))
    stopped = yard.starter.poll(sleeper) is None
    if stopped:
        _stop(yard, sleeper)
    _pass_beside(yard, sleeper if stopped else None)
    for disk in ("web-01:0", "web-01:1"):
        yard("sim", "write", disk, "--offset", "32K", "--random", "300K", "--seed", str(seed + 50))
    before = yard.digests()
    yard.states.add(before)
    yard.next_night()
    _pass_beside(yard, sleeper if stopped else None)
    if stopped:
        os.kill(sleeper, signal.SIGCONT)
        assert yard.starter.wait(sleeper) in (0, 1, 3)
    assert yard.digests() == before
    yard("run")
    yard.hold_invariants()
    with yard.session() as session:
        slots = [b.slot for b in session.vault().catalogue.all() if b.policy]
    assert len(slots) == len(set(slots)) == 2


def _stop(yard: Yard, process: int) -> None:
    """Stop a process, but not in the middle of a change of the simulated cloud, which no real one would wait for."""
    while True:
        os.kill(process, signal.SIGSTOP)
        database = sqlite3.connect(yard.folder / "cloud" / "cloud.db", timeout=0)
        with closing(database), suppress(sqlite3.OperationalError):
            database.execute("BEGIN IMMEDIATE")
            return
        os.kill(process, signal.SIGCONT)
        time.sleep(0.01)


def _pass_beside(yard: Yard, sleeper: int | None) -> None:
    """Let another runner make its pass.

    Where the one that sleeps holds everybody up (it has a lock of the simulated cloud), it goes on for a moment.
    """
    other = yard.start_hasty()
    patience = time.monotonic() + 5
    while (code := yard.starter.poll(other)) is None:
        time.sleep(0.02)
        if sleeper is not None and time.monotonic() > patience:
            os.kill(sleeper, signal.SIGCONT)
            time.sleep(0.01)
            _stop(yard, sleeper)
            patience = time.monotonic() + 5
    assert code == 0, (yard.folder / "output").read_text()


def test_of_two_runners_at_once_each_slot_is_served_once(yard: Yard):
    for _ in range(3):
        both = [yard.start("run", output=f"output-{number}") for number in range(2)]
        assert {yard.starter.wait(process) for process in both} == {0}
        yard.next_night()
    yard("run")
    with yard.session() as session:
        taken = [b.slot.day for b in session.vault().catalogue.all() if b.policy and b.slot]
        jobs = [job for job in session.vault().jobs.list() if job.kind == "backup" and job.policy]
    assert taken == [5, 6]
    assert sorted(job.slot.day for job in jobs if job.slot and job.slot.day >= 3) == [3, 4, 5, 6]
    yard.hold_invariants()
