"""The catalogue: for each server one document with all its backups, changed by compare-and-swap.

The document also keeps what became of each policy's slots, and the highest lease number that ever wrote it, so that a runner that was taken over and wakes
from the dead cannot commit. Knows nothing of what backups are worth; retention is elsewhere.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from csbsctl.clock import Clock
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import Conflict, Damaged, LeaseLost, NotFound, UsageError
from csbsctl.model.backup import Backup
from csbsctl.model.slots import SlotLog
from csbsctl.vault.concurrency import in_parallel
from csbsctl.vault.documents import Codec, damaged
from csbsctl.vault.naming import server_segment, split_segment
from csbsctl.vault.series import SUFFIX, Generation, Series
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

Key = tuple[str, str]
"""Provider and server id."""

Backups = tuple[Backup, ...]
Change = Callable[[tuple[Backup, ...]], Iterable[Backup]]
SlotChange = Callable[[SlotLog], SlotLog]


class Catalogue:
    """Reads and changes the catalogue; safe to use from many threads."""

    def __init__(self, store: Store, codec: Codec, clock: Clock) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._known: dict[str, Generation] = {}
        self._recent: OrderedDict[str, tuple[int, Backups]] = OrderedDict()
        self._forms: OrderedDict[str, list[tuple[Backup, Any]]] = OrderedDict()
        self._lock = threading.Lock()
        """Guards ``_known``, the newest generation seen of each server without its backups, ``_recent``, the backups of
        the servers last looked at with their generation, and ``_forms``, those of the servers last written, as written."""

    def servers(self) -> list[tuple[str, str]]:
        """Return provider and server id of everything that was ever backed up, sorted."""
        return sorted(split_segment(segment) for segment in self._store.folders(FOLDER + "/"))

    def backups(self, provider: str, server: str) -> tuple[Backup, ...]:
        """Return the backups of a server, oldest first; empty when there are none."""
        return self._head(server_segment(provider, server))[1]

    def slots(self, provider: str, server: str) -> dict[str, SlotLog]:
        """Return what became of the slots of each policy on a server, by the policy's name."""
        segment = server_segment(provider, server)
        generation = self._newest(segment)
        try:
            return _slots(generation)
        except ValidationError as error:
            key = self._series(segment).key(generation.number)
            raise damaged(
                key, f"{error.error_count()} fields of its slots are not what they should be"
            ) from error

    def fence(self, provider: str, server: str) -> int:
        """Return the highest lease number that ever wrote the backups of a server; 0 when none did."""
        return int(self._newest(server_segment(provider, server)).body.get("fence", 0))

    def each(self, keys: Collection[Key] | None = None) -> Iterator[tuple[Key, Backups]]:
        """Yield servers that were ever backed up with their backups, of all or of some, in order of their keys.

        Few are in memory at a time, however many there are. One listing finds the newest generation of all; what is
        committed while it runs may be missed.
        """
        if keys is not None and len(keys) <= _FEW:
            known = {server_segment(*key): key for key in sorted(set(keys))}
            read = in_parallel(lambda segment: self._head(segment)[1], known, self._store.parallel, _AHEAD)
            yield from ((key, found) for key, found in zip(known.values(), read, strict=True) if found)
            return
        wanted = None if keys is None else {server_segment(*key) for key in keys}
        heads = {s: n for s, n in self._listed_heads().items() if wanted is None or s in wanted}
        read = in_parallel(self._at, heads.items(), self._store.parallel, _AHEAD)
        for segment, found in zip(heads, read, strict=True):
            yield split_segment(segment), found

    def all(self, damage: Callable[[Damaged], None] | None = None) -> Iterator[Backup]:
        """Yield the backups of every server, servers in order of their keys, each server's oldest first.

        One listing finds the newest generation of all; what is committed while it runs may be missed. A document that
        cannot be read is handed to ``damage``, and the others go on; without it Damaged is raised.
        """

        def read(listed: tuple[str, int]) -> tuple[Backup, ...]:
            try:
                return self._at(listed)
            except Damaged as error:
                if damage is None:
                    raise
                damage(error)
                return ()

        heads = self._listed_heads()
        for backups in in_parallel(read, heads.items(), self._store.parallel, _AHEAD):
            yield from backups

    def find(self, wanted: str) -> Backup:
        """Return the backup that an id, a unique prefix of one (6 or more), a name or ``name@server`` means.

        Raises:
            NotFound: nothing fits.
            UsageError: more than one fits.
        """
        found = [backup for backup in self.all() if _fits(backup, wanted)]
        exact = [backup for backup in found if backup.id == wanted] or found
        if not exact:
            raise NotFound(
                f"there is no backup {wanted!r}",
                hint=_close(wanted, self.all()) or "see `csbsctl backup list --all`",
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

    def _newest(self, segment: str) -> Generation:
        """Return the newest generation of a server without its backups."""
        with self._lock:
            known = self._known.get(segment)
        generation = self._series(segment).head(known)
        return known if generation is known else self._remember(segment, generation)

    def _head(self, segment: str) -> tuple[Generation, Backups]:
        with self._lock:
            known = self._known.get(segment)
        generation = self._series(segment).head(known)
        if generation is not known:
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

    def _at(self, listed: tuple[str, int]) -> Backups:
        """Return the backups of a generation that was listed; not kept at hand, for there may be very many."""
        segment, number = listed
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

    def _listed_heads(self) -> dict[str, int]:
        heads: dict[str, int] = {}
        for key in self._store.keys(FOLDER + "/"):
            _, segment, name = key.split("/", 2)
            if name.endswith(SUFFIX):
                heads[segment] = int(name[: -len(SUFFIX)])
        return heads

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
            self._recent.pop(segment, None)


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


def _fits(backup: Backup, wanted: str) -> bool:
    if wanted in (backup.id, backup.name):
        return True
    if len(wanted) >= _SHORTEST_PREFIX and backup.id.startswith(wanted):
        return True
    name, at, server = wanted.rpartition("@")
    return bool(at) and backup.name == name and server in (backup.server.name, backup.server.id)
