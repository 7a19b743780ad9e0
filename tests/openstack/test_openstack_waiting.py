"""Waiting, with the states and answers of a cloud that a function plays; runs without a cloud."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import CloudRefused, CloudUnavailable, Interrupted, ResourceNotFound
from csbsctl_openstack.waiting import GONE, Hub, poll

SOON = timedelta(seconds=5)


def test_a_wait_ends_at_its_deadline_and_says_in_which_state():
    with pytest.raises(CloudUnavailable, match="make it: still creating"):
        poll(
            lambda: {"status": "creating"},
            lambda seen: seen["status"] == "available",
            clock=SystemClock(),
            deadline=timedelta(seconds=0.02),
            what="make it",
            every=0.01,
        )


def test_a_wait_can_be_interrupted():
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        poll(
            lambda: {"status": "x"}, lambda _: False, clock=SystemClock(), deadline=SOON, what="x", check=stop
        )


class Counted:
    """Backups that become available at the third look, and how they were asked for."""

    def __init__(self, names: list[str]) -> None:
        self.looks = dict.fromkeys(names, 0)
        self.singles = self.lists = 0
        self.lock = threading.Lock()

    def one(self, name: str) -> dict:
        with self.lock:
            self.singles += 1
            if name not in self.looks:
                raise ResourceNotFound(name)
            return self._seen(name)

    def many(self) -> list[dict]:
        with self.lock:
            self.lists += 1
            return [self._seen(name) for name in self.looks]

    def _seen(self, name: str) -> dict:
        self.looks[name] += 1
        return {"id": name, "status": "available" if self.looks[name] > 2 else "creating"}


def wait(hub: Hub, name: str) -> dict:
    return hub.wait(
        name, lambda seen: seen["status"] in {"available", "gone"}, deadline=timedelta(seconds=20), what=name
    )


def test_two_hundred_waiters_cost_a_handful_of_calls():
    names = [f"backup-{number}" for number in range(200)]
    cloud = Counted(names)
    hub = Hub(cloud.one, cloud.many, SystemClock(), fastest=0.05)
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda name: wait(hub, name), names))
    assert [each["id"] for each in found] == names
    assert cloud.singles + cloud.lists < 40


def test_one_waiter_asks_for_what_it_waits_for():
    cloud = Counted(["a"])
    assert wait(Hub(cloud.one, cloud.many, SystemClock(), fastest=0.01), "a")["status"] == "available"
    assert (cloud.singles, cloud.lists) == (3, 0)


def test_what_is_not_there_is_gone():
    cloud = Counted([])
    assert wait(Hub(cloud.one, cloud.many, SystemClock(), fastest=0.01), "b") == GONE


def test_an_outage_is_no_verdict_but_a_refusal_is():
    answers = [CloudUnavailable("down"), {"id": "a", "status": "available"}]

    def flaky(_: str) -> dict:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refused(_: str) -> dict:
        raise CloudRefused("no rights any more")

    assert wait(Hub(flaky, list, SystemClock(), fastest=0.01), "a")["status"] == "available"
    with pytest.raises(CloudRefused):
        wait(Hub(refused, list, SystemClock(), fastest=0.01), "a")
