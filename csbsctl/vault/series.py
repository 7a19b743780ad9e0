"""A vault document: a series of numbered, immutable generations, with compare-and-swap by create-if-absent.

Committing generation g means creating ``<prefix>/<g>`` only if nobody else has. Every generation names the digest of
the one before it and carries its writer's nonce. Knows nothing of what a document holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, NotFound
from csbsctl.ids import new_id
from csbsctl.vault.documents import Codec, damaged, digest
from csbsctl.vault.stores.contract import Store

CREATED = Boundary(
    "vault.generation.created", "a generation exists, but its predecessor was not looked at again"
)
COMPACTED = Boundary("vault.compacted", "one old generation is removed, others may follow")

SUFFIX = ".json"
KEPT_FOR = timedelta(days=7)
_PAGE = 512
"""Keys that are cheaper to list than to search."""

_COMPACT_EVERY = 8
"""Listing a series costs a request, so only every so many commits look for what can go."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation: its number, what it says, and the digest of its stored bytes. Number 0 is the empty series."""

    number: int
    body: dict[str, Any]
    digest: str
    previous: str


EMPTY = Generation(0, {}, "", "")


class Series:
    """The generations below one prefix (without a slash at its end)."""

    def __init__(self, store: Store, codec: Codec, prefix: str, *, keep: int | None = 10) -> None:
        self.prefix = prefix
        self._store = store
        self._codec = codec
        self._keep = keep

    def head(self, known: Generation | None = None) -> Generation:
        """Return the newest generation; number 0 when there is none.

        ``known`` is one that was read before: when it is still the newest it is returned without reading it again.
        """
        return self.newest_from(self._highest_listed(), known)

    def newest_from(self, number: int, known: Generation | None = None) -> Generation:
        """Return the newest generation, given one that a listing showed (0: none); listings may lag, reads do not."""
        current = self._reread(number, known) if number else EMPTY
        if self._store.remote or not number:
            while (following := self._read(current.number + 1)) is not None:
                current = following
        return current

    def at(self, number: int) -> Generation:
        """Return one generation. Raises NotFound when it never was, or was compacted away."""
        found = self._read(number)
        if found is None:
            raise NotFound(f"there is no generation {number} of {self.prefix}", code="vault.no-generation")
        return found

    def numbers(self) -> list[int]:
        """Return the numbers that a listing shows, ascending."""
        return numbers_of(self._store.keys(self.prefix + "/"), self.prefix)

    def history(self) -> Iterator[Generation]:
        """Yield the generations that are kept, newest first."""
        current: Generation | None = self.head()
        while current is not None and current.number:
            yield current
            expected, number = current.previous, current.number - 1
            current = self._read(number) if number else None
            if current is not None and current.digest != expected:
                raise damaged(self.key(number), f"generation {number + 1} was written after another one")

    def commit(self, base: Generation, body: dict[str, Any]) -> Generation:
        """Make ``body`` the generation after ``base``.

        Raises:
            Conflict: somebody else was first.
        """
        number = base.number + 1
        nonce = new_id()
        document = {"generation": number, "previous": base.digest, "nonce": nonce, "body": body}
        stored = self._codec.encode(self.key(number), document)
        try:
            self._store.create(self.key(number), stored)
        except BlobExists:
            if not self._is_mine(number, nonce):
                raise self._conflict(number) from None
        CREATED()
        mine = Generation(number, body, digest(stored), base.digest)
        if not self._still_follows(base, mine):
            self._store.delete(self.key(number))
            raise self._conflict(number)
        if self._keep is not None and number % _COMPACT_EVERY == 0 and number > self._keep:
            self.compact()
        return mine

    def compact(self) -> int:
        """Remove what is neither among the newest nor younger than seven days by the store's time; oldest first."""
        blobs = [b for b in self._store.list(self.prefix + "/") if b.key.endswith(SUFFIX)]
        old = blobs[: -self._keep] if self._keep else []
        if not old:
            return 0
        limit = self._store.now() - KEPT_FOR
        removed = 0
        for blob in old:
            if blob.modified >= limit:
                break
            self._store.delete(blob.key)
            removed += 1
            COMPACTED()
        return removed

    def mend(self, generation: Generation) -> Generation:
        """Write a generation anew where its bytes rotted or are gone; for repairs, by whoever has its content."""
        key = self.key(generation.number)
        document = {
            "generation": generation.number,
            "previous": generation.previous,
            "nonce": new_id(),
            "body": generation.body,
        }
        stored = self._codec.encode(key, document)
        self._store.put(key, stored)
        return replace(generation, digest=digest(stored))

    def destroy(self) -> None:
        """Remove every generation, oldest first, so that a crash leaves a shorter series and never an older head."""
        for key in list(self._store.keys(self.prefix + "/")):
            self._store.delete(key)

    def key(self, number: int) -> str:
        """Return where a generation is stored."""
        return f"{self.prefix}/{number:010d}{SUFFIX}"

    def _highest_listed(self) -> int:
        """Return the highest number that listings show; 0 when there is none.

        A series that keeps everything grows long; in a bucket its end is searched, not listed from the start.
        """
        if self._keep is not None or not self._store.remote:
            return _last_of(self._store.keys(self.prefix + "/"), self.prefix)
        low, step = 0, _PAGE
        while self._has_after(low + step):
            low, step = low + step, step * 2
        high = low + step
        while high - low > _PAGE:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has_after(middle) else (low, middle)
        return max(numbers_of(self._keys_after(low), self.prefix), default=low)

    def _has_after(self, number: int) -> bool:
        return next(self._keys_after(number), None) is not None

    def _keys_after(self, number: int) -> Iterator[str]:
        return (blob.key for blob in self._store.list(self.prefix + "/", self.key(number)))

    def _read(self, number: int) -> Generation | None:
        key = self.key(number)
        try:
            stored = self._store.get(key)
        except BlobNotFound:
            return None
        document = self._codec.decode(key, stored)
        if document.get("generation") != number or not isinstance(document.get("body"), dict):
            raise damaged(key, "it says it is something else")
        return Generation(number, document["body"], digest(stored), str(document.get("previous", "")))

    def _reread(self, number: int, known: Generation | None) -> Generation:
        if known is not None and known.number == number:
            return known
        return self._read(number) or self._after_compaction(number)

    def _after_compaction(self, number: int) -> Generation:
        """Return the head when what a listing showed is gone: a writer took its own back, or many went by."""
        for candidate in reversed(self.numbers()):
            found = self._read(candidate)
            if found is not None:
                return found
        return EMPTY if number <= 1 else self._missing(number)

    def _missing(self, number: int) -> Generation:
        raise damaged(self.key(number), "it is listed but cannot be read")

    def _is_mine(self, number: int, nonce: str) -> bool:
        """Tell whether the generation that is there is ours: a create whose answer was lost looks like a conflict."""
        try:
            document = self._codec.decode(self.key(number), self._store.get(self.key(number)))
        except BlobNotFound:
            return False
        return bool(document.get("nonce") == nonce)

    def _still_follows(self, base: Generation, mine: Generation) -> bool:
        """Tell whether our commit counts: its predecessor is there still, or somebody has built on ours already.

        A writer that slept may create a key that was compacted away; then the predecessor is gone as well.
        """
        if base.number:
            try:
                if digest(self._store.get(self.key(base.number))) == base.digest:
                    return True
            except BlobNotFound:
                pass
        elif self.numbers() in ([], [mine.number]):
            return True
        following = self._read(mine.number + 1)
        return following is not None and following.previous == mine.digest

    def _conflict(self, number: int) -> Conflict:
        return Conflict(
            f"somebody else wrote generation {number} of {self.prefix} first",
            hint="run the command again; it starts from what is there now",
        )


def listed_heads(store: Store, folder: str) -> dict[str, int]:
    """Return the newest generation that one listing shows of every series right below a folder, in order of the names."""
    heads: dict[str, int] = {}
    for key in store.keys(folder + "/"):
        _, _, name = key.partition("/")
        series, _, number = name.rpartition("/")
        if number.endswith(SUFFIX) and number[: -len(SUFFIX)].isdigit():
            heads[series] = int(number[: -len(SUFFIX)])
    return heads


def _last_of(keys: Iterator[str], prefix: str) -> int:
    """Return the highest generation number among keys in key order, 0 when there is none: numbers have leading zeros.

    Asked at every step of every job, so nothing but the last number is read.
    """
    cut, last = len(prefix) + 1, ""
    for key in keys:
        if key.endswith(SUFFIX) and (name := key[cut : -len(SUFFIX)]).isdigit():
            last = name
    return int(last or 0)


def numbers_of(keys: Iterator[str], prefix: str) -> list[int]:
    """Return the generation numbers among keys directly below a prefix, ascending."""
    cut = len(prefix) + 1
    names = (key[cut : -len(SUFFIX)] for key in keys if key.endswith(SUFFIX))
    return sorted(int(name) for name in names if name.isdigit())
