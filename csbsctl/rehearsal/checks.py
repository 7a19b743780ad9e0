"""What must hold, held against the world as it is now: one function a kind. Each says what is wrong, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from csbsctl.engine import Desired
from csbsctl.engine.drift import Detector, Evidence
from csbsctl.errors import ConfigError, CsbsError, NotFound
from csbsctl.model.plan import ChangeClass, FindingClass
from csbsctl.protection.events import JobFailed, SlotMissed
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.restore import backup_as_of, restore
from csbsctl.rehearsal.happenings import as_problem
from csbsctl.rehearsal.ledger import stored_bytes
from csbsctl.rehearsal.moments import short, shown
from csbsctl.rehearsal.suite import Expectation, Range
from csbsctl.rehearsal.world import Member, World
from csbsctl.rules.periods import CALENDAR_RULES
from csbsctl.units import format_duration, format_size


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the world: what is expected, of which servers, counting from when, and whether it is the last look."""

    world: World
    expected: Expectation
    members: Sequence[Member]
    since: datetime
    final: bool

    @property
    def now(self) -> datetime:
        """Return the true time of the look."""
        return self.world.now


@dataclass(frozen=True, slots=True)
class Broken:
    """What does not hold: of which server (None: of the whole), what is so, and what was expected."""

    member: Member | None
    actual: str
    wanted: str


Check = Callable[[Look], Iterator[Broken]]


def check(look: Look) -> list[Broken]:
    """Return what of an expectation does not hold now."""
    return list(_CHECKS[look.expected.kind](look))


def _rpo(look: Look) -> Iterator[Broken]:
    limit = look.expected.rpo
    assert limit is not None
    for member in look.members:
        points = look.world.points(member)
        newest = max((point.instant for point in points), default=None)
        age = look.now - (newest or member.created)
        if age > limit:
            whose = (
                "the newest restore point is" if newest else "there is no restore point, and the server is"
            )
            yield Broken(member, f"{whose} {short(age)} old", f"at most {format_duration(limit)}")


def _restore_points(look: Look) -> Iterator[Broken]:
    wanted = look.expected.restore_points
    assert wanted is not None
    for member in look.members:
        yield from _in_range(member, len(look.world.points(member)), wanted, "restore points")


def _reaches_back(look: Look) -> Iterator[Broken]:
    least = look.expected.reaches_back
    assert least is not None
    for member in look.members:
        points = look.world.points(member)
        age = look.now - points[0].instant if points else timedelta(0)
        if age < least:
            actual = (
                f"the oldest restore point is {short(age)} old" if points else "there is no restore point"
            )
            yield Broken(member, actual, f"at least {format_duration(least)}")


def _copies(look: Look) -> Iterator[Broken]:
    wanted = look.expected.copies
    assert wanted is not None
    for member in look.members:
        zone = look.world.zone_of(member)
        days = [point.instant.astimezone(zone).date() for point in look.world.points(member)]
        today = look.now.astimezone(zone).date()
        for rule in CALENDAR_RULES:
            count = getattr(wanted, rule.name) or 0
            there = {rule.period(day) for day in days}
            present = rule.period(today)
            present -= present not in there  # the present one may not have had its turn yet
            absent = [period for period in range(present - count + 1, present + 1) if period not in there]
            if absent:
                labels = _labels(today, rule.period, rule.label, absent)
                actual = f"no restore point of {rule.noun} {', '.join(labels)}"
                yield Broken(member, actual, f"one in each of the newest {count}")


def _labels(
    today: date, period: Callable[[date], int], label: Callable[[date], str], wanted: Sequence[int]
) -> list[str]:
    """Return the names of the first three of some past periods, by walking back from today."""
    names: dict[int, str] = {}
    day = today
    while len(names) < len(wanted) and day.toordinal() > 1:
        if period(day) in wanted:
            names.setdefault(period(day), label(day))
        day -= timedelta(days=1)
    found = [names[number] for number in sorted(names)]
    return found if len(found) <= _NAMED else [*found[:_NAMED], f"and {len(found) - _NAMED} more"]


_NAMED = 3


def _restore(look: Look) -> Iterator[Broken]:
    wanted = look.expected.restore
    assert wanted is not None
    for member in look.members:
        if wanted.as_of == "before-attack":
            if not member.attacks:
                yield Broken(member, "it was never attacked", "an attack to go back before")
                continue
            instant = member.attacks[-1] - timedelta(microseconds=1)
        else:
            instant = look.world.calendar.instant(wanted.as_of)
        problem = _restored(look.world, member, instant)
        if problem:
            yield Broken(member, problem, f"the bytes of {shown(instant, look.world.zone_of(member))}")


def _restored(world: World, member: Member, instant: datetime) -> str | None:
    """Restore a server as a new one, compare, and remove it again; return what is wrong."""
    site, simulator = world.site, world.simulators[member.provider]
    try:
        backup = backup_as_of(site, member.provider, member.id, instant)
    except NotFound as none:
        return none.message
    proof = (world.proofs or {}).get(backup.id)
    if proof is None:
        return f"what the disks held when {backup.name} was made is not known"
    try:
        made = restore(site, RestoreRequest(backup=backup, name=f"{member.name}-restored", power_on=False))
    except CsbsError as error:
        return f"the restore of {backup.name} failed: {as_problem(error)}"
    assert made.server is not None, "a restore under a name makes a server"
    try:
        same = simulator.fingerprints(made.server["id"]) == proof
    finally:
        simulator.delete(made.server["id"])
    return None if same else f"the restore of {backup.name} gave other bytes"


def _protected(look: Look) -> Iterator[Broken]:
    for member in look.members:
        policy = look.world.policy_of(member)
        if (policy is not None) is not look.expected.protected:
            yield Broken(
                member,
                f"it is under policy {policy}" if policy else "it is under no policy",
                "a policy" if look.expected.protected else "none",
            )


def _missed(look: Look) -> Iterator[Broken]:
    assert look.expected.missed is not None
    for member in look.members:
        count = look.world.story.count(SlotMissed, member.id, look.since)
        yield from _in_range(member, count, look.expected.missed, "missed slots", final=look.final)


def _failed(look: Look) -> Iterator[Broken]:
    assert look.expected.failed is not None
    for member in look.members:
        count = look.world.story.count(JobFailed, member.id, look.since)
        yield from _in_range(member, count, look.expected.failed, "failed backups", final=look.final)


def _storage(look: Look) -> Iterator[Broken]:
    limit = look.expected.storage
    assert limit is not None
    total = sum(
        stored_bytes(
            member,
            look.world.backups(member),
            look.world.sizes,
            chains=look.world.providers[member.provider].capabilities.chains,
        )
        for member in look.members
    )
    if total > limit:
        yield Broken(None, f"the backups take {format_size(total)}", f"at most {format_size(limit)}")


def _quota(look: Look) -> Iterator[Broken]:
    limits = look.expected.quota
    assert limits is not None
    volumes = [v for member in look.members for b in look.world.backups(member) for v in b.volumes]
    size = sum(look.world.sizes[volume.volume_id] for volume in volumes)
    if limits.backups is not None and len(volumes) > limits.backups:
        yield Broken(None, f"there are {len(volumes)} backups of disks", f"at most {limits.backups}")
    if limits.size is not None and size > limits.size:
        yield Broken(None, f"they count as {format_size(size)}", f"at most {format_size(limits.size)}")


def _findings(look: Look) -> Iterator[Broken]:
    wanted = look.expected.findings
    assert wanted is not None
    world = look.world
    quiet = {FindingClass.CONFIG.value, FindingClass.ORPHAN.value}
    only = wanted.only or tuple(each.value for each in FindingClass if each.value not in quiet)
    marked = {name: list(provider.marked(world.vault.id)) for name, provider in world.providers.items()}
    evidence = Evidence(world.vault.jobs.running(), world.vault.jobs.state, marked)
    report = Detector(world.situation(), evidence).detect(Desired.of(world.configuration), only=only)
    serious = [finding for finding in report.findings if finding.severity != "note"]
    if len(serious) > wanted.max:
        texts = [f"{finding.finding_class.value}: {finding.message}" for finding in serious[:_NAMED]]
        more = f"; and {len(serious) - _NAMED} more" if len(serious) > _NAMED else ""
        yield Broken(None, f"{len(serious)} findings: {'; '.join(texts)}{more}", f"at most {wanted.max}")


def _plan(look: Look) -> Iterator[Broken]:
    wanted = look.expected.plan
    assert wanted is not None
    try:
        proposal = look.world.proposal(look.world.configured(wanted.change))
    except ConfigError as error:
        yield Broken(None, f"the change is not valid: {error.message}", "a plan")
        return
    if wanted.change_class is not None:
        classes = [change.change_class for change in proposal.plan.changes] or [ChangeClass.NEUTRAL]
        worst = max(classes, key=lambda each: each.rank)
        if worst.value != wanted.change_class:
            yield Broken(None, f"the change is of class {worst.value}", wanted.change_class)
    denying = [verdict.guardrail for verdict in proposal.verdicts if verdict.denies]
    if wanted.refused is not None and bool(denying) is not wanted.refused:
        actual = f"guardrails refuse it ({', '.join(denying)})" if denying else "no guardrail refuses it"
        yield Broken(None, actual, "refused" if wanted.refused else "not refused")


def _in_range(
    member: Member, count: int, wanted: Range, what: str, *, final: bool = True
) -> Iterator[Broken]:
    if wanted.max is not None and count > wanted.max:
        yield Broken(member, f"{count} {what}", f"at most {wanted.max}")
    if wanted.min is not None and count < wanted.min and final:
        yield Broken(member, f"{count} {what}", f"at least {wanted.min}")


_CHECKS: dict[str, Check] = {
    "rpo": _rpo,
    "restore_points": _restore_points,
    "reaches_back": _reaches_back,
    "copies": _copies,
    "restore": _restore,
    "protected": _protected,
    "missed": _missed,
    "failed": _failed,
    "storage": _storage,
    "quota": _quota,
    "findings": _findings,
    "plan": _plan,
}
