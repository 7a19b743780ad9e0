"""What a policy will hold, day by day: backups, stored bytes, what ends when, how far back one can go.

Works on one server or on thousands that share a policy: their coming backups are solved once (``outlook``), what
they have is added up. Bytes are estimates from each server's own history. Knows no quota and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import accumulate, pairwise

from csbsctl.model.backup import Backup, BackupState, Kind
from csbsctl.model.walltime import zone
from csbsctl.rules.chains import Chains
from csbsctl.rules.outlook import Outlook, Scenario
from csbsctl.rules.retention import age_order

DAYS = 400
"""How far a forecast looks: more than a year, so that every clock change and yearly rule is met."""

_GUESSED_INCREMENT = 10
"""Without any increment to learn from, one is taken to be a tenth of a full backup."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Mean bytes that one full and one incremental backup of a server store."""

    full: float = 0
    incremental: float = 0
    guessed: bool = True
    """Whether one of the two is a guess, for want of history."""


@dataclass(frozen=True, slots=True)
class Day:
    """One local day's end: backups on offer, backups whose data is stored (hidden ones too), bytes stored."""

    date: date
    offered: int
    held: int
    stored: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The future of some servers under one scenario."""

    now: datetime
    end: datetime
    servers: int
    days: tuple[Day, ...]
    runs: int
    """Backups to be taken of each server."""
    longest_gap: timedelta | None
    """The worst recovery point to expect: the longest time without a new backup; None without any to come."""
    oldest_at_end: datetime | None
    """The oldest recovery point on offer at the end, of the server that can go back least far."""
    guessed: bool
    """Whether bytes are guessed rather than learned, for some server."""
    ends: Mapping[str, datetime] = field(default_factory=dict, repr=False)
    """When each existing backup that ends in sight stops being offered, where asked for; ``now``: at the next run."""

    @property
    def peak(self) -> Day | None:
        """Return the day on which most bytes are stored, the first of them."""
        return max(self.days, key=lambda day: day.stored, default=None)

    @property
    def peak_held(self) -> Day | None:
        """Return the day at whose end most backups are stored.

        A run prunes after it has backed up: while it works, each server holds one more, and a quota must allow it.
        """
        return max(self.days, key=lambda day: day.held, default=None)


def learn_sizes(backups: Iterable[Backup], disk_bytes: int = 0) -> Sizes:
    """Return what a server's backups store on average; ``disk_bytes`` stands in where there is no full backup."""
    stored: dict[Kind, list[int]] = {Kind.FULL: [], Kind.INCREMENTAL: []}
    for backup in backups:
        if backup.good:
            stored[backup.kind].append(backup.stored)
    fulls, increments = stored[Kind.FULL], stored[Kind.INCREMENTAL]
    full = sum(fulls) / len(fulls) if fulls else float(disk_bytes)
    incremental = sum(increments) / len(increments) if increments else full / _GUESSED_INCREMENT
    return Sizes(full, incremental, guessed=not (fulls and increments))


def forecast(
    histories: Mapping[str, Sequence[Backup]],
    scenario: Scenario,
    *,
    now: datetime,
    days: int = DAYS,
    disk_bytes: Mapping[str, int] | None = None,
) -> Forecast:
    """Return what becomes of servers under a scenario.

    Args:
        histories: all backups of each server, by server ID; an empty sequence for a new server.
        scenario: the policy and its name, or none.
        now: the present.
        days: how far to look.
        disk_bytes: the size of each server's disks, to guess with where there is no history.
    """
    outlook = Outlook(scenario, now, now + timedelta(days=days))
    ends: dict[str, datetime] = {}
    return Forecaster(outlook).forecast(histories.items(), disk_bytes or {}, ends)


class Forecaster:
    """Adds up servers over one outlook."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._calendar = _Calendar(outlook)
        self._patterns: dict[tuple[int, bool], _Pattern] = {}

    def forecast(
        self,
        histories: Iterable[tuple[str, Sequence[Backup]]],
        disk_bytes: Mapping[str, int] | None = None,
        ends: dict[str, datetime] | None = None,
    ) -> Forecast:
        """Return the forecast of all these servers together, each given once with its backups.

        ``ends``, where given, is filled with the ends of existing backups: there may be very many.
        """
        outlook = self._outlook
        ledger = _Ledger(self._calendar)
        servers = 0
        oldest: list[datetime | None] = []
        first_points: list[datetime] = []
        guessed = False
        for server, backups in histories:
            servers += 1
            existing = outlook.existing_ends(backups)
            sizes = learn_sizes(backups, (disk_bytes or {}).get(server, 0))
            guessed = guessed or sizes.guessed
            pattern = self._pattern(backups)
            ledger.add_existing(backups, existing, pattern.first_chain_end)
            ledger.add_future(pattern, sizes)
            if ends is not None:
                ends.update((b, end) for b, end in existing.items() if end <= outlook.end)
            good = [b for b in backups if b.good]
            oldest.append(self._oldest(good, existing))
            first_points.append(max((b.instant for b in good), default=outlook.now))
        return Forecast(
            now=outlook.now,
            end=outlook.end,
            servers=servers,
            days=tuple(ledger.days()),
            runs=len(outlook.slots),
            longest_gap=_longest_gap(min(first_points, default=None), outlook.slots),
            oldest_at_end=max((o for o in oldest if o is not None), default=None) if all(oldest) else None,
            guessed=guessed,
            ends=ends or {},
        )

    def _pattern(self, backups: Sequence[Backup]) -> _Pattern:
        """Return which coming backups are full, by how long the newest chain is; shared by servers alike."""
        policy = self._outlook.scenario.policy
        full_every = policy.full_every if policy else None
        good = sorted((b for b in backups if b.good), key=age_order)
        chained = _chained(backups, full_every)
        length = 0
        for backup in reversed(good):
            length += 1
            if backup.kind is Kind.FULL:
                break
        length = min(length, full_every) if full_every is not None else min(length, 1)
        key = (length, chained)
        if key not in self._patterns:
            self._patterns[key] = _Pattern(self._outlook, length, full_every, chained=chained)
        return self._patterns[key]

    def _oldest(self, good: Sequence[Backup], existing: Mapping[str, datetime]) -> datetime | None:
        end = self._outlook.end
        staying = [b.instant for b in good if existing[b.id] > end]
        if staying:
            return min(staying)
        pairs = zip(self._outlook.slots, self._outlook.slot_ends, strict=True)
        return next((slot for slot, ends in pairs if ends > end), None)


def _chained(backups: Sequence[Backup], full_every: int | None) -> bool:
    """Return whether increments will depend on their parents, judging by those there are, else by ``full_every``."""
    increments = [b for b in backups if b.good and b.kind is Kind.INCREMENTAL]
    if increments:
        return any(v.parent is not None for b in increments for v in b.volumes)
    return full_every is not None


class _Pattern:
    """Which coming backups are full, and until when the data of each must stay for those that build on it."""

    def __init__(self, outlook: Outlook, length: int, full_every: int | None, *, chained: bool) -> None:
        count = len(outlook.slots)
        self.full = [False] * count
        for position in range(count):
            if length == 0 or (full_every is not None and length >= full_every):
                self.full[position] = True
                length = 0
            length += 1
        self.data_ends = list(outlook.slot_ends)
        self.first_chain_end: datetime | None = None
        """Until when the newest existing backup is needed by the increments to come; None when by none."""
        if not chained:
            return
        for position in range(count - 1, 0, -1):
            if not self.full[position]:
                needed = self.data_ends[position]
                self.data_ends[position - 1] = max(self.data_ends[position - 1], needed)
        if count and not self.full[0]:
            self.first_chain_end = self.data_ends[0]


class _Calendar:
    """The local days of an outlook as indexes from 0, and those of its slots and their ends."""

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self._zone = zone(outlook.timezone)
        self.first = self._ordinal(outlook.now)
        self.length = self._ordinal(outlook.end) - self.first + 1
        self.slot_days = [day.toordinal() - self.first for day in outlook.line.days]

    def index(self, instant: datetime) -> int:
        """Return the index of an instant's day: 0 for the past, the length for what lies out of sight."""
        if instant <= self.outlook.now:
            return 0
        if instant > self.outlook.end:
            return self.length
        return self._ordinal(instant) - self.first

    def _ordinal(self, instant: datetime) -> int:
        return instant.astimezone(self._zone).toordinal()


class _Ledger:
    """Births and deaths by day, for many servers; one entry more than there are days, for what is out of sight."""

    def __init__(self, calendar: _Calendar) -> None:
        self._calendar = calendar
        size = calendar.length + 1
        self._offered = [0] * size
        self._held = [0] * size
        self._stored = [0.0] * size
        self._future: dict[int, tuple[_Pattern, int, float, float]] = {}

    def add_existing(
        self, backups: Sequence[Backup], ends: Mapping[str, datetime], first_chain_end: datetime | None
    ) -> None:
        """Count a server's backups until they end, and their data until nothing builds on it any more."""
        present = [b for b in backups if b.state is not BackupState.DELETED]
        data_ends = {b.id: ends.get(b.id, self._calendar.outlook.now) for b in present}
        if first_chain_end is not None:
            newest = max((b for b in present if b.good), key=age_order, default=None)
            if newest is not None:
                data_ends[newest.id] = max(data_ends[newest.id], first_chain_end)
        chains = Chains(present)
        for backup in chains.leaf_first(present):
            for parent in chains.parents(backup.id):
                data_ends[parent] = max(data_ends[parent], data_ends[backup.id])
        for backup in present:
            if backup.good:
                self._offered[0] += 1
                self._offered[self._calendar.index(ends[backup.id])] -= 1
            last = self._calendar.index(data_ends[backup.id])
            self._held[0] += 1
            self._held[last] -= 1
            self._stored[0] += backup.stored
            self._stored[last] -= backup.stored

    def add_future(self, pattern: _Pattern, sizes: Sizes) -> None:
        """Count a server's coming backups; servers of one pattern are added up first and counted once."""
        _, servers, full, incremental = self._future.get(id(pattern), (pattern, 0, 0.0, 0.0))
        self._future[id(pattern)] = pattern, servers + 1, full + sizes.full, incremental + sizes.incremental

    def days(self) -> Iterable[Day]:
        """Yield the state at the end of every day."""
        for pattern, servers, full, incremental in self._future.values():
            self._count_pattern(pattern, servers, full, incremental)
        self._future.clear()
        columns = zip(
            accumulate(self._offered), accumulate(self._held), accumulate(self._stored), strict=True
        )
        for index, (offered, held, stored) in zip(range(self._calendar.length), columns, strict=False):
            yield Day(date.fromordinal(self._calendar.first + index), offered, held, round(stored))

    def _count_pattern(self, pattern: _Pattern, servers: int, full: float, incremental: float) -> None:
        calendar = self._calendar
        index = calendar.index
        rows = zip(
            calendar.slot_days, calendar.outlook.slot_ends, pattern.data_ends, pattern.full, strict=True
        )
        for born, end, data_end, is_full in rows:
            last = index(end)
            gone = last if data_end is end else index(data_end)
            size = full if is_full else incremental
            self._offered[born] += servers
            self._offered[last] -= servers
            self._held[born] += servers
            self._held[gone] -= servers
            self._stored[born] += size
            self._stored[gone] -= size


def _longest_gap(newest: datetime | None, slots: Sequence[datetime]) -> timedelta | None:
    if not slots:
        return None
    points = [newest, *slots] if newest is not None else slots
    return max((later - earlier for earlier, later in pairwise(points)), default=None)
