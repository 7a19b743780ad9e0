"""Stopping: once cleanly, twice at once; and a pass that fails does not end the watch."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from csbsctl.errors import Interrupted
from csbsctl.protection.events import JobProgress
from csbsctl.protection.runner import Runner, Summary
from csbsctl.protection.stop import StopSignal

if TYPE_CHECKING:
    from csbsctl.protection.events import Event
    from tests.protection.conftest import World

NIGHTLY: dict[str, Any] = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 2}}},
    "bindings": {"web": {"policy": "gold", "match": {"name": "web-*"}}},
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_heard_once_as_a_wish_and_twice_as_an_order(number: signal.Signals, code: int):
    before = signal.getsignal(number)
    with StopSignal().listening() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as caught:
            stop.check()
        assert caught.value.exit_code == code
        stop.check_now()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            stop.check_now()
    assert signal.getsignal(number) is before


def test_a_stop_in_the_middle_of_storing_undoes_the_backup_and_the_next_run_takes_the_slot(world: World):
    server = world.server("web-01", 8 << 20)
    world.declare(NIGHTLY)
    world.clock.move_to(world.night(0))
    stop = StopSignal()

    class Impatient:
        def report(self, event: Event) -> None:
            if isinstance(event, JobProgress):
                stop.request()

    with pytest.raises(Interrupted):
        Runner(replace(world.site, reporter=Impatient(), stop=stop)).once()
    assert world.backups(server) == ()
    assert world.leftovers() == []
    assert world.vault.jobs.open() == []
    assert world.vault.leases.holders() == []
    assert world.run().succeeded == 1


def test_a_watch_goes_on_after_a_pass_that_failed_and_ends_when_asked(world: World):
    world.server("web-01")
    world.declare(NIGHTLY)
    world.clock.move_to(world.night(0))
    world.cloud.cloud.faults.add("servers", "unavailable", times=1)
    site, passes = world.site, []

    def after(summary: Summary) -> None:
        passes.append((summary.succeeded, summary.failed))
        if len(passes) == 2:
            site.stop.request()

    with pytest.raises(Interrupted):
        Runner(site).watch(0.0, after)
    assert passes == [(0, 1), (1, 0)]
