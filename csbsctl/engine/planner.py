"""Planning: a wish and a situation in, a plan out. Touches nothing.

The steps: reduce the wish to its targets, move what was renamed, resolve bindings to servers, compare live with wanted
(changes) and applied with live (drift), work out what each change leads to, hold it against the guardrails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from csbsctl.engine.addresses import Canonical, differing, look_up
from csbsctl.engine.adoption import Adoption, adopt_objects
from csbsctl.engine.desired import Desired
from csbsctl.engine.digests import fingerprint
from csbsctl.engine.moves import effective_moves, move
from csbsctl.engine.outside import drift_of
from csbsctl.engine.paths import changed_paths
from csbsctl.engine.reach import Reach, resolve
from csbsctl.engine.readable import damage_findings, name_of
from csbsctl.engine.redaction import redact
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.engine.succession import succeed
from csbsctl.engine.verdicts import Verdict, judge
from csbsctl.errors import Damaged
from csbsctl.model.control import StackState
from csbsctl.model.plan import Action, Change, ChangeClass, Plan, Protected

Members = Mapping[str, Mapping[str, str]]

_TOLERANCE = timedelta(minutes=1)
"""How far a commit may lie ahead before the clock is called wrong: writers' clocks differ a little."""


@dataclass(frozen=True)
class Proposal:
    """A plan and all that is needed to carry it out.

    ``wish`` is what was asked for, ``desired`` what it came to with targets; ``state`` is the stack's part with
    objects moved and adopted; ``others`` are parts of other stacks that the commit changes.
    """

    plan: Plan
    wish: Desired
    desired: Desired
    situation: Situation
    state: StackState
    others: Mapping[str, StackState]
    members: Members
    joined: Members
    verdicts: tuple[Verdict, ...]
    targets: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    touched: frozenset[ServerKey] = frozenset()
    guarded: bool = False
    """Whether guardrails other than the default ones are in force or wanted."""
    summary: str | None = None
    """What history says of the commit; made from the plan where None."""

    def outcome(self, now: datetime) -> StackState:
        """Return the stack's part of the control document once this is carried out."""
        return succeed(
            self.state,
            self.desired.canonical,
            members=self.members,
            joined=self.joined,
            now=now,
            targets=self.desired.targets,
        )

    def check_readable(self) -> None:
        """Raise Damaged when the rules of a server change whose backups cannot be read: their fate is not known."""
        for key in sorted(self.touched & self.situation.backups.damaged.keys()):
            error, name = self.situation.backups.damaged[key], name_of(self.situation, key)
            message = f"this changes the rules of {name} ({key[1]}), whose backups cannot be looked at: {error.message}"
            raise Damaged(message, hint=error.hint)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Return a digest of every server the plan touches, by ``provider/id``: how a saved plan knows it is stale."""
        servers = self.situation.servers()
        return {f"{p}/{i}": fingerprint(servers[p, i]) for p, i in sorted(self.touched) if (p, i) in servers}


@dataclass(frozen=True)
class Planner:
    """Makes plans in one situation."""

    situation: Situation
    days: int = field(default=400)
    """How far the simulation of old against new looks ahead."""

    def plan(self, wish: Desired, *, targets: Sequence[str] = (), adopt: Sequence[str] = ()) -> Proposal:
        """Return what it takes to make the wish come true.

        Raises:
            ConfigError: bindings do not fit the servers that are there; with every problem and its place.
            NotFound: a target or an address to adopt is not there.
            UsageError: an address is malformed.
        """
        adoption = adopt_objects(self.situation.document, wish, tuple(adopt))
        moves = effective_moves(adoption.state.live, wish.canonical, wish.moved)
        state = move(adoption.state, moves)
        desired = wish.only(tuple(targets), state.live) if targets else wish
        reach = resolve(desired, state, self.situation, adoption.others)
        changes, touched, quota = self._changes(desired, state, reach, moves, adoption)
        rails = [look_up(form, "guardrails") for form in (state.live, desired.canonical)]
        verdicts = judge(changes, [rail for rail in rails if rail])
        return Proposal(
            plan=self._plan(desired, state, reach, changes, verdicts, quota),
            wish=wish,
            desired=desired,
            situation=self.situation,
            state=state,
            others={**adoption.others, **reach.rebound},
            members=reach.members,
            joined=reach.joined,
            verdicts=verdicts,
            guarded=any(rails),
            targets=tuple(targets),
            adopt=tuple(adopt),
            touched=touched,
        )

    def _changes(
        self,
        desired: Desired,
        state: StackState,
        reach: Reach,
        moves: Mapping[str, str],
        adoption: Adoption,
    ) -> tuple[tuple[Change, ...], frozenset[ServerKey], str | None]:
        origins = {**{new: old for old, new in moves.items()}, **adoption.origins}
        changes = [_change(*found, origins, adoption) for found in differing(state.live, desired.canonical)]
        touched: frozenset[ServerKey] = frozenset()
        quota = _usage_line(self.situation)
        if changes:
            from csbsctl.engine.weighing import weigh  # noqa: PLC0415 - a plan without changes is spared the rules

            weighed = weigh(changes, self.situation, state, desired, reach, self.days)
            changes, touched, quota = list(weighed.changes), weighed.touched, weighed.quota
        changed = {change.address for change in changes}
        changes += [_relocated(a, desired, origins, adoption) for a in origins if a not in changed]
        shown = tuple(redact(change, desired.sensitive) for change in _dangerous_first(changes))
        return shown, touched, quota

    def _plan(  # noqa: PLR0917
        self,
        desired: Desired,
        state: StackState,
        reach: Reach,
        changes: tuple[Change, ...],
        verdicts: tuple[Verdict, ...],
        quota: str | None,
    ) -> Plan:
        document = self.situation.document
        drift = tuple(redact(change, desired.sensitive) for change in drift_of(state))
        return Plan(
            stack=desired.stack,
            vault_id=self.situation.vault_id,
            base_generation=document.generation,
            changes=changes,
            drift=drift,
            findings=(*damage_findings(self.situation), *reach.findings),
            protected=_protected(reach, self.situation),
            quota=quota,
            notes=tuple(_notes(self.situation, verdicts)),
            created_at=self.situation.now,
            commit=desired.commit,
        )


def _change(
    address: str,
    before: Canonical | None,
    after: Canonical | None,
    origins: Mapping[str, str],
    adoption: Adoption,
) -> Change:
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    if address in adoption.origins:
        action = Action.IMPORT
    paths = changed_paths(before, after) if action in (Action.UPDATE, Action.IMPORT) else ()
    return Change.model_construct(
        address=address,
        action=action,
        change_class=ChangeClass.NEUTRAL,
        before=before,
        after=after,
        paths=paths,
        consequences=(),
        reasons=(),
        origin=origins.get(address),
    )


def _relocated(address: str, desired: Desired, origins: Mapping[str, str], adoption: Adoption) -> Change:
    value = look_up(desired.canonical, address)
    action = Action.IMPORT if address in adoption.origins else Action.NO_OP
    return Change(address=address, action=action, before=value, after=value, origin=origins[address])


def _dangerous_first(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: -change.change_class.rank)


def _protected(reach: Reach, situation: Situation) -> Protected:
    everything = (
        len(situation.servers())
        if situation.inventory is not None
        else len(reach.after.keys() | reach.others)
    )
    before = len(reach.before.keys() | reach.others.keys() | reach.taken.keys())
    after = len(reach.after.keys() | reach.others.keys())
    return Protected(before=before, after=after, servers=everything)


def _usage_line(situation: Situation) -> str | None:
    """Return ``Quota: 3 of 10 backups.``, for a plan that changes nothing; None where no cloud limits."""
    parts = [
        f"{quota.backups_used} of {quota.backups} backups{f' at {name}' if len(situation.quotas) > 1 else ''}"
        for name, quota in situation.quotas.items()
        if quota.backups is not None
    ]
    return f"Quota: {', '.join(parts)}." if parts else None


def _notes(situation: Situation, verdicts: tuple[Verdict, ...]) -> Iterable[str]:
    at = situation.document.at
    if at and at > situation.now + _TOLERANCE:
        yield (
            f"Warning: the clock stands before generation {situation.document.generation} "
            f"({at:%Y-%m-%d %H:%M} UTC): is it right?"
        )
    if situation.inventory is None:
        yield "Note: the clouds were not asked (--no-refresh): servers are those of the last apply."
    for verdict in verdicts:
        word = "Error" if verdict.denies else "Warning"
        hint = f" (apply refuses it without --allow {verdict.guardrail})" if verdict.denies else ""
        yield f"{word}: {verdict.message}{hint}"
