"""The catalogue: for each server one document with all its backups, changed by compare-and-swap.

The document also keeps what became of each policy's slots, and the highest lease number that ever wrote it, so that a runner that was taken over and wakes
from the dead cannot commit. Knows nothing of what backups are worth; retention is elsewhere.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from csbsctl.clock import Clock
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import Conflict, CsbsError, Damaged, LeaseLost, NotFound, UsageError
from csbsctl.model.backup import Backup
from csbsctl.model.slots import SlotLog
from csbsctl.vault.concurrency import in_parallel
from csbsctl.vault.documents import Codec, damaged
from csbsctl.vault.naming import server_segment, split_segment
from csbsctl.vault.series import Generation, Series, listed_heads
from csbsctl.vault.stores.contract import Store

FOLDER = "catalogue"

_ATTEMPTS = 40
_SHORTEST_PREFIX = 6
_BACKUPS: TypeAdapter[tuple[Backup, ...]] = TypeAdapter(tuple[Backup, ...])

_REMEMBERED = 64
"""Servers whose backups are kept at hand: parsed they are large, and there may be very many servers."""

_WRITTEN = 32
"""Servers whose backups are kept at hand as they are written: a commit changes one or two of perhaps hundreds."""

_AHEAD = 4
"""Servers in the window for each thread that reads all of them, for the same reason."""

_FEW = 64
"""So many servers are read one by one rather than after a listing of all."""

_SURE_FOR = 3600.0
"""Seconds for which a server's next generation is asked for by its number: that it was compacted away takes a week."""

_UNLISTED = 0
"""Stands for the newest generation of a server where no listing told its number."""

MENDING = (
    "`csbsctl vault check --repair` goes back to the last state that can be read, then `csbsctl backup rebuild` "
    "adds what that one misses"
)
"""What to do about the document of a server that is damaged."""

Key = tuple[str, str]
"""Provider and server id."""

Output = TypeVar("Output")
Backups = tuple[Backup, ...]
Damage = Callable[[Key, Damaged], None]
"""Told of a server whose document cannot be read."""

Change = Callable[[tuple[Backup, ...]], Iterable[Backup]]
SlotChange = Callable[[SlotLog], SlotLog]


class Catalogue:
    """Reads and changes the catalogue; safe to use from many threads."""

    def __init__(self, store: Store, codec: Codec, clock: Clock) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._known: dict[str, Generation] = {}
        self._sure: dict[str, float] = {}
        self._recent: OrderedDict[str, tuple[int, Backups]] = OrderedDict()
        self._forms: OrderedDict[str, list[tuple[Backup, Any]]] = OrderedDict()
        self._lock = threading.Lock()
        """Guards ``_known``, the newest generation seen of each server without its backups, ``_sure``, when it last was
        the newest, ``_recent``, the backups of the servers last looked at with their generation, and ``_forms``, those
        of the servers last written, as written."""

    def servers(self) -> list[tuple[str, str]]:
        """Return provider and server id of everything that was ever backed up, sorted."""
        return sorted(split_segment(segment) for segment in self._store.folders(FOLDER + "/"))

    def look_at(self, keys: Collection[Key]) -> None:
        """Learn the newest generations of some servers, side by side, for reads of what is ``known`` afterwards.

        Those are for judgements that are made once more, under a lease, before anything comes of them. Of a server
        whose document is damaged nothing is learnt: whoever reads it hears of it.
        """
        segments = [server_segment(*key) for key in keys]
        many = sum(not self._is_sure(segment) for segment in segments) > _FEW
        listed = listed_heads(self._store, FOLDER) if many and self._store.remote else {}

        def look(segment: str) -> None:
            with suppress(Damaged):
                self._newest(segment, listed.get(segment))

        for _ in in_parallel(look, segments, self._store.parallel):
            pass

    def backups(self, provider: str, server: str, *, known: bool = False) -> tuple[Backup, ...]:
        """Return the backups of a server, oldest first; empty when there are none.

        ``known`` accepts the newest generation that this process has seen.
        """
        segment = server_segment(provider, server)
        with _to_be_mended():
            seen = self._seen(segment) if known else None
            if seen is None:
                return self._head(segment)[1]
            return self._at(segment, seen.number) if seen.number else ()

    def slots(self, provider: str, server: str, *, known: bool = False) -> dict[str, SlotLog]:
        """Return what became of the slots of each policy on a server, by the policy's name; ``known`` as above."""
        segment = server_segment(provider, server)
        with _to_be_mended():
            generation = (self._seen(segment) if known else None) or self._newest(segment)
            try:
                return _slots(generation)
            except ValidationError as error:
                key = self._series(segment).key(generation.number)
                raise damaged(
                    key, f"{error.error_count()} fields of its slots are not what they should be"
                ) from error

    def generation(self, provider: str, server: str, *, known: bool = False) -> int:
        """Return the number of the newest generation of a server's document; ``known`` as above."""
        segment = server_segment(provider, server)
        with _to_be_mended():
            return ((self._seen(segment) if known else None) or self._newest(segment)).number

    def fence(self, provider: str, server: str) -> int:
        """Return the highest lease number that ever wrote the backups of a server; 0 when none did."""
        return int(self._newest(server_segment(provider, server)).body.get("fence", 0))

    def each(
        self, keys: Collection[Key] | None = None, damage: Damage | None = None
    ) -> Iterator[tuple[Key, Backups]]:
        """Yield servers that were ever backed up with their backups, of all or of some, in order of their keys.

        Few are in memory at a time, however many there are. One listing finds the newest generation of all; what is
        committed while it runs may be missed. A server whose document cannot be read is handed to ``damage``, and the
        others go on; without it Damaged is raised.
        """
        if keys is not None and len(keys) <= _FEW:
            listed = {server_segment(*key): _UNLISTED for key in sorted(set(keys))}
        else:
            wanted = None if keys is None else {server_segment(*key) for key in keys}
            listed = {
                s: n for s, n in listed_heads(self._store, FOLDER).items() if wanted is None or s in wanted
            }

        def read(segment: str, number: int) -> Backups:
            return self._head(segment)[1] if number == _UNLISTED else self._at(segment, number)

        for key, backups in self._spared(read, listed, damage):
            if backups or listed[server_segment(*key)] != _UNLISTED:
                yield key, backups

    def names(self, damage: Damage | None = None) -> Iterator[tuple[Key, str]]:
        """Yield servers that have backups with what they were called in the newest, in order of their keys.

        Cheap, for the backups themselves are not looked at; damage as with ``each``.
        """

        def read(segment: str, number: int) -> str:
            series = self._series(segment)
            try:
                generation = series.at(number)
            except NotFound:
                generation = series.head()
            try:
                stored = generation.body.get("backups", [])
                return str(stored[-1]["server"]["name"]) if stored else ""
            except (LookupError, TypeError) as error:
                raise damaged(series.key(generation.number), "its last backup names no server") from error

        for key, name in self._spared(read, listed_heads(self._store, FOLDER), damage):
            if name:
                yield key, name

    def _spared(
        self, read: Callable[[str, int], Output], heads: Mapping[str, int], damage: Damage | None
    ) -> Iterator[tuple[Key, Output]]:
        """Yield what is read of each server; hand those whose documents are damaged to ``damage``, else raise that."""

        def attempt(head: tuple[str, int]) -> Output | Damaged:
            try:
                with _to_be_mended():
                    return read(*head)
            except Damaged as error:
                return error

        found = in_parallel(attempt, heads.items(), self._store.parallel, _AHEAD)
        for segment, result in zip(heads, found, strict=True):
            if not isinstance(result, Damaged):
                yield split_segment(segment), result
            elif damage is None:
                raise result
            else:
                damage(split_segment(segment), result)

    def all(self, damage: Damage | None = None) -> Iterator[Backup]:
        """Yield the backups of every server as ``each`` does, each server's oldest first."""
        for _, backups in self.each(damage=damage):
            yield from backups

    def find(self, wanted: str) -> Backup:
        """Return the backup that an id, a unique prefix of one (6 or more), a name or ``name@server`` means.

        Servers whose documents are damaged are passed over; a bare name is then not believed to be unique.

        Raises:
            NotFound: nothing fits.
            UsageError: more than one fits, or may.
        """
        damaged: dict[Key, Damaged] = {}
        found = [backup for backup in self.all(damaged.__setitem__) if _fits(backup, wanted)]
        exact = [backup for backup in found if backup.id == wanted] or found
        if damaged and not any(backup.id.startswith(wanted) or "@" in wanted for backup in exact):
            raise _perhaps_damaged(wanted, exact, damaged)
        if not exact:
            raise NotFound(
                f"there is no backup {wanted!r}",
                hint=_close(wanted, self.all(damaged.__setitem__)) or "see `csbsctl backup list --all`",
                code="backup.not-found",
            )
        if len(exact) > 1:
            names = ", ".join(f"{backup.id} ({backup.name}@{backup.server.name})" for backup in exact[:5])
            raise UsageError(
                f"{wanted} fits {len(exact)} backups: {names}", hint="give the id, or name@server"
            )
        return exact[0]

    def update(
        self,
        provider: str,
        server: str,
        change: Change,
        *,
        fence: int = 0,
        slots: tuple[str, SlotChange] | None = None,
    ) -> tuple[Backup, ...]:
        """Read, change and commit the backups of one server, again and again until nobody was in between.

        ``change`` may be called more than once and must not have effects. ``fence`` is the number of the lease.
        ``slots`` changes the slot log of one policy in the same commit.

        Raises:
            LeaseLost: a higher lease number wrote here.
            Conflict: others kept being first.
        """
        segment = server_segment(provider, server)
        series = self._series(segment)
        for attempt in range(_ATTEMPTS):
            base, before = self._head(segment)
            highest = int(base.body.get("fence", 0))
            if fence and fence < highest:
                raise LeaseLost(
                    f"another runner took over {server} ({provider}): lease {highest} follows {fence}"
                )
            after = _ordered(change(before))
            logs = _slots(base)
            if slots:
                logs[slots[0]] = slots[1](logs.get(slots[0], SlotLog()))
            if after == before and fence <= highest and logs == _slots(base):
                return after
            body = {
                "provider": provider,
                "server": server,
                "fence": max(fence, highest),
                "backups": self._plain(segment, after),
                "slots": {
                    policy: log.model_dump(mode="json", exclude_defaults=True) for policy, log in logs.items()
                },
            }
            try:
                committed = series.commit(base, body)
            except Conflict:
                self._forget(segment)
                self._clock.sleep(secrets.randbelow(1000) / 1000 * min(0.005 * 2**attempt, 0.5))
                continue
            self._remember(segment, committed)
            return self._keep(segment, committed, after)
        raise Conflict(
            f"the backups of {server} ({provider}) are being changed by others all the time",
            hint="try again later",
        )

    def _plain(self, segment: str, backups: tuple[Backup, ...]) -> list[Any]:
        """Return the plain forms of a server's backups; of those that did not change, the ones made before."""
        with self._lock:
            before = {id(backup): (backup, form) for backup, form in self._forms.get(segment, ())}
        forms = [before.get(id(backup)) or (backup, _form(backup)) for backup in backups]
        with self._lock:
            self._forms[segment] = forms
            self._forms.move_to_end(segment)
            while len(self._forms) > _WRITTEN:
                self._forms.popitem(last=False)
        return [form for _, form in forms]

    def _series(self, segment: str) -> Series:
        return Series(self._store, self._codec, f"{FOLDER}/{segment}")

    def _seen(self, segment: str) -> Generation | None:
        with self._lock:
            return self._known.get(segment)

    def _newest(self, segment: str, listed: int | None = None) -> Generation:
        """Return the newest generation of a server without its backups; ``listed`` is one that a listing showed."""
        known = self._seen(segment)
        generation = self._ask(segment, known, listed)
        return known if generation is known else self._remember(segment, generation)

    def _ask(self, segment: str, known: Generation | None, listed: int | None = None) -> Generation:
        """Return the newest generation of a server, the known one itself where that is still the newest.

        In a bucket a listing costs a dozen times as much as a read, and may lag: where what is known was the newest a
        while ago, what came since would follow it.
        """
        series, now = self._series(segment), self._clock.monotonic()
        if known is not None and self._store.remote and self._is_sure(segment):
            found = series.newest_from(known.number, known)
        else:
            found = series.head(known) if listed is None else series.newest_from(listed, known)
        with self._lock:
            self._sure[segment] = now
        return found

    def _is_sure(self, segment: str) -> bool:
        with self._lock:
            return self._clock.monotonic() - self._sure.get(segment, float("-inf")) < _SURE_FOR

    def _head(self, segment: str) -> tuple[Generation, Backups]:
        known = self._seen(segment)
        generation = self._ask(segment, known)
        if known is None or generation is not known:
            return self._remember(segment, generation), self._keep(segment, generation)
        with self._lock:
            number, backups = self._recent.get(segment, (0, ()))
        if number == known.number:
            return known, backups
        return self._read(segment, known.number)

    def _read(self, segment: str, number: int) -> tuple[Generation, Backups]:
        """Read a generation that is known to exist; what was compacted away meanwhile has a newer one."""
        series = self._series(segment)
        while True:
            try:
                generation = series.at(number)
            except NotFound:
                newer = self._newest(segment).number
                if newer == number:
                    raise
                number = newer
                continue
            return self._remember(segment, generation), self._keep(segment, generation)

    def _at(self, segment: str, number: int) -> Backups:
        """Return the backups of a generation that was listed; not kept at hand, for there may be very many."""
        with self._lock:
            known, backups = self._recent.get(segment, (0, ()))
        if known >= number:
            return backups
        series = self._series(segment)
        try:
            generation = series.at(number)
        except NotFound:
            return self._head(segment)[1]
        self._remember(segment, generation)
        return _parse(series.key(number), generation)

    def _remember(self, segment: str, generation: Generation) -> Generation:
        """Remember a generation without its backups; never an older one in place of a newer."""
        slim = Generation(
            generation.number,
            {"fence": generation.body.get("fence", 0), "slots": generation.body.get("slots", {})},
            generation.digest,
            generation.previous,
        )
        with self._lock:
            known = self._known.get(segment)
            if known is None or known.number <= slim.number:
                self._known[segment] = slim
        return slim

    def _keep(self, segment: str, generation: Generation, backups: Backups | None = None) -> Backups:
        """Keep the backups of a generation at hand, as long as not too many others are looked at."""
        if backups is None:
            backups = _parse(self._series(segment).key(generation.number), generation)
        with self._lock:
            self._recent[segment] = generation.number, backups
            self._recent.move_to_end(segment)
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return backups

    def _forget(self, segment: str) -> None:
        with self._lock:
            self._known.pop(segment, None)
            self._sure.pop(segment, None)
            self._recent.pop(segment, None)


@contextmanager
def _to_be_mended() -> Iterator[None]:
    """Say of damage what mends it."""
    try:
        yield
    except Damaged as error:
        error.hint = MENDING
        raise


def _parse(key: str, generation: Generation) -> tuple[Backup, ...]:
    stored: list[Any] = generation.body.get("backups", [])
    try:
        return _BACKUPS.validate_python(stored)
    except ValidationError as error:
        raise damaged(
            key, f"{error.error_count()} fields of its backups are not what they should be"
        ) from error


def _form(backup: Backup) -> Any:
    return backup.model_dump(mode="json", exclude_defaults=True)


def _slots(generation: Generation) -> dict[str, SlotLog]:
    stored: dict[str, Any] = generation.body.get("slots", {})
    return {policy: SlotLog.model_validate(log) for policy, log in stored.items()}


def _ordered(backups: Iterable[Backup]) -> tuple[Backup, ...]:
    return tuple(sorted(backups, key=lambda backup: (backup.started_at, backup.id)))


def _close(wanted: str, backups: Iterable[Backup]) -> str | None:
    """Return a hint at the backup that was probably meant."""
    known = [name for b in backups for name in (b.name, f"{b.name}@{b.server.name}")]
    return did_you_mean(wanted, known)


def _perhaps_damaged(wanted: str, found: Sequence[Backup], damaged: Mapping[Key, Damaged]) -> CsbsError:
    """Return the error for a backup that may be, or may be one more, in a document that cannot be read."""
    error = next(iter(damaged.values()))
    if found:
        ids = ", ".join(f"{backup.id} (of {backup.server.name})" for backup in found[:5])
        return UsageError(
            f"{wanted} fits {ids}, and may fit more: {error.message}", hint="give the id, or name@server"
        )
    return NotFound(
        f"there is no backup {wanted!r} among those that can be looked at: {error.message}",
        hint=error.hint,
        code="backup.not-found",
    )


def _fits(backup: Backup, wanted: str) -> bool:
    if wanted in (backup.id, backup.name):
        return True
    if len(wanted) >= _SHORTEST_PREFIX and backup.id.startswith(wanted):
        return True
    name, at, server = wanted.rpartition("@")
    return bool(at) and backup.name == name and server in (backup.server.name, backup.server.id)
