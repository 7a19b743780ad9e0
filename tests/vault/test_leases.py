from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import Conflict, LeaseLost, StoreUnavailable
from csbsctl.vault import Timing, Vault
from csbsctl.vault.description import ProbeResult, VaultDescription
from csbsctl.vault.stores.memory import MemoryStore

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


class LosesAnswers(MemoryStore):
    """A store in memory that, where told to, stores what it is given and says that it could not."""

    losing = False

    def create(self, key, data, *, authenticated=False):
        super().create(key, data, authenticated=authenticated)
        if self.losing and key.startswith("leases/"):
            raise StoreUnavailable("no answer")


@pytest.fixture
def shaky():
    """A store in memory that can be away, and how to open a vault in it."""
    clock = SystemClock()
    store = LosesAnswers(clock)
    believed = ProbeResult(races=1, writers=1, several_winners=0, at=clock.now())
    description = VaultDescription("v", clock.now(), "ops@here", believed, None, None)
    vaults = []

    def open_one():
        vaults.append(Vault("memory", store, description, clock=clock, actor="ops@here", timing=Timing()))
        return vaults[-1]

    yield store, open_one
    for vault in vaults:
        vault.close()


def test_a_lease_that_could_not_be_given_back_is_given_back_at_the_end(shaky):
    store, open_one = shaky
    vault = open_one()
    with open_one() as other:
        lease = other.leases.acquire("default", "s1")
        store.away = True
        lease.release()
        store.away = False
        assert [holder.server for holder in vault.leases.holders()] == ["s1"]
    assert vault.leases.holders() == []


def test_a_lease_that_outlives_its_runner_is_found_by_the_next_one(shaky):
    store, open_one = shaky
    vault, other = open_one(), open_one()
    lease = other.leases.acquire("default", "s1")
    store.away = True
    lease.release()
    other.close()
    store.away = False
    assert list(store.keys("runners/")) == [f"runners/{other.runner.id}"]
    vault.leases._witness.silence = 0.0  # it is this very process, and lives
    assert vault.leases.release_the_dead() == 1
    assert vault.leases.holders() == []


def test_a_lease_that_was_taken_without_anybody_hearing_of_it_is_given_back_at_the_end(shaky):
    store, open_one = shaky
    vault = open_one()
    with open_one() as other:
        store.losing = True
        with pytest.raises(StoreUnavailable):
            other.leases.acquire("default", "s1")
        store.losing = False
        assert [holder.server for holder in vault.leases.holders()] == ["s1"]
    assert vault.leases.holders() == []
