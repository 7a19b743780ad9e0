"""The vault against a model, on the small scale: any interleaving of runners that live, sleep or are gone.

Generations, leases, the catalogue, the journal and the collection of garbage in two phases, on a store whose listings
lag by up to a minute. Runners work step by step in virtual time, so that each may stop between any two steps and go
on when others have long taken over; what they did must then count wholly or not at all. What collections do to writers
in the middle of a disk is tried more closely in ``tests/local/repository/test_repository_lag.py``.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from csbsctl.blobs import Blob, PlainSealer
from csbsctl.clock import VirtualClock
from csbsctl.errors import Conflict, CsbsError, LeaseLost
from csbsctl.model.backup import Backup
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.job import Job, JobState
from csbsctl.vault import Timing, Vault
from csbsctl.vault.check import check
from csbsctl.vault.description import ProbeResult, VaultDescription
from csbsctl.vault.leases import Lease
from csbsctl.vault.stores.memory import MemoryStore
from csbsctl_local.repository import FileSource, Repository
from csbsctl_local.repository.marks import Marks

START = datetime(2026, 11, 1, tzinfo=UTC)
LAG = 60.0
SILENCE = 60.0
CHUNK = 65536
RUNNERS = st.integers(0, 2)
SERVERS = st.sampled_from(["s1", "s2"])
LOTS = st.integers(0, 9)


class Clock(VirtualClock):
    """Waiting takes no time, but counts."""

    def monotonic(self) -> float:
        return (self.now() - START).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=seconds))


class LaggingStore(MemoryStore):
    """Reads are right; a listing shows a young change or does not, each by a throw of its own."""

    remote = True
    lag = LAG

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        super().__init__(clock)
        self._chance = chance
        self._gone: dict[str, tuple[Blob, datetime]] = {}

    def delete(self, key: str) -> None:
        if key in self._objects:
            self._gone[key] = self._blob(key), self.now()
        super().delete(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        young = self.now() - timedelta(seconds=LAG)
        there = [self._blob(key) for key in super().keys(prefix) if key > after]
        ghosts = [
            blob
            for key, (blob, at) in self._gone.items()
            if at > young and key.startswith(prefix) and key > after and key not in self._objects
        ]
        shown = [b for b in there if b.modified <= young or self._chance.random() < 0.5]
        return iter(sorted([*shown, *(blob for blob in ghosts if self._chance.random() < 0.5)]))

    def keys(self, prefix: str) -> Iterator[str]:
        return (blob.key for blob in self.list(prefix))

    def _blob(self, key: str) -> Blob:
        data, modified = self._objects[key]
        return Blob(key, len(data), modified)


@dataclass(eq=False)
class Work:
    """A backup under way."""

    lease: Lease
    job: Job
    content: bytes
    written: bool = False
    recorded: bool = False


class Actor:
    """One process: its vault, its repository, what it works on, and the control document as it last saw it."""

    def __init__(self, store: LaggingStore, clock: Clock, description: VaultDescription) -> None:
        quiet = Timing(
            heartbeat=10**6, silence=SILENCE
        )  # no heart beats in virtual time: who sleeps is silent
        self.vault = Vault("memory", store, description, clock=clock, actor="a@b", timing=quiet)
        self.repository = Repository(self.vault.data("p"), PlainSealer(), clock=clock)
        self.works: dict[str, Work] = {}
        self.seen = self.vault.control.head()


class VaultModel(RuleBasedStateMachine):
    """The model: what each recorded backup holds, and how many commits the control document took."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.chance = random.Random(seed)
        self.clock = Clock(START)
        self.store = LaggingStore(self.clock, self.chance)
        believed = ProbeResult(races=1, writers=1, several_winners=0, at=START)
        self.description = VaultDescription("v", START, "a@b", believed, None, None)
        self.actors = [self.actor() for _ in range(3)]
        self.numbers = count(1)
        self.content = dict.fromkeys(("s1", "s2"), bytes(4 * CHUNK))
        self.held: dict[str, bytes] = {}
        self.commits = 0

    def actor(self) -> Actor:
        return Actor(self.store, self.clock, self.description)

    def teardown(self) -> None:
        if not hasattr(self, "commits"):  # it never began
            return
        try:
            self.settle()
        finally:
            for actor in self.actors:
                actor.vault.runner.close()
            shutil.rmtree(self.folder)

    # -- what a runner does, step by step --------------------------------------------------------------------------

    @rule(
        who=RUNNERS,
        server=SERVERS,
        blocks=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=3),
    )
    def take(self, who: int, server: str, blocks: list[tuple[int, int]]) -> None:
        """Take a server, settle what others left open on it, and write down that a backup is intended."""
        actor = self.actors[who]
        try:
            lease = actor.vault.leases.acquire("p", server)
        except Conflict:
            return
        self.settle_others(actor, lease)
        disk = bytearray(self.content[server])
        for block, value in blocks:
            disk[block * CHUNK : (block + 1) * CHUNK] = bytes([value]) * CHUNK
        self.content[server] = bytes(disk)
        number = next(self.numbers)
        job = Job(
            id=f"j{number:04}",
            kind="backup",
            state="running",
            provider="p",
            server=server,
            backup=f"b{number:04}",
            runner=actor.vault.runner.id,
            fence=lease.number,
            started_at=self.clock.now(),
        )
        actor.vault.jobs.begin(job)
        actor.works[server] = Work(lease, job, self.content[server])

    @precondition(lambda self: self.under_way())
    @rule(lot=LOTS, nap=st.sampled_from([0, 0, 30, 70, 200]), beside=RUNNERS)
    def step(self, lot: int, nap: int, beside: int) -> None:
        """Let one of the runners that work on something do its next step."""
        actor, server = self.under_way()[lot % len(self.under_way())]
        work = actor.works[server]
        if not work.written:
            self.write(actor, server, nap, self.actors[beside])
        elif not work.recorded:
            self.record(actor, server, nap, beside)
        else:
            self.finish(actor, server)

    def under_way(self) -> list[tuple[Actor, str]]:
        return [(actor, server) for actor in getattr(self, "actors", []) for server in actor.works]

    def write(self, actor: Actor, server: str, nap: int, beside: Actor) -> None:
        """Store the disk; perhaps fall asleep right before it is named, while another collects."""
        work = actor.works[server]
        disk = self.folder / "disk"
        disk.write_bytes(work.content)
        source = FileSource(disk)

        def before_the_commit() -> None:
            if nap and beside is not actor and threading.current_thread() is threading.main_thread():
                self.wait(nap)
                self.collect(self.actors.index(beside))
            work.lease.check()

        try:
            actor.repository.write(
                source, manifest=str(work.job.backup), job=work.job.id, check=before_the_commit, threads=1
            )
            work.written = True
        except LeaseLost:
            self.drop(actor, server)
        finally:
            source.close()

    def record(self, actor: Actor, server: str, nap: int, beside: int) -> None:
        """Put the backup into the catalogue; perhaps fall asleep after the lease was checked, while another takes over."""
        work = actor.works[server]
        backup = Backup(
            id=str(work.job.backup),
            name="x",
            server={"id": server, "name": server},
            provider="p",
            trigger="manual",
            state="available",
            job=work.job.id,
            started_at=work.job.started_at,
        )
        try:
            work.lease.check()
            if nap and self.actors[beside] is not actor:
                self.wait(nap)
                self.take(beside, server, [])
            actor.vault.catalogue.update(
                "p", server, lambda before: [*before, backup], fence=work.lease.number
            )
        except LeaseLost:
            self.drop(actor, server)
            return
        work.recorded = True
        self.held[backup.id] = work.content

    def finish(self, actor: Actor, server: str) -> None:
        """Close the job and give the server back."""
        with suppress(LeaseLost):
            actor.vault.jobs.update(actor.works[server].job.model_copy(update={"state": JobState.SUCCEEDED}))
        self.drop(actor, server)

    @rule(who=RUNNERS)
    def die(self, who: int) -> None:
        """The process is gone between two steps; its heartbeat stays, and another starts in its place."""
        self.actors[who].vault.runner.close(leave=True)
        self.actors[who] = self.actor()

    @rule(who=RUNNERS, server=SERVERS, lot=LOTS)
    def delete(self, who: int, server: str, lot: int) -> None:
        """Forget one of the backups of a server, then remove its disk."""
        actor = self.actors[who]
        try:
            lease = actor.vault.leases.acquire("p", server)
        except Conflict:
            return
        with lease:
            self.settle_others(actor, lease)
            there = actor.vault.catalogue.backups("p", server)
            if not there:
                return
            victim = there[lot % len(there)].id
            actor.vault.catalogue.update(
                "p", server, lambda before: [b for b in before if b.id != victim], fence=lease.number
            )
            self.held.pop(victim, None)
            actor.repository.delete(victim)

    @rule(who=RUNNERS)
    def collect(self, who: int) -> None:
        actor = self.actors[who]
        with suppress(CsbsError), actor.vault.leases.acquire("p", "collect~") as lease:
            jobs = frozenset(job.id for job in actor.vault.jobs.open())
            actor.repository.collect(job=f"c{next(self.numbers)}", open_jobs=jobs, check=lease.check)

    @rule(who=RUNNERS)
    def look(self, who: int) -> None:
        self.actors[who].seen = self.actors[who].vault.control.head()

    @rule(who=RUNNERS)
    def apply(self, who: int) -> None:
        """Commit a control document made from what was seen, however long ago: it counts only where that is the newest."""
        seen = self.actors[who].seen.generation
        try:
            self.actors[who].vault.control.commit(
                ControlDocument(seen + 1, {"s": StackState({"n": seen + 1}, {})})
            )
        except Conflict:
            assert seen < self.commits
        else:
            assert seen == self.commits, "a commit from a stale view was taken"
            self.commits += 1

    @rule(seconds=st.sampled_from([1, 20, 61, 150]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        for actor in self.actors:  # who is awake sees who is not
            actor.vault.leases.holders()

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "commits"))
    def every_backup_is_whole(self) -> None:
        reader = self.actor()
        listed = {b.id for server in ("s1", "s2") for b in reader.vault.catalogue.backups("p", server)}
        assert listed == self.held.keys()
        for backup_id, content in self.held.items():
            with (self.folder / "restored").open("w+b") as file:
                reader.repository.restore(backup_id, file.fileno(), threads=1)
            assert (self.folder / "restored").read_bytes() == content, backup_id

    def settle_others(self, actor: Actor, lease: Lease) -> None:
        """Undo what others left open on a server, as whoever takes a lease does."""
        for job in actor.vault.jobs.open():
            if job.server == lease.server:
                taken = job.model_copy(update={"fence": lease.number, "runner": actor.vault.runner.id})
                actor.vault.jobs.update(taken)
                if job.backup not in {b.id for b in actor.vault.catalogue.backups("p", lease.server)}:
                    actor.repository.delete(str(job.backup))
                actor.vault.jobs.update(taken.model_copy(update={"state": JobState.FAILED}))

    def drop(self, actor: Actor, server: str) -> None:
        actor.works.pop(server).lease.release()

    def settle(self) -> None:
        """Let one runner alone go on, often enough: nothing may be left of all that the others left undone."""
        for actor in self.actors:
            actor.vault.runner.close(leave=True)
        last = self.actor()
        self.actors = [*self.actors, last]
        for _ in range(12):
            self.wait(200)
            last.vault.leases.release_the_dead()
            for server in ("s1", "s2"):
                with suppress(Conflict), last.vault.leases.acquire("p", server) as lease:  # it is watched yet
                    self.settle_others(last, lease)
            with suppress(Conflict), last.vault.leases.acquire("p", "collect~"):
                last.repository.collect(job=f"c{next(self.numbers)}", open_jobs=frozenset())
        self.wait(200)
        self.every_backup_is_whole()
        assert last.vault.leases.holders() == []
        assert last.vault.jobs.open() == []
        assert last.vault.control.head().generation == self.commits
        manifests = {info.name for info in last.repository.manifests()}
        assert manifests == self.held.keys(), "a disk that no backup has is left"
        assert last.repository.check(read_data=True) == []
        marks = Marks(last.repository._parts, avoid=set(), check=lambda: None)
        assert last.repository._parts.index.packs().keys() == marks.live.keys(), "garbage is left"
        assert check(last.vault, race=False).sound


VaultModel.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking takes minutes; the seed in what is printed is enough
)
test_no_interleaving_loses_a_backup = pytest.mark.slow(VaultModel.TestCase)
