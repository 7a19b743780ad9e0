"""``run``: recover what dead runners left, back up what is due, prune what expired; once, or again and again.

Each server is worked on under its lease and within its own boundary: one that fails does not stop the others. Which
slot a server is due for is decided once more under the lease, from the slot log that every backup writes, so two
runners never take the same slot.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from csbsctl.errors import Conflict, CsbsError, Damaged, Interrupted
from csbsctl.model.backup import Backup, BackupState, Trigger
from csbsctl.model.policy import Policy
from csbsctl.model.server import seen_alike
from csbsctl.model.slots import SlotLog
from csbsctl.protection.due import Agenda, due_for, note_missed, note_released, read_agenda, slots_under_way
from csbsctl.protection.events import BindingDoubted, JobFailed, PruneHeld, ServerLeft, SlotSkipped
from csbsctl.protection.jobs.backup import BackupOrder, take_backup
from csbsctl.protection.jobs.collection import collect, litterers, note_litter
from csbsctl.protection.pool import Ended, by_provider, each
from csbsctl.protection.prune import Settled, distrusted_clock, prune_server
from csbsctl.protection.recover import (
    abandon_restores,
    any_failed,
    hold,
    recover,
    remove_leftovers,
    running_elsewhere,
)
from csbsctl.protection.scrub import scrub
from csbsctl.protection.site import Site
from csbsctl.rules.contention import Claim
from csbsctl.rules.matching import Bound, Problem
from csbsctl.rules.schedule import delay

LEASE_HELD = "lease.held"
JOBS_KEPT = timedelta(days=30)


class Passed(enum.Enum):
    """Why a turn gave no backup and that is no failure."""

    TAKEN = "the slot is or was somebody else's"
    SKIPPED = "the server was busy with a backup"


@dataclass(frozen=True, slots=True)
class Turn:
    """A server whose turn it is: for which slot of which policy."""

    bound: Bound
    policy: Policy
    slot: datetime


@dataclass(slots=True)
class Summary:
    """What one pass did, in numbers; ``failed`` decides the exit code."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    missed: int = 0
    deleted: int = 0
    recovered: int = 0
    verified: int = 0
    damaged: int = 0
    problems: list[str] = field(default_factory=list)
    """What kept servers from being considered at all: a cloud that is away, a binding that does not resolve."""

    def to_json(self) -> dict[str, Any]:
        """Return the last line of ``run --json``."""
        return {
            "event": "summary",
            "succeeded": self.succeeded,
            "failed": self.failed,
            "skipped": self.skipped,
            "deleted": self.deleted,
            "missed": self.missed,
            "recovered": self.recovered,
            "verified": self.verified,
            "damaged": self.damaged,
            "problems": self.problems,
        }


class Runner:
    """Does what the policies of the site's stack ask for now; ``policies`` restricts it to some of them.

    ``scrub`` is how many bytes of backups each pass verifies afterwards.
    """

    def __init__(self, site: Site, policies: Collection[str] | None = None, *, scrub: int = 0) -> None:
        self._site = site
        self._only = policies
        self._scrub_budget = scrub
        self._unreadable: dict[str, Damaged] = {}
        """Servers whose catalogue document is damaged: they fail, and the others go on."""
        self._settled = Settled()
        self._told: set[tuple[str, str, str]] = set()

    def once(self) -> Summary:
        """Make one pass and return what it did.

        Raises:
            Interrupted: the user wanted to stop; everything begun was finished or undone.
        """
        summary = Summary()
        self._unreadable.clear()
        try:
            summary.recovered = recover(self._site)
            agenda = read_agenda(self._site)
            self._note_problems(agenda, summary)
            self._look_at_all(agenda)
            note_released(self._site, agenda)
            self._back_up(agenda, summary)
            self._prune(agenda, summary)
            self._collect_garbage(summary)
            self._tend_keys()
            self._scrub(summary)
            self._forget_old_jobs(summary)
        finally:
            self._site.vault.audit.flush()
        self._site.stop.check()
        return summary

    def preview(self) -> tuple[Agenda, list[Turn]]:
        """Return whose turn it would be, for ``--dry-run``; changes nothing."""
        agenda = read_agenda(self._site)
        self._look_at_all(agenda)
        return agenda, list(self._turns(agenda))

    def watch(self, interval: float, after_pass: Callable[[Summary], None] = lambda _summary: None) -> None:
        """Make passes until somebody asks to stop, ``interval`` real seconds apart; report each to ``after_pass``."""
        while True:
            try:
                after_pass(self.once())
            except Interrupted:
                raise
            except (
                CsbsError
            ) as error:  # a store or cloud that is away comes back; the next pass finds what is open
                after_pass(Summary(failed=1, problems=[error.message]))
            if self._site.stop.wait(interval):
                self._site.stop.check()

    def _note_problems(self, agenda: Agenda, summary: Summary) -> None:
        """Tell what keeps servers from being considered; a name that means none or several fails that server."""
        for provider, error in agenda.away.items():
            summary.problems.append(f"provider {provider}: {error.message}")
        for problem in agenda.assignment.problems:
            summary.problems.append(f"{problem.address}: {problem.message}")
            summary.failed += problem.path[:1] in {("servers",), ("expect",)}
            if problem.path[:1] == ("expect",):
                self._tell(_doubted(self._site, agenda, problem))
        summary.failed += len(agenda.away)
        for bound, rival in agenda.left.values():
            if self._only is None or bound.policy in self._only:
                self._tell(_left(self._site, bound, rival))

    def _tell(self, event: ServerLeft | BindingDoubted) -> None:
        """Report what stays true from pass to pass when it is new."""
        if (event.binding, event.server_id, event.reason) not in self._told:
            self._told.add((event.binding, event.server_id, event.reason))
            self._site.reporter.report(event)

    def _look_at_all(self, agenda: Agenda) -> None:
        """Learn what became of every server, bound or not, in one go; in a bucket, requests are what costs."""
        catalogue = self._site.vault.catalogue
        bound = {(each.server.provider, each.server.id) for each in agenda.assignment.bound.values()}
        catalogue.look_at({*catalogue.servers(), *bound})

    def _turns(self, agenda: Agenda, missed: dict[str, tuple[datetime, ...]] | None = None) -> list[Turn]:
        """Return who is due, and collect what was missed by server."""
        jobs = self._site.vault.jobs.running()
        now = self._site.clock.now()
        turns = []
        for bound, policy in agenda.bound(self._only):
            if not policy.enabled:
                continue
            try:
                log = agenda.log(self._site, bound, known=True)
            except Damaged as error:
                if missed is None:
                    raise
                self._unreadable[bound.server.id] = error
                continue
            result = due_for(agenda, bound, policy, log, now=now, taken=slots_under_way(jobs, bound))
            if missed is not None and result.missed:
                missed[bound.server.id] = result.missed
            if result.due:
                turns.append(Turn(bound, policy, result.due))
        return turns

    def _back_up(self, agenda: Agenda, summary: Summary) -> None:
        missed: dict[str, tuple[datetime, ...]] = {}
        turns = self._turns(agenda, missed)
        for bound, _ in agenda.bound(self._only):
            if error := self._unreadable.get(bound.server.id):
                summary.failed += 1
                self._report_failure(bound, error)
            summary.missed += note_missed(self._site, bound, missed.get(bound.server.id, ()))
        groups = by_provider(turns, lambda turn: turn.bound.server.provider)
        for ended in each(self._site, groups, lambda turn: self._take(agenda, turn)):
            self._count(ended, summary)

    def _take(self, agenda: Agenda, turn: Turn) -> Backup | Passed:
        """Back up one server for its slot, unless that turns out to be somebody else's or the server busy."""
        server = turn.bound.server
        try:
            with hold(self._site, server.provider, server.id) as lease:
                log = agenda.log(self._site, turn.bound)
                if log.last is not None and log.last >= turn.slot:
                    return Passed.TAKEN
                if self._fell_into_another(turn):
                    return self._skip(turn, "the server was still being backed up")
                fresh = seen_alike(self._site.provider(server.provider).server(server.id), server)
                return take_backup(self._site, lease, fresh, _order(turn))
        except Conflict as conflict:
            if conflict.code != LEASE_HELD:
                raise
            return self._skip_if_busy(turn)

    def _fell_into_another(self, turn: Turn) -> bool:
        start = turn.slot + delay(turn.policy.schedule, turn.bound.server.id)
        server = turn.bound.server
        return any(
            backup.finished_at is not None and backup.started_at < start < backup.finished_at
            for backup in self._site.vault.catalogue.backups(server.provider, server.id)
        )

    def _skip_if_busy(self, turn: Turn) -> Passed:
        """Pass the slot over when a backup keeps the server busy; other work is soon over, the slot is tried again."""
        server = turn.bound.server
        job = running_elsewhere(self._site.vault.jobs.open(), server.provider, server.id)
        if job is None or (job.policy, job.slot) == (turn.bound.policy, turn.slot):
            return Passed.TAKEN
        return self._skip(turn, f"the server is still being backed up by job {job.id}")

    def _skip(self, turn: Turn, reason: str) -> Passed:
        server = turn.bound.server
        new: list[bool] = []

        def change(log: SlotLog) -> SlotLog:
            log = log.as_of(self._site.clock.now())
            new[:] = [log.last is None or log.last < turn.slot]
            return log.with_skipped(turn.slot) if new[0] else log

        self._site.vault.catalogue.update(
            server.provider, server.id, lambda backups: backups, slots=(turn.bound.policy, change)
        )
        if not new[0]:
            return Passed.TAKEN
        about = _about(self._site, turn.bound)
        self._site.reporter.report(
            SlotSkipped(**about, policy=turn.bound.policy, slot=turn.slot, reason=reason)
        )
        return Passed.SKIPPED

    def _count(self, ended: Ended[Turn, Backup | Passed], summary: Summary) -> None:
        match ended:
            case Ended(result=Passed.SKIPPED):
                summary.skipped += 1
            case Ended(error=Interrupted()):
                return
            case Ended(error=CsbsError() as error):
                summary.failed += 1
                self._report_failure(ended.item.bound, error)
            case Ended(result=Backup() as backup) if backup.state is BackupState.AVAILABLE:
                summary.succeeded += 1
            case Ended(result=Backup()):
                summary.failed += 1

    def _report_failure(self, bound: Bound, error: CsbsError) -> None:
        about = _about(self._site, bound)
        self._site.reporter.report(JobFailed(**about, kind="backup", error=error.to_json()))

    def _prune(self, agenda: Agenda, summary: Summary) -> None:
        doubted = agenda.assignment.doubted
        bound = [
            (each, policy)
            for each, policy in agenda.bound(self._only)
            if policy.enabled and each.binding not in doubted and each.server.id not in self._unreadable
        ]
        groups = by_provider(bound, lambda pair: pair[0].server.provider)
        for provider in list(groups):
            self._site.stop.check()
            if distrust := distrusted_clock(self._site, provider):
                about = _about(self._site, groups.pop(provider)[0][0])
                self._site.reporter.report(PruneHeld(**about, policy="", reason=distrust))
                summary.problems.append(distrust)
        for ended in each(
            self._site, groups, lambda pair: prune_server(self._site, agenda, *pair, self._settled)
        ):
            server = ended.item[0].server
            if ended.result and ended.result.deleted:
                summary.deleted += len(ended.result.deleted)
            if ended.error and not isinstance(ended.error, Interrupted) and ended.error.code != LEASE_HELD:
                summary.problems.append(f"prune of {server.name}: {ended.error.message}")

    def _collect_garbage(self, summary: Summary) -> None:
        """Free what deletions and failures left, whoever made it; costs one listing where there is nothing."""
        for provider in sorted(self._site.providers):
            jobs = litterers(self._site, provider)
            if jobs:
                self._collect(provider, jobs, summary)

    def _tend_keys(self) -> None:
        """Finish a change of keys that was cut off, so that a key somebody removed opens nothing any more."""
        if self._site.vault.keys:
            self._site.vault.keys.tend()

    def _scrub(self, summary: Summary) -> None:
        for ended in scrub(self._site, self._scrub_budget):
            backup = ended.item
            if ended.error:
                summary.problems.append(f"verification of {backup.name}: {ended.error.message}")
                continue
            summary.verified += 1
            if ended.result and not ended.result.sound:
                summary.damaged += 1
                what = "; ".join(d.message for found in ended.result.damage.values() for d in found)
                summary.problems.append(f"{backup.name} of {backup.server.name} is damaged: {what}")

    def _forget_old_jobs(self, summary: Summary) -> None:
        """Let go of old jobs and of restores nobody went on with. That reads every job, so on one day of six only.

        Of six, not of a week: whatever weekdays a policy runs on, its turn comes within six of them.
        """
        now = self._site.clock.now()
        if (summary.succeeded or summary.deleted) and now.toordinal() % 6 == 0:
            jobs = self._site.vault.jobs.list()
            abandon_restores(self._site, jobs, now - JOBS_KEPT)
            self._site.vault.jobs.forget(jobs, now - JOBS_KEPT)

    def _collect(self, provider: str, jobs: Collection[str], summary: Summary) -> None:
        try:
            left = remove_leftovers(self._site, provider) if any_failed(self._site, jobs) else ()
            collect(self._site, provider)
            for job in left:
                note_litter(self._site, provider, job)
        except Interrupted:
            raise
        except CsbsError as error:
            summary.problems.append(f"collection of garbage in {provider}: {error.message}")


def _order(turn: Turn) -> BackupOrder:
    policy = turn.policy
    return BackupOrder(
        trigger=Trigger.AUTO,
        need=policy.consistency,
        policy=turn.bound.policy,
        slot=turn.slot,
        full_every=policy.full_every,
        instant_restore=policy.instant_restore,
        tags=dict(policy.tags),
    )


def _doubted(site: Site, agenda: Agenda, problem: Problem) -> BindingDoubted:
    name = problem.address.removeprefix("binding.")
    binding = agenda.declared.bindings[name]
    return BindingDoubted(
        at=site.clock.now(),
        provider=binding.provider,
        binding=name,
        policy=binding.policy,
        reason=f"it {problem.message}; servers known since the last apply are backed up, no others, and nothing is pruned",
    )


def _left(site: Site, bound: Bound, rival: Claim) -> ServerLeft:
    return ServerLeft(
        **_about(site, bound),
        binding=bound.binding,
        stack=rival.stack,
        reason=f"binding.{rival.binding} of stack {rival.stack} has it by an earlier claim; "
        f"exclude it in binding.{bound.binding}, or take it over with `rebind: true`",
    )


def _about(site: Site, bound: Bound) -> dict[str, Any]:
    server = bound.server
    return {
        "at": site.clock.now(),
        "provider": server.provider,
        "server_id": server.id,
        "server": server.name,
    }
