"""What drift is looked for in, besides the situation: jobs, and what in the clouds carries our marker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from csbsctl.engine.bonds import Bond, Bonds, live_bonds
from csbsctl.engine.contest import Contest, contests
from csbsctl.engine.desired import Desired
from csbsctl.engine.histories import Histories
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.model.control import StackState
from csbsctl.model.job import Job, JobState
from csbsctl.model.plan import Finding, FindingClass
from csbsctl.model.policy import Policy
from csbsctl.provider import Marked


@dataclass(frozen=True)
class Evidence:
    """What was gathered. ``marked`` is what each cloud has of this vault; a cloud left out is not checked.

    It is gone through once, and late: after the catalogue, so that what is made meanwhile is found in neither.
    """

    running: Sequence[Job] = ()
    """The jobs that had not ended; looked up before the clouds."""
    state_of: Callable[[str], JobState | None] = lambda _job: None
    """Returns how a job stands, by its ID, None when the journal has none: asked of few, there may be very many."""
    marked: Mapping[str, Iterable[Marked]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """Everything the detectors of findings look at; worked out once, when first asked for."""

    stack: str
    desired: Desired | None
    situation: Situation
    evidence: Evidence

    @cached_property
    def state(self) -> StackState:
        """Return this stack's part of the control document."""
        return self.situation.state(self.stack)

    @cached_property
    def bonds(self) -> Bonds:
        """Return whom this stack's live bindings reach and have: not those that are another stack's first."""
        lost = {contest.key for contest in self.contests if not contest.won}
        return (
            {key: bond for key, bond in self._reached.items() if key not in lost} if lost else self._reached
        )

    @cached_property
    def contests(self) -> Sequence[Contest]:
        """Return the servers that live bindings of this stack and of another one reach."""
        return list(contests(self.situation.document.stacks, self._reached, self._others))

    @cached_property
    def all_bonds(self) -> Mapping[ServerKey, Bond]:
        """Return whom the live bindings of all stacks reach."""
        return {**self._reached, **dict(self._others)}

    @cached_property
    def _reached(self) -> Bonds:
        return live_bonds(self.stack, self.state, self.situation)

    @cached_property
    def _others(self) -> Sequence[tuple[ServerKey, Bond]]:
        return [
            pair
            for name, state in self.situation.document.stacks.items()
            if name != self.stack
            for pair in live_bonds(name, state, self.situation).items()
        ]

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """Return this stack's live policies, typed."""
        return {
            name: Policy.model_validate(value) for name, value in self.state.live.get("policies", {}).items()
        }

    def state_of(self, job_id: str) -> JobState | None:
        """Return how a job stands; one that ran when the clouds were looked at may have ended since, with all it made."""
        return JobState.RUNNING if job_id in self._running else self.evidence.state_of(job_id)

    @cached_property
    def _running(self) -> frozenset[str]:
        return frozenset(job.id for job in self.evidence.running)

    @cached_property
    def histories(self) -> Histories:
        """Return the reader of backups."""
        return Histories(self.situation.backups, self.state, self.stack)


def finding(
    finding_class: FindingClass, severity: str, address: str, message: str, **more: object
) -> Finding:
    """Return a finding; ``since`` and ``hint`` by keyword."""
    return Finding.model_validate(
        {"finding_class": finding_class, "severity": severity, "address": address, "message": message, **more}
    )
