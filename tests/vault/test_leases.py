from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from csbsctl.errors import Conflict, LeaseLost, StoreUnavailable
from csbsctl.vault import Timing

HOLDER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl.errors import LeaseLost
from csbsctl.vault import Timing, open_vault
vault = open_vault("vault", base=Path(sys.argv[1]), clock=SystemClock(), actor="other@there", timing=Timing(0.1, 0.6))
if sys.argv[2] == "elsewhere":
    vault.runner.process = replace(vault.runner.process, boot="another machine", host="there")
lease = vault.leases.acquire("default", "s1")
print(lease.number, flush=True)
try:
    while True:
        lease.check()
        vault.catalogue.update("default", "s1", lambda backups: backups, fence=lease.number)
        time.sleep(0.02)
except LeaseLost as lost:
    print("lost:", lost.code, flush=True)
try:
    vault.catalogue.update("default", "s1", lambda backups: backups, fence=lease.number)
except LeaseLost:
    print("fenced", flush=True)
lease.release()
"""

QUICK = Timing(heartbeat=0.1, silence=0.6)


@pytest.fixture
def holder(tmp_path, opened):
    opened()
    started = []

    def start(where):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path, where], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "1\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lease_is_exclusive_and_numbers_grow(vault, opened):
    other = opened(actor="other@there")
    with vault.leases.acquire("default", "s1") as lease:
        lease.check()
        assert lease.number == 1
        with pytest.raises(
            Conflict, match=r"s1 is being worked on by ops@here \(process \d+ on .*\) since"
        ) as caught:
            other.leases.acquire("default", "s1")
        assert caught.value.code == "lease.held"
        with other.leases.acquire("default", "s2"):
            pass
    with other.leases.acquire("default", "s1") as next_lease:
        assert next_lease.number == 2


def test_one_process_does_not_take_a_server_twice(vault):
    lease = vault.leases.acquire("default", "s1")
    with pytest.raises(Conflict, match="this process"):
        vault.leases.acquire("default", "s1")
    lease.release()
    lease.release()
    vault.leases.acquire("default", "s1").release()


def test_a_released_lease_is_lost(vault):
    lease = vault.leases.acquire("default", "s1")
    lease.release()
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_failed_attempt_leaves_the_runner_free_to_try_again(vault, opened):
    other = opened()
    lease = other.leases.acquire("default", "s1")
    for _ in range(2):
        with pytest.raises(Conflict, match="process"):
            vault.leases.acquire("default", "s1")
    lease.release()
    vault.leases.acquire("default", "s1").release()


def test_patience_waits_for_the_holder_to_finish(vault, opened):
    import threading

    other = opened()
    lease = other.leases.acquire("default", "s1")
    timer = threading.Timer(0.1, lease.release)
    timer.start()
    with vault.leases.acquire("default", "s1", patience=5) as mine:
        assert mine.number == 2
    timer.join()


def test_the_heartbeat_goes_with_the_vault(vault, opened):
    with opened() as other:
        other.leases.acquire("default", "s1").release()
        assert list(vault.store.keys("runners/")) == [f"runners/{other.runner.id}"]
    assert list(vault.store.keys("runners/")) == []


@pytest.mark.slow
def test_a_dead_process_of_this_machine_is_taken_over_from_at_once(opened, holder):
    process = holder("here")
    vault = opened()
    with pytest.raises(Conflict):
        vault.leases.acquire("default", "s1")
    process.kill()
    process.wait()
    with vault.leases.acquire("default", "s1") as lease:
        assert lease.number == 2
        with pytest.raises(LeaseLost):
            vault.catalogue.update("default", "s1", lambda backups: backups, fence=1)


@pytest.mark.slow
def test_a_runner_elsewhere_that_lives_is_never_taken_over_from(opened, holder):
    holder("elsewhere")
    vault = opened(timing=QUICK)
    with pytest.raises(Conflict):
        vault.leases.acquire("default", "s1", patience=1.5)


@pytest.mark.slow
def test_a_silent_runner_elsewhere_is_watched_before_it_is_taken_over_from(opened, holder):
    process = holder("elsewhere")
    process.kill()
    process.wait()
    vault = opened(timing=QUICK)
    began = vault.clock.monotonic()
    with vault.leases.acquire("default", "s1", patience=5) as lease:
        assert lease.number == 2
        assert vault.clock.monotonic() - began >= QUICK.silence


def test_leases_that_were_removed_by_hand_do_not_lock_anybody_out(opened):
    import shutil

    vault = opened()
    for _ in range(3):
        with vault.leases.acquire("default", "s1") as lease:
            vault.catalogue.update("default", "s1", lambda backups: backups, fence=lease.number)
    shutil.rmtree(vault.store.inner.root / "leases")
    again = opened()
    with again.leases.acquire("default", "s1") as lease:
        assert lease.number == 4
        again.catalogue.update("default", "s1", lambda backups: backups, fence=lease.number)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_runner_that_wakes_from_the_dead_does_no_harm(opened, holder, where):
    process = holder(where)
    os.kill(process.pid, signal.SIGSTOP)
    vault = opened(timing=QUICK)
    with vault.leases.acquire("default", "s1", patience=5) as lease:
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "lost: lease.lost\n"
        assert process.stdout.readline() == "fenced\n"
        assert process.wait(10) == 0
        lease.check()


def test_a_process_id_that_is_used_again_is_not_the_same_process(vault):
    mine = vault.runner.process
    assert mine.running()
    assert not replace(mine, started=mine.started - 1).running()
    assert not replace(mine, pid=2**22 + 1).running()
    assert not mine.same_machine(replace(mine, namespace="pid:[1]"))


def test_holders_are_listed_with_their_health(vault):
    with vault.leases.acquire("default", "s1"):
        (holder,) = vault.leases.holders()
        assert (holder.server, holder.number, holder.alive) == ("s1", 1, True)
    assert vault.leases.holders() == []


def test_a_lease_that_was_lost_can_be_taken_again(vault, opened):
    lost = vault.leases.acquire("default", "s1")
    other = opened()
    other.leases._witness.silence = 0.0
    theirs = other.leases.acquire("default", "s1")
    with pytest.raises(LeaseLost):
        lost.check()
    with pytest.raises(Conflict, match="this process"):
        vault.leases.acquire("default", "s1")  # its work may be under way still
    lost.release()
    theirs.release()
    with vault.leases.acquire("default", "s1") as again:
        again.check()


def test_a_lease_that_could_not_be_given_back_is_given_back_at_the_end(vault, opened, monkeypatch):
    with opened() as other:
        lease = other.leases.acquire("default", "s1")
        _while_away(other, monkeypatch, lease.release)
        assert [holder.server for holder in vault.leases.holders()] == ["s1"]
    assert vault.leases.holders() == []


def test_a_lease_that_outlives_its_runner_is_found_by_the_next_one(vault, opened, monkeypatch):
    other = opened()
    lease = other.leases.acquire("default", "s1")
    _while_away(other, monkeypatch, lease.release)
    _while_away(other, monkeypatch, other.close)
    other.runner.process = None
    assert list(vault.store.keys("runners/")) == [f"runners/{other.runner.id}"]
    vault.leases._witness.silence = 0.0  # it is this very process, and lives
    assert vault.leases.release_the_dead() == 1
    assert vault.leases.holders() == []


def _while_away(vault, monkeypatch, action):
    """Do something while the store takes no writes."""

    def refuse(*_arguments, **_options):
        raise StoreUnavailable("cannot write: disk full")

    with monkeypatch.context() as away:
        away.setattr(vault.store, "create", refuse)
        away.setattr(vault.store, "put", refuse)
        action()
