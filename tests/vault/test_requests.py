"""What is asked of a bucket, where every request costs money and time; and that what is not asked is not missed."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from csbsctl.blobs import BlobNotFound
from csbsctl.clock import VirtualClock
from csbsctl.model.job import JobState
from csbsctl.model.slots import SlotLog
from csbsctl.vault.catalogue import Catalogue
from csbsctl.vault.journal import Journal
from csbsctl.vault.stores.memory import MemoryStore

SERVERS = [("default", f"s{number}") for number in range(5)]


class Ticking(VirtualClock):
    """Virtual time that monotonic clocks agree with."""

    def monotonic(self):
        return self.now().timestamp()


class Bucket(MemoryStore):
    """A store far away that counts what it is asked."""

    remote = True

    def __init__(self, clock):
        super().__init__(clock)
        self.asked = Counter()

    def get(self, key, start=0, length=None):
        self.asked["get"] += 1
        return super().get(key, start, length)

    def keys(self, prefix):  # what listings of any kind are made of here
        self.asked["list"] += 1
        return super().keys(prefix)

    def requests(self):
        asked, self.asked = dict(self.asked), Counter()
        return asked


@pytest.fixture
def ticking(clock):
    return Ticking(clock.now())


@pytest.fixture
def bucket(ticking):
    return Bucket(ticking)


@pytest.fixture
def here(bucket, codec, ticking):
    return Catalogue(bucket, codec, ticking)


@pytest.fixture
def elsewhere(bucket, codec, ticking):
    return Catalogue(bucket, codec, ticking)


def take(catalogue, key, slot):
    catalogue.update(*key, lambda before: before, slots=("gold", lambda log: log.with_missed((slot,))))


def write(catalogue, key, backup, numbers, *, clock=None, every=timedelta()):
    for number in numbers:
        catalogue.update(*key, lambda before, n=number: [*before, backup(n, server=key[1])][-3:])
        if clock:
            clock.advance(every)


def test_what_was_looked_at_before_costs_one_read_a_server_and_no_listing(here, elsewhere, bucket, ticking):
    for key in SERVERS:
        take(elsewhere, key, ticking.now())
    here.look_at(SERVERS)
    bucket.requests()
    here.look_at(SERVERS)
    assert bucket.requests() == {"get": len(SERVERS)}
    assert all(here.slots(*key, known=True)["gold"].last == ticking.now() for key in SERVERS)
    assert all(here.generation(*key, known=True) == 1 for key in SERVERS)
    assert bucket.requests() == {}


def test_servers_that_nothing_is_known_of_are_listed_together_where_they_are_many(
    here, elsewhere, bucket, ticking
):
    many = [("default", f"m{number}") for number in range(100)]
    for key in many:
        take(elsewhere, key, ticking.now())
    bucket.requests()
    here.look_at(many)
    assert bucket.requests() == {"list": 1, "get": 2 * len(many)}
    here.look_at(many)
    assert bucket.requests() == {"get": len(many)}


def test_a_server_without_a_document_costs_one_read_until_it_has_one(here, elsewhere, bucket, ticking):
    here.look_at([SERVERS[0]])
    bucket.requests()
    here.look_at([SERVERS[0]])
    assert bucket.requests() == {"get": 1}
    take(elsewhere, SERVERS[0], ticking.now())
    here.look_at([SERVERS[0]])
    assert here.slots(*SERVERS[0], known=True)["gold"].last == ticking.now()


def test_what_others_wrote_meanwhile_is_seen_however_much_it_is(here, elsewhere, backup, ticking):
    key = SERVERS[0]
    write(elsewhere, key, backup, range(1, 3))
    here.look_at([key])
    write(elsewhere, key, backup, range(3, 40))
    assert here.backups(*key) == elsewhere.backups(*key)
    assert here.generation(*key) == 39
    here.update(*key, lambda before: before, slots=("gold", lambda _: SlotLog(last=ticking.now())))
    assert elsewhere.slots(*key)["gold"].last == ticking.now()


def test_a_look_that_is_older_than_what_is_kept_sees_the_newest(here, elsewhere, backup, ticking):
    key = SERVERS[0]
    write(elsewhere, key, backup, range(1, 3))
    here.look_at([key])
    write(elsewhere, key, backup, range(3, 60), clock=ticking, every=timedelta(hours=8))
    with pytest.raises(BlobNotFound):
        elsewhere._store.get(elsewhere._series("default~s0").key(3))  # compacted away
    assert here.backups(*key) == elsewhere.backups(*key)


def test_a_known_server_that_was_written_here_is_known_as_written(here, elsewhere, bucket, ticking):
    key = SERVERS[0]
    here.look_at([key])
    take(here, key, ticking.now())
    bucket.requests()
    assert here.slots(*key, known=True)["gold"].last == ticking.now()
    assert bucket.requests() == {}


def test_a_failed_job_that_went_on_is_shown_as_it_stands_though_the_listing_lags(bucket, codec, job):
    journal = Journal(bucket, codec)
    failed = journal.begin(job()).model_copy(update={"state": JobState.FAILED})
    journal.update(failed)
    shown = list(bucket.keys("jobs/"))
    journal.update(failed.model_copy(update={"steps": {"built": {"id": "s1"}}}))
    bucket.keys = lambda prefix: iter(shown if prefix == "jobs/" else ())
    (found,) = journal.list()
    assert found.steps == {"built": {"id": "s1"}}


def test_jobs_that_ended_cost_one_listing_and_one_read_each(bucket, codec, job):
    journal = Journal(bucket, codec)
    for number in range(6):
        begun = journal.begin(job(number))
        if number:
            journal.update(begun.model_copy(update={"state": JobState.SUCCEEDED}))
    bucket.requests()
    found = journal.list()
    assert bucket.requests() == {"list": 1, "get": 7}, "one that runs is asked for what came after"
    assert [each.state for each in found].count(JobState.RUNNING) == 1
    assert len(found) == 6
