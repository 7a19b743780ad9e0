"""The world of one test: a vault in memory, simulated clouds in a temporary folder, virtual time, the real engine.

Everything that plans, applies, backs up, prunes and restores here is what a user's commands call. Knows nothing of
what is expected.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from csbsctl.clock import VirtualClock
from csbsctl.config import Configuration
from csbsctl.config import load as load_configuration
from csbsctl.engine import Desired, Executor, Planner, Proposal, Situation
from csbsctl.errors import CsbsError
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup
from csbsctl.model.walltime import zone
from csbsctl.protection.due import Agenda, read_agenda
from csbsctl.protection.runner import Runner
from csbsctl.protection.site import Site
from csbsctl.rehearsal.clock import RunnerClock
from csbsctl.rehearsal.loading import TestFile, as_flags, names_of
from csbsctl.rehearsal.moments import Calendar
from csbsctl.rehearsal.standin import stand_ins
from csbsctl.rehearsal.story import Story
from csbsctl.rehearsal.suite import Case, Fleet
from csbsctl.rules.due import next_start
from csbsctl.rules.schedule import Timetable, delay
from csbsctl.simulator import Simulator
from csbsctl.vault.description import ProbeResult, VaultDescription
from csbsctl.vault.stores.memory import MemoryStore
from csbsctl.vault.vault import Timing, Vault

ACTOR = "policy test"
_NAMESPACE = uuid.UUID("5e0f1f6e-6d0b-4a0c-9a55-5f2a2f4b7c11")
_NEVER = datetime.max.replace(tzinfo=UTC)
_GRAIN = 64 * 1024
_SCALE = 4096
"""How much smaller the disks are that a test really makes: what a backup costs grows with a disk, what it shows does not."""
_SPOTS = 4
"""How many places of a disk guests write to, one after the other: enough that every backup differs from the last."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a test needs besides its file: variables as on the command line, and the environment."""

    variables: tuple[str, ...] = ()
    var_files: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Member:
    """A server of the test, from its creation to its deletion."""

    id: str
    name: str
    fleet: Fleet
    created: datetime
    deleted: datetime | None = None
    running: bool = True
    attacks: list[datetime] = field(default_factory=list)
    bursts: list[tuple[datetime, int]] = field(default_factory=list)
    """Bytes written at once, and when."""
    written: int = 0
    """How often its guests wrote."""

    @property
    def provider(self) -> str:
        """Return the provider it runs in."""
        return self.fleet.provider


class World:
    """Open it with ``World.opened``; nothing of it is left afterwards."""

    def __init__(
        self, file: TestFile, case: Case, variables: Mapping[str, Any], inputs: Inputs, folder: Path
    ) -> None:
        self.case = case
        self.calendar = Calendar(case)
        self.clock = VirtualClock(self.calendar.start)
        self.runner_clock = RunnerClock(self.clock)
        self.members: list[Member] = []
        self.sizes: dict[str, int] = {}
        """Declared bytes of every disk there ever was, by its ID."""
        self.overlays: list[Mapping[str, Any]] = []
        self.proofs: dict[str, tuple[str, ...]] | None = (
            {} if any(expected.restore for expected in case.expect) else None
        )
        """What the disks held, by the ID of the backup that was taken then; kept only where a restore is expected."""
        self._file, self._inputs = file, inputs
        self._flags = [*as_flags(dict(variables)), *inputs.variables]
        self.configuration = self.configured()
        self.story = Story(self.clock)
        self.store = MemoryStore(self.clock)
        self.vault = _vault(self.store, self.runner_clock)
        self.providers = stand_ins(self.configuration, folder, self.clock, self.vault)
        self.simulators: dict[str, Simulator] = {n: p.simulator() for n, p in self.providers.items()}
        self.site = Site(
            vault=self.vault,
            providers=self.providers,
            clock=self.runner_clock,
            stack=self.configuration.stack,
            actor=ACTOR,
            reporter=self.story,
            patience=(),
        )
        self._agenda: Agenda | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, file: TestFile, case: Case, variables: Mapping[str, Any], inputs: Inputs, folder: Path
    ) -> Iterator[World]:
        """Yield a world whose clouds live in an empty folder; removing the folder is the caller's."""
        world = cls(file, case, variables, inputs, folder)
        try:
            yield world
        finally:
            world.store.away = False
            for provider in world.providers.values():
                provider.close()
            world.vault.close()

    @property
    def now(self) -> datetime:
        """Return the true time of the test."""
        return self.clock.now()

    # -- configuration ---------------------------------------------------------------------------------------------

    def configured(self, *more: Mapping[str, Any]) -> Configuration:
        """Return the configuration under test with the edits made so far, and further ones."""
        return load_configuration(
            self._file.root,
            variables=self._flags,
            var_files=self._inputs.var_files,
            environ=self._inputs.environ,
            overlays=(*self.overlays, *more),
        )

    def situation(self) -> Situation:
        """Return what planning looks at, as a user's plan would gather it."""
        quotas = {name: provider.quota() for name, provider in self.providers.items()}
        return Situation(
            document=self.vault.control.head(),
            inventory={name: list(provider.servers()) for name, provider in self.providers.items()},
            now=self.runner_clock.now(),
            catalogue=self.vault.catalogue,
            vault_id=self.vault.id,
            quotas={name: quota for name, quota in quotas.items() if quota},
        )

    def proposal(self, configuration: Configuration) -> Proposal:
        """Return the plan for a configuration. Raises ConfigError."""
        return Planner(self.situation()).plan(Desired.of(configuration))

    def apply(self, configuration: Configuration, allow: Sequence[str] = ()) -> None:
        """Put a configuration in force. Raises ConfigError, GuardrailRefusal."""
        Executor(self.vault.control, self.runner_clock, ACTOR).apply(
            self.proposal(configuration), allow=allow
        )
        self.configuration = configuration
        self.changed()

    # -- servers ---------------------------------------------------------------------------------------------------

    def create(self, name: str, fleet: Fleet) -> None:
        """Make the servers of a fleet. Raises CsbsError when it names a provider that is not configured."""
        simulator = self.simulator(fleet.provider)
        for each in names_of(name, fleet):
            born = sum(member.name == each for member in self.members)
            server_id = str(uuid.uuid5(_NAMESPACE, f"{fleet.provider}/{each}/{born}"))
            made = simulator.create(
                each,
                [scaled(size) for size in fleet.disks],
                server_id=server_id,
                zone=fleet.availability_zone,
                metadata=fleet.metadata,
                tags=fleet.tags,
            )
            self.sizes |= {v.id: size for v, size in zip(made.volumes, fleet.disks, strict=True)}
            self.members.append(Member(server_id, each, fleet, self.now))
        self.changed()

    def simulator(self, provider: str) -> Simulator:
        """Return what plays around a provider's cloud. Raises CsbsError for one that is not configured."""
        self.site.provider(provider)
        return self.simulators[provider]

    def existing(self) -> list[Member]:
        """Return the servers there are now."""
        return [member for member in self.members if member.deleted is None]

    def changed(self) -> None:
        """Forget what is known of bindings: servers or configuration are not what they were."""
        self._agenda = None

    # -- running ---------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Let every running guest write a little where bytes are compared later, so that no backup is like another."""
        for member in self.existing() if self.proofs is not None else ():
            if member.running:
                member.written += 1
                offset = member.written % _SPOTS * _GRAIN
                text = f"{member.name}, line {member.written}\n".encode()
                room = scaled(member.fleet.disks[0]) - len(text)
                self.simulators[member.provider].write(member.id, 0, min(offset, room), text)

    def run(self) -> None:
        """Make one pass of the runner, as ``csbsctl run`` does."""
        try:
            summary = Runner(self.site).once()
        except CsbsError as error:
            self.story.note(f"csbsctl run failed: {error.message}")
        else:
            for problem in summary.problems:
                self.story.note(f"csbsctl run warned: {problem}")
        self.take_proofs()

    def take_proofs(self) -> None:
        """Remember what the disks hold that were backed up just now."""
        if self.proofs is None:
            return
        for member in self.existing():
            points = self.points(member)
            if (
                points
                and points[-1].id not in self.proofs
                and points[-1].started_at == self.runner_clock.now()
            ):
                self.proofs[points[-1].id] = self.simulators[member.provider].fingerprints(member.id)

    def next_due(self) -> datetime:
        """Return when some server is next due, by the true time; the end of time when none ever is."""
        agenda, now = self.agenda(), self.runner_clock.now()
        starts = [
            next_start(self._timetable(agenda, bound.policy), now, delay(policy.schedule, bound.server.id))
            for bound, policy in agenda.bound()
            if policy.enabled
        ]
        return min((start - self.runner_clock.skew for start in starts if start), default=_NEVER)

    @staticmethod
    def _timetable(agenda: Agenda, policy: str) -> Timetable:
        anchor = agenda.state.anchors.get(policy) or agenda.state.since.get(f"policy.{policy}") or agenda.at
        assert anchor is not None, "what binds servers was applied at some time"
        return Timetable(agenda.declared.policies[policy].schedule, anchor)

    # -- looking ---------------------------------------------------------------------------------------------------

    def agenda(self) -> Agenda:
        """Return who is bound to what, as of the last change; the one before where something is away."""
        if self._agenda is None:
            with self.within_reach():
                self._agenda = read_agenda(self.site)
        return self._agenda

    @contextmanager
    def within_reach(self) -> Iterator[None]:
        """Look at the vault even while it is away for everybody else."""
        away, self.store.away = self.store.away, False
        try:
            yield
        finally:
            self.store.away = away

    def backups(self, member: Member) -> tuple[Backup, ...]:
        """Return all of a server's backups, failed and hidden ones too, oldest first."""
        with self.within_reach():
            return self.vault.catalogue.backups(member.provider, member.id)

    def points(self, member: Member) -> list[Backup]:
        """Return a server's restore points, oldest first."""
        return [backup for backup in self.backups(member) if backup.good]

    def policy_of(self, member: Member) -> str | None:
        """Return the policy that a server is under."""
        bound = self.agenda().assignment.bound
        return next((b.policy for b in bound.values() if b.server.id == member.id), None)

    def zone_of(self, member: Member | None) -> ZoneInfo:
        """Return the time zone that a server's policy counts in; the test's where it has none."""
        policy = self.policy_of(member) if member else None
        return (
            zone(self.agenda().declared.policies[policy].schedule.timezone) if policy else self.calendar.zone
        )


def scaled(size: int) -> int:
    """Return the bytes of the disk that is really made for one of a declared size."""
    return max(1, -(-size // _SCALE // _GRAIN)) * _GRAIN


def _vault(store: MemoryStore, clock: RunnerClock) -> Vault:
    # A store in memory is atomic under its lock: racing writers against it would take longer than many a test.
    believed = ProbeResult(races=1, writers=1, several_winners=0, at=clock.now())
    description = VaultDescription(new_id(), clock.now(), ACTOR, believed, None, None)
    day = timedelta(days=1).total_seconds()
    return Vault("memory", store, description, clock=clock, actor=ACTOR, timing=Timing(day, day))
