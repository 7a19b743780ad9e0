"""Who owes their policy a backup now: the live policies and bindings of a stack against inventory and slot logs.

Decides and changes nothing but the slot logs, where slots that passed unused are noted once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from csbsctl.errors import Conflict, CsbsError, Damaged
from csbsctl.model.backup import Backup
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.model.declared import Binding, Declared
from csbsctl.model.job import Job, JobKind
from csbsctl.model.policy import Policy
from csbsctl.model.server import Server
from csbsctl.model.slots import SlotLog, not_ahead
from csbsctl.protection.events import SlotMissed
from csbsctl.protection.site import Site
from csbsctl.rules.contention import Claim, claim, first
from csbsctl.rules.due import DueResult, due_slots
from csbsctl.rules.matching import Assignment, Bound, assign
from csbsctl.rules.renames import under_present_names
from csbsctl.rules.schedule import Timetable, delay


@dataclass(frozen=True, slots=True)
class Agenda:
    """What one pass works from: the stack as it is in force, the servers it reaches, and clouds that did not answer."""

    stack: str
    generation: int
    at: datetime | None
    state: StackState
    declared: Declared
    inventory: Mapping[str, Sequence[Server]]
    """The servers of every cloud that a binding names."""
    assignment: Assignment
    """Whom this stack has; servers that are left to another stack are not among them."""
    away: dict[str, CsbsError]
    left: Mapping[str, tuple[Bound, Claim]]
    """Servers that this stack's bindings reach too, and the claim of the stack that has them, by ID."""
    others: frozenset[str]
    """Every server that another stack's bindings reach, by ID."""

    def policy(self, name: str) -> Policy | None:
        """Return a policy in force."""
        return self.declared.policies.get(name)

    def bound(self, only: Collection[str] | None = None) -> Iterator[tuple[Bound, Policy]]:
        """Yield the bound servers with their policies, of some policies or of all."""
        for bound in self.assignment.bound.values():
            policy = self.policy(bound.policy)
            if policy is not None and (only is None or bound.policy in only):
                yield bound, policy

    def servers(self, site: Site) -> Iterator[tuple[str, Sequence[Server]]]:
        """Yield every configured cloud that answers with its servers; those not asked yet are asked now."""
        for name, provider in site.providers.items():
            if name not in self.away:
                yield name, self.inventory[name] if name in self.inventory else list(provider.servers())

    def names(self, policy: str) -> tuple[str, ...]:
        """Return all names of a policy: the present one and those it had before."""
        return (policy, *(name.rpartition("/")[2] for name in self.state.former.get(policy, ())))

    def backups(self, site: Site, server: Server, *, known: bool = False) -> tuple[Backup, ...]:
        """Return a server's backups, each under the present name of its policy (``STACK/NAME`` of another stack's).

        ``known``, here and below, accepts what this process has seen: for what is judged again under a lease.
        """
        backups = site.vault.catalogue.backups(server.provider, server.id, known=known)
        return under_present_names(backups, self.state, self.stack)

    def log(self, site: Site, bound: Bound, *, known: bool = False) -> SlotLog:
        """Return what became of a bound server's slots until now, also while its policy had another name."""
        slots = site.vault.catalogue.slots(bound.server.provider, bound.server.id, known=known)
        logs = [slots[name] for name in self.names(bound.policy) if name in slots]
        newest = max(logs, key=lambda log: log.last.timestamp() if log.last else 0, default=SlotLog())

        def served() -> Iterator[datetime]:
            """Read the backups only where a clock was wrong: there may be very many, and few are ever asked for."""
            for backup in self.backups(site, bound.server):
                if backup.slot and backup.policy == bound.policy:
                    yield backup.slot

        return newest.as_of(site.clock.now(), served())


def read_agenda(site: Site) -> Agenda:
    """Read what is in force now and whom it reaches; a cloud that does not answer is noted, the others go on."""
    document = site.vault.control.head()
    state = document.stacks.get(site.stack) or StackState(live={}, applied={})
    declared = Declared.model_validate(state.live)
    used = {binding.provider for binding in declared.bindings.values()}
    inventory: dict[str, list[Server]] = {}
    away: dict[str, CsbsError] = {}
    for name in sorted(used):
        site.stop.check()
        try:
            inventory[name] = list(site.provider(name).servers())
        except CsbsError as error:
            away[name] = error
    reachable = {n: b for n, b in declared.bindings.items() if b.provider not in away}
    assignment = assign(reachable, inventory, members=state.members)
    others = _reach_of_others(site.stack, document, inventory)
    left = _leave_to_others(site.stack, document, assignment, others)
    agenda = Agenda(
        stack=site.stack,
        generation=document.generation,
        at=document.at,
        state=state,
        declared=declared,
        inventory=inventory,
        assignment=assignment,
        away=away,
        left=left,
        others=frozenset(server_id for reached in others.values() for server_id in reached),
    )
    _keep_known(site, agenda)
    return agenda


def _reach_of_others(
    stack: str, document: ControlDocument, inventory: Mapping[str, Sequence[Server]]
) -> dict[str, dict[str, Bound]]:
    """Return whom the live bindings of each other stack reach in these clouds, by server ID."""
    reached = {}
    for name, state in document.stacks.items():
        policies = state.live.get("policies", {})
        bindings = {
            key: Binding.model_validate(value)
            for key, value in state.live.get("bindings", {}).items()
            if name != stack and value["provider"] in inventory and value["policy"] in policies
        }
        if bindings:
            reached[name] = assign(bindings, inventory, members=state.members).bound
    return reached


def _leave_to_others(
    stack: str, document: ControlDocument, assignment: Assignment, others: Mapping[str, Mapping[str, Bound]]
) -> dict[str, tuple[Bound, Claim]]:
    """Take out of the assignment the servers that another stack's live bindings reach and have first."""
    left: dict[str, tuple[Bound, Claim]] = {}
    for name, theirs in others.items():
        for server_id in theirs.keys() & assignment.bound.keys():
            ours = assignment.bound[server_id]
            if theirs[server_id].server.provider != ours.server.provider:
                continue
            mine = claim(stack, document.stacks[stack], ours.binding, server_id)
            rival = claim(name, document.stacks[name], theirs[server_id].binding, server_id)
            if first((mine, rival)) is rival:
                del assignment.bound[server_id]
                assignment.refused.pop(server_id, None)
                left[server_id] = ours, rival
    return left


def _keep_known(site: Site, agenda: Agenda) -> None:
    """Keep the servers that runs found by a rule, and that no apply recorded yet, while their rule is not believed."""
    bound = agenda.assignment.bound
    for name in agenda.assignment.doubted:
        binding = agenda.declared.bindings[name]
        for server in agenda.inventory[binding.provider]:
            if (
                server.id in bound
                or server.id in agenda.others
                or {server.id, server.name} & {*binding.exclude}
            ):
                continue
            slots = _readable_slots(site, server.provider, server.id)
            if any(n in slots and not slots[n].released for n in agenda.names(binding.policy)):
                bound[server.id] = Bound(server, name, binding.policy)


def note_released(site: Site, agenda: Agenda) -> None:
    """Write down which servers left a policy in force, or came back, since a run last looked; each once.

    Their backups of it freeze. ``backup list`` tells that without asking a cloud, also before the next apply. What
    became of the servers' slots is taken as known: a pass looks at all of them first.
    """
    unsure = {agenda.declared.bindings[name].policy for name in agenda.assignment.doubted}
    now = site.clock.now()
    for provider, server in site.vault.catalogue.servers():
        if provider not in agenda.inventory or server in agenda.others:
            continue
        bound = agenda.assignment.bound.get(server)
        for policy, log in _readable_slots(site, provider, server, known=True).items():
            stays = bound is not None and policy in agenda.names(bound.policy)
            if stays is (log.released is None) or policy in unsure:
                continue
            _let_go(site, (provider, server), policy, None if stays else now)


def _readable_slots(site: Site, provider: str, server: str, *, known: bool = False) -> dict[str, SlotLog]:
    """Return a server's slots; none where its document is damaged, which fails that server elsewhere."""
    try:
        return site.vault.catalogue.slots(provider, server, known=known)
    except Damaged:
        return {}


def _let_go(site: Site, key: tuple[str, str], policy: str, at: datetime | None) -> None:
    with suppress(Conflict):  # whoever is busy with it lets the next run note it
        site.vault.catalogue.update(*key, lambda backups: backups, slots=(policy, lambda log: log.let_go(at)))


def due_for(
    agenda: Agenda,
    bound: Bound,
    policy: Policy,
    log: SlotLog,
    *,
    now: datetime,
    taken: Collection[datetime] = (),
) -> DueResult:
    """Return what a bound server owes its policy; slots that somebody is working on (``taken``) are nobody else's."""
    last = max([slot for slot in (log.last, *taken) if slot is not None], default=None)
    late = policy.schedule.start_within + delay(policy.schedule, bound.server.id)
    since = _since(agenda, bound, now, otherwise=last or now - late)
    timetable = Timetable(policy.schedule, agenda.state.anchors.get(bound.policy, since))
    result = due_slots(
        timetable,
        since=since,
        last_slot=last,
        now=now,
        start_within=policy.schedule.start_within,
        delay=delay(policy.schedule, bound.server.id),
    )
    if log.last is None and not _is_long_known(agenda, bound):
        # A rule found it after the last apply, nobody knows when: it cannot have missed anything.
        return DueResult(result.due)
    return result


def note_missed(site: Site, bound: Bound, missed: tuple[datetime, ...]) -> int:
    """Write down slots that passed unused, report those that nobody reported before, and return how many."""
    if not missed:
        return 0
    new: list[datetime] = []

    def change(log: SlotLog) -> SlotLog:
        log = log.as_of(site.clock.now())
        new[:] = [slot for slot in missed if log.last is None or slot > log.last]
        return log.with_missed(missed)

    server = bound.server
    site.vault.catalogue.update(
        server.provider, server.id, lambda backups: backups, slots=(bound.policy, change)
    )
    for slot in new:
        site.reporter.report(
            SlotMissed(
                at=site.clock.now(),
                provider=server.provider,
                server_id=server.id,
                server=server.name,
                policy=bound.policy,
                slot=slot,
            )
        )
    return len(new)


def slots_under_way(jobs: Collection[Job], bound: Bound) -> tuple[datetime, ...]:
    """Return the slots of a server that open backup jobs are working on."""
    server = bound.server
    return tuple(
        job.slot
        for job in jobs
        if job.slot
        and job.kind is JobKind.BACKUP
        and (job.provider, job.server, job.policy) == (server.provider, server.id, bound.policy)
    )


def _since(agenda: Agenda, bound: Bound, now: datetime, otherwise: datetime) -> datetime:
    """Return when the server came under the policy: the latest of what says so (design section 8).

    ``otherwise`` counts instead of what a clock that ran ahead wrote: else nothing were due until then.
    """
    known = agenda.state.since
    addresses = (
        f"policy.{bound.policy}",
        f"binding.{bound.binding}",
        f"binding.{bound.binding}/{bound.server.id}",
    )
    moments = [known[address] for address in addresses if address in known]
    if bound.server.created_at:  # a named one, too: it may have been built anew under its name
        moments.append(bound.server.created_at)
    believed = not_ahead(moments or [agenda.at or now], now)
    return max(believed if len(believed) == max(len(moments), 1) else [*believed, otherwise])


def _is_long_known(agenda: Agenda, bound: Bound) -> bool:
    return bound.server.id in agenda.state.members.get(bound.binding, {}) or _is_named(
        agenda.declared.bindings[bound.binding], bound.server
    )


def _is_named(binding: Binding, server: Server) -> bool:
    return server.id in binding.servers or server.name in binding.servers
