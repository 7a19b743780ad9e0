"""What each change of a plan leads to, and how dangerous that makes it (design section 4).

The class is the worse of two judgements: a table of attributes (``rules.classes``), and what a simulation of old
against new does to backups that exist and to the history to come. Backups are read only of servers whose rules change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from csbsctl.engine.addresses import Canonical, split
from csbsctl.engine.coverage import Coverage
from csbsctl.engine.fates import Histories, Toll, expiry, guard_value, rule_of, toll
from csbsctl.engine.judgement import attribute_class, outlook_class
from csbsctl.engine.reach import Bonds
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.engine.upcoming import next_runs
from csbsctl.model.control import StackState
from csbsctl.model.plan import Change, ChangeClass, Consequence
from csbsctl.model.policy import Policy

Judgement = tuple[ChangeClass, str]


@dataclass(frozen=True)
class Scene:
    """Before and after: the forms, the bonds, and where the backups are."""

    situation: Situation
    state: StackState
    wanted: Canonical
    before: Bonds
    after: Bonds
    days: int

    @cached_property
    def old_policies(self) -> Mapping[str, Policy]:
        """Return the live policies, typed."""
        return {
            name: Policy.model_validate(value) for name, value in self.state.live.get("policies", {}).items()
        }

    @cached_property
    def new_policies(self) -> Mapping[str, Policy]:
        """Return the wanted policies, typed."""
        return {name: Policy.model_validate(value) for name, value in self.wanted["policies"].items()}

    @cached_property
    def histories(self) -> Histories:
        """Return the reader of existing backups."""
        return Histories(self.situation.catalogue, self.state.former)


class Consequences:
    """Works out classes and consequences of the changes between two forms."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._coverage = Coverage(scene.before, scene.after, scene.histories)

    def judged(self, change: Change) -> Change:
        """Return the change with its class, why it has it, and what it leads to."""
        judgements = list(attribute_class(change))
        consequences: list[Consequence] = []
        for consequence, judgement in self._effects(change):
            if consequence:
                consequences.append(consequence)
            if judgement:
                judgements.append(judgement)
        worst = max((cls for cls, _ in judgements), key=lambda cls: cls.rank, default=ChangeClass.NEUTRAL)
        reasons = tuple(dict.fromkeys(reason for cls, reason in judgements if cls is worst))
        return change.model_copy(
            update={"change_class": worst, "consequences": tuple(consequences), "reasons": reasons}
        )

    @cached_property
    def touched(self) -> frozenset[ServerKey]:
        """Return every server whose rules change."""
        return frozenset(self._shifted)

    def _effects(self, change: Change) -> Iterator[tuple[Consequence | None, Judgement | None]]:
        kind, name = split(change.address)
        if tolls := self._tolls.get(change.address):
            zone = self._zone(change)
            yield expiry(tolls, zone), (ChangeClass.DESTROYS_DATA, "existing backups expire earlier")
        if kind == "policy":
            yield from self._policy_effects(change, name)
        if kind == "binding":
            yield from self._coverage.effects(name)
        if kind == "objective" and change.after is not None:
            yield from self._coverage.objective(name, change.after, self._scene.situation)

    def _policy_effects(
        self, change: Change, name: str
    ) -> Iterator[tuple[Consequence | None, Judgement | None]]:
        scene = self._scene
        old, new = scene.old_policies.get(name), scene.new_policies.get(name)
        anchor = scene.state.anchors.get(name, scene.situation.now)
        if old and new:
            existing = self._sample(name)
            yield from outlook_class(old, new, anchor, scene.situation.now, existing, scene.days)
        if new and (old is None or old.schedule != new.schedule or old.enabled != new.enabled):
            yield next_runs(new, anchor, scene.situation.now), None
        if new is None or (old and old.enabled and not new.enabled):
            yield from self._coverage.frozen(name, removed=new is None)

    def _sample(self, name: str) -> Sequence[ServerKey]:
        return [key for key, bond in self._scene.after.items() if bond.policy == name]

    def _zone(self, change: Change) -> str:
        kind, name = split(change.address)
        if kind == "binding" and change.after:
            name = change.after["policy"]
        policy = self._scene.new_policies.get(name)
        return policy.schedule.timezone if policy else "UTC"

    @cached_property
    def _shifted(self) -> Mapping[ServerKey, str]:
        """Return every server whose rules change, with the address that changes them."""
        scene = self._scene
        old, new = scene.state.live.get("policies", {}), scene.wanted["policies"]
        changed = {name for name, value in new.items() if old.get(name) != value}
        laxer = guard_value(scene.wanted) < guard_value(scene.state.live)
        shifted: dict[ServerKey, str] = {}
        for key, bond in scene.after.items():
            before = scene.before.get(key)
            if bond.policy in changed:
                shifted[key] = f"policy.{bond.policy}"
            elif before is None or before.policy != bond.policy:
                shifted[key] = f"binding.{bond.binding}"
            elif laxer:
                shifted[key] = "guardrails"
        return shifted

    @cached_property
    def _tolls(self) -> Mapping[str, list[Toll]]:
        scene = self._scene
        scene.histories.fetch(self._shifted)
        keep_before, keep_after = guard_value(scene.state.live), guard_value(scene.wanted)
        tolls: dict[str, list[Toll]] = {}
        for key, address in self._shifted.items():
            backups = scene.histories.of(key)
            if not backups:
                continue
            old = rule_of(scene.before.get(key), scene.old_policies, keep_before)
            new = rule_of(scene.after[key], scene.new_policies, keep_after)
            if paid := toll(scene.after[key].name, backups, old, new, scene.situation.now):
                tolls.setdefault(address, []).append(paid)
        return tolls
