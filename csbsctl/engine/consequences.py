"""What each change of a plan leads to, and how dangerous that makes it (design section 4).

The class is the worse of two judgements: a table of attributes (``rules.classes``), and both futures lived over
existing backups and the days to come (``rules.comparison``). Backups are read only of servers whose rules change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from csbsctl.engine.addresses import Canonical, look_up, split
from csbsctl.engine.bonds import Bonds
from csbsctl.engine.coverage import Coverage
from csbsctl.engine.fates import Toll
from csbsctl.engine.histories import Histories
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.engine.upcoming import next_runs
from csbsctl.model.control import StackState
from csbsctl.model.plan import Change, ChangeClass, Consequence
from csbsctl.model.policy import Policy
from csbsctl.rules.classes import classify, worst
from csbsctl.rules.comparison import Comparison
from csbsctl.rules.outlook import Scenario

Judgement = tuple[ChangeClass, str]
Effect = tuple[Consequence | None, Judgement | None]

Transition = tuple[str | None, str]
"""From which policy to which a server goes; the same twice where only the policy itself changes."""

_COMPARISONS = 32
"""So many transitions are kept worked out, some 50 KB each: all bindings of a policy make the same one."""


@dataclass(frozen=True)
class Scene:
    """Before and after: the forms, the bonds, and where the backups are."""

    stack: str
    situation: Situation
    state: StackState
    wanted: Canonical
    before: Bonds
    after: Bonds
    days: int
    taken: Bonds = field(default_factory=dict)
    """Servers that another stack has before."""

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
        return Histories(self.situation.backups, self.state, self.stack)

    @cached_property
    def coming(self) -> Mapping[str, Scenario]:
        """Return every wanted policy as a scenario."""
        return {name: self.scenario(name, new=True) for name in self.new_policies}

    def scenario(self, name: str | None, *, new: bool) -> Scenario:
        """Return a policy as it is live or (new) as it is wanted; without a policy where it does not exist."""
        policies, form = (self.new_policies, self.wanted) if new else (self.old_policies, self.state.live)
        anchor = self.state.anchors.get(name or "", self.situation.now)
        keep = form.get("guardrails", {}).get("keep_last_good", 1)
        return Scenario(name or "", policies.get(name or ""), anchor, keep)


class Consequences:
    """Works out classes and consequences of the changes between two forms."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._coverage = Coverage(scene.before, scene.after, scene.histories, scene.taken)
        self._compared = lru_cache(maxsize=_COMPARISONS)(self._compare)

    def judged(self, change: Change) -> Change:
        """Return the change with its class, why it has it, and what it leads to."""
        judgements = list(self._by_attributes(change))
        consequences: list[Consequence] = []
        for consequence, judgement in self._effects(change):
            if consequence:
                consequences.append(consequence)
            if judgement:
                judgements.append(judgement)
        change_class = worst([judged for judged, _ in judgements])
        reasons = tuple(dict.fromkeys(reason for judged, reason in judgements if judged is change_class))
        return change.model_copy(
            update={"change_class": change_class, "consequences": tuple(consequences), "reasons": reasons}
        )

    @cached_property
    def touched(self) -> frozenset[ServerKey]:
        """Return every server whose rules change."""
        return frozenset(key for groups in self._shifted.values() for keys in groups.values() for key in keys)

    def _by_attributes(self, change: Change) -> Iterator[Judgement]:
        """Yield what the table says; where a binding only names servers, what becomes of those is known better."""
        kind, name = split(change.address)
        named = kind == "binding" and not any(
            "match" in (form or {}) for form in (change.before, change.after)
        )
        spared = named and not self._coverage.loses(name) and not self._abandoned(change)
        for judgement in classify(change.address, change.before, change.after).judgements:
            if spared and judgement.rule in {
                "binding.removed",
                "binding.servers",
                "binding.exclude",
                "binding.provider",
            }:
                continue
            yield judgement.change_class, judgement.reason

    def _effects(self, change: Change) -> Iterator[Effect]:
        kind, name = split(change.address)
        transitions = dict(self._shifted.get(change.address, {}))
        if kind == "policy" and change.before and change.after:
            transitions.setdefault((name, name), [])
        for transition, keys in transitions.items():
            yield from self._futures(transition, keys)
        if kind == "policy":
            yield from self._policy(name)
        elif kind == "binding":
            yield from self._coverage.effects(name)
            yield from self._out_of_reach(change, name)
        elif kind == "objective" and change.after:
            yield from self._coverage.objective(change.after, self._scene.situation)

    def _abandoned(self, change: Change) -> str | None:
        """Return the provider that a binding was for and that the configuration does not have any more."""
        provider: str | None = (change.before or {}).get("provider")
        inventory = self._scene.situation.inventory
        return None if inventory is None or provider in inventory else provider

    def _out_of_reach(self, change: Change, binding: str) -> Iterator[Effect]:
        """Yield the backups with which nothing can be done while no provider has the name that theirs had."""
        provider = self._abandoned(change)
        if provider is None:
            return
        keys = [(provider, server) for server in self._scene.state.members.get(binding, {})]
        count = self._scene.histories.count(keys)
        if count:
            message = (
                f"provider {provider} is not configured any more: {count:,} backup{'' if count == 1 else 's'} in it "
                "can be neither restored nor deleted until it is"
            )
            details = {"provider": provider, "servers": len(keys), "backups": count}
            yield (
                Consequence(kind="out-of-reach", message=message, details=details),
                (ChangeClass.WEAKENS, message),
            )

    def _futures(self, transition: Transition, keys: list[ServerKey]) -> Iterator[Effect]:
        """Yield what old against new does to the backups of some servers, and to any in the long run."""
        scene = self._scene
        old, new, comparison = self._compared(transition)
        timezone = new.policy.schedule.timezone if new.policy else "UTC"
        toll = Toll(scene.situation.now, timezone)
        found = False
        for key, backups in scene.histories.each(keys):
            found = found or bool(backups)
            toll.add(backups, comparison.endings(key[1], backups))
        if old.policy is None and not found:
            return
        change_class, worse = comparison.outlook(destroys=toll.any)
        for consequence in toll.consequences():
            yield consequence, (change_class, consequence.message)
        for reason in worse:
            yield Consequence(kind="outlook", message=reason), (ChangeClass.WEAKENS, reason)
        if old.policy is not None and change_class is ChangeClass.STRENGTHENS:
            yield None, (ChangeClass.STRENGTHENS, "more recovery points")

    def _compare(self, transition: Transition) -> tuple[Scenario, Scenario, Comparison]:
        """Return how it was, how it will be, and both side by side; many bindings share one transition."""
        scene = self._scene
        old, new = scene.scenario(transition[0], new=False), scene.scenario(transition[1], new=True)
        return old, new, Comparison(old, new, now=scene.situation.now, days=scene.days)

    def _policy(self, name: str) -> Iterator[Effect]:
        scene = self._scene
        old, new = scene.old_policies.get(name), scene.new_policies.get(name)
        if new is None or (old and old.enabled and not new.enabled):
            yield from self._coverage.frozen(name, removed=new is None)
        if new:
            anchor = scene.state.anchors.get(name, scene.situation.now)
            yield from self._coverage.objectives_of(name, new, anchor, scene.wanted, scene.situation)
            if old is None or old.schedule != new.schedule or old.enabled != new.enabled:
                yield next_runs(new, anchor, scene.situation.now), None

    @cached_property
    def _shifted(self) -> Mapping[str, Mapping[Transition, list[ServerKey]]]:
        """Return the servers whose rules change: by the address that changes them, and from which policy to which."""
        scene = self._scene
        old, new = scene.state.live.get("policies", {}), scene.wanted["policies"]
        changed = {name for name, value in new.items() if old.get(name) != value}
        rails = [(look_up(form, "guardrails") or {}) for form in (scene.state.live, scene.wanted)]
        laxer = rails[1].get("keep_last_good", 1) < rails[0].get("keep_last_good", 1)
        shifted: dict[str, dict[Transition, list[ServerKey]]] = {}
        for key, bond in scene.after.items():
            before = scene.before.get(key)
            was = before.policy if before else None
            if was != bond.policy:
                address = f"binding.{bond.binding}"
            elif bond.policy in changed:
                address = f"policy.{bond.policy}"
            elif laxer:
                address = "guardrails"
            else:
                continue
            shifted.setdefault(address, {}).setdefault((was, bond.policy), []).append(key)
        return shifted
