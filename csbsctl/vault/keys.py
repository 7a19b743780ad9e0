"""The keys of an encrypted vault: slots, each opened by another secret, and the data keys they all lead to.

One document, ``keys/<generation>``, so every change is one commit. A slot wraps its private key under its owner's
secret; a fresh root key is wrapped to every slot's public key; the root key seals the ring: data keys, naming key,
and which slots belong (so that nobody who can only write the bucket adds one). ``keys.copy`` is a second copy, for
the day the first does not read back. Losing one secret loses nothing that another opens.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from csbsctl.blobs import BlobNotFound, PlainSealer
from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock, format_instant
from csbsctl.errors import Conflict, CsbsError, Damaged, NotFound, Refused, UsageError, WrongKey
from csbsctl.ids import new_id
from csbsctl.vault.documents import Codec, damaged
from csbsctl.vault.key_sources import KeySource, Secret
from csbsctl.vault.sealing import DataKeys
from csbsctl.vault.series import EMPTY, Generation, Series
from csbsctl.vault.stores.contract import Store

FOLDER = "keys"
COPY = "keys.copy"

CHANGED = Boundary(
    "keys.changed", "a new generation of the keys exists, older ones and the copy are as before"
)
PURGED = Boundary("keys.purged", "generations that a removed key opens are gone")

_SALT = 16
_KEY = 32


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One way to open the vault. ``kind`` is ``passphrase`` or ``key``; the last four fields are base64."""

    id: str
    label: str
    kind: str
    created_at: str
    work: int
    salt: str
    public: str
    private: str
    root: str


@dataclass(frozen=True, slots=True)
class _Ring:
    """What the root key seals."""

    keys: DataKeys
    slots: dict[str, str]
    """Slot id -> public key, base64: the slots that key holders made."""


class Keys:
    """Opens an encrypted vault, and adds, removes and rotates its keys."""

    def __init__(self, store: Store, vault: str, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._codec = Codec(PlainSealer())
        self._series = Series(store, self._codec, FOLDER)

    def unlock(self, source: KeySource | None) -> DataKeys:
        """Return the data keys. Raises WrongKey."""
        return self._open(self._head(), source)[1].keys

    def list(self) -> Slots:
        """Return the slots, oldest first; no key is needed for that."""
        return sorted(_slots(self._head()).values(), key=lambda slot: (slot.created_at, slot.id))

    def begin(self, source: KeySource, label: str) -> str:
        """Make the first slot and data key, and return the id of the vault they belong to.

        That is ours, unless an earlier ``init`` (or one at this very moment) got as far as this: then it is that one's,
        so that all agree, provided our secret opens it. Raises WrongKey.
        """
        head = self._head()
        if not head.number:
            slot = self._new_slot(source, label)
            ring = _Ring(DataKeys({1: os.urandom(_KEY)}, os.urandom(_KEY)), {slot.id: slot.public})
            with suppress(Conflict):
                self._commit(head, {slot.id: slot}, ring, purge=True)
            head = self._head()
        self._vault = str(head.body["vault"])
        self._open(head, source)
        return self._vault

    def add(self, source: KeySource, new: KeySource, label: str) -> KeySlot:
        """Make a slot for another secret; ``source`` opens the vault. The data keys stay."""
        head = self._head()
        slots, (_, ring) = _slots(head), self._open(head, source)
        if any(label == slot.label for slot in slots.values()):
            raise UsageError(
                f"there is a key {label} already", hint="choose another name, or remove that one"
            )
        slot = self._new_slot(new, label)
        self._commit(
            head,
            {**slots, slot.id: slot},
            replace(ring, slots={**ring.slots, slot.id: slot.public}),
            purge=False,
        )
        return slot

    def remove(self, source: KeySource, wanted: str) -> KeySlot:
        """Remove a slot, by label, id or its prefix, and seal what is new with a new data key.

        Whoever held the removed secret and a copy of the vault can read what was in it then, but nothing newer.

        Raises:
            NotFound: no slot fits.
            Refused: it is the last one.
        """
        head = self._head()
        slots, (_, ring) = _slots(head), self._open(head, source)
        slot = _find(slots, wanted)
        if len(slots) == 1:
            raise Refused(
                f"{slot.label} is the only key; without it the vault never opens again",
                hint="add another key first",
                code="vault.last-key",
            )
        left = {id_: public for id_, public in ring.slots.items() if id_ != slot.id}
        remaining = {id_: kept for id_, kept in slots.items() if id_ != slot.id}
        self._commit(head, remaining, _Ring(_with_new_key(ring.keys), left), purge=True)
        return slot

    def rotate(self, source: KeySource) -> int:
        """Seal what is new with a new data key, and return its number; every slot goes on opening the vault."""
        head = self._head()
        _, ring = self._open(head, source)
        keys = _with_new_key(ring.keys)
        self._commit(head, _slots(head), replace(ring, keys=keys), purge=True)
        return keys.current

    def tend(self, *, repair: bool = True) -> Texts:
        """Return what a crash interrupted or what rotted; ``repair`` finishes and mends it."""
        found: Texts = []
        head = self._head()
        if not head.number:
            return found
        if not head.digest:
            found.append("the keys do not read back; their second copy does")
            head = self._series.mend(head) if repair else head
        if any(number < int(head.body.get("oldest", 0)) for number in self._series.numbers()):
            found.append("there are generations of the keys that a removed key opens")
            if repair:
                self._purge(head)
        if self._copied() != head.body:
            found.append("the second copy of the keys is not current")
            if repair:
                self._copy(head)
        return found

    def _head(self) -> Generation:
        """Return the newest generation, from the second copy (without a digest) where the first does not read."""
        try:
            head = self._series.head()
        except Damaged:
            copy = self._copied()
            if copy is None:
                raise
        else:
            copy = None if head.number else self._copied()
            if copy is None:
                return head
        return Generation(int(copy["generation"]), copy, "", "")

    def _open(self, head: Generation, source: KeySource | None) -> tuple[bytes, _Ring]:
        """Return the root key and what it seals."""
        if source is None:
            raise WrongKey(
                "the vault is encrypted, and no key was given",
                hint="set vault.encryption: passphrase_env, passphrase_file, key_file or key_command",
            )
        secret = source.read()
        root = self._root(_slots(head), secret)
        if root is None:
            raise WrongKey(
                f"the {source} does not open the vault",
                hint="see `csbsctl vault key list` for the keys that do",
            )
        return root, self._ring(head, root)

    def _root(self, slots: dict[str, KeySlot], secret: Secret) -> bytes | None:
        from csbsctl.vault.wrapping import unwrap, unwrap_from  # noqa: PLC0415 - loads cryptography

        for slot in slots.values():
            if slot.kind != secret.kind:
                continue
            context = self._context(slot.id)
            try:
                wrapping = secret.wrapping_key(b64decode(slot.salt), slot.work)
                private = unwrap(wrapping, b64decode(slot.private), context)
            except WrongKey:
                continue
            return unwrap_from(private, b64decode(slot.root), context)
        return None

    def _ring(self, head: Generation, root: bytes) -> _Ring:
        from csbsctl.vault.wrapping import unwrap  # noqa: PLC0415 - loads cryptography

        try:
            text = json.loads(unwrap(root, b64decode(head.body["ring"]), self._context("ring")))
        except WrongKey:
            raise damaged(
                self._series.key(head.number), "the ring does not open with its own root key"
            ) from None
        secrets = {int(number): b64decode(key) for number, key in text["keys"].items()}
        return _Ring(DataKeys(secrets, b64decode(text["naming"])), text["slots"])

    def _new_slot(self, source: KeySource, label: str) -> KeySlot:
        from csbsctl.vault.wrapping import new_key_pair, wrap  # noqa: PLC0415 - loads cryptography

        secret, id_, salt, pair = source.read(), new_id(), os.urandom(_SALT), new_key_pair()
        private = wrap(secret.wrapping_key(salt, source.work), pair.private, self._context(id_))
        created = format_instant(self._clock.now())
        return KeySlot(
            id_, label, secret.kind, created, source.work, _text(salt), _text(pair.public), _text(private), ""
        )

    def _commit(self, head: Generation, slots: dict[str, KeySlot], ring: _Ring, *, purge: bool) -> None:
        """Commit slots and ring under a fresh root key; with ``purge``, remove what older root keys open."""
        from csbsctl.vault.wrapping import wrap, wrap_to  # noqa: PLC0415 - loads cryptography

        root = os.urandom(_KEY)
        if {slot.id: slot.public for slot in slots.values()} != ring.slots:
            raise damaged(self._series.key(head.number), "it has a slot that no key holder made")
        wrapped = [
            replace(slot, root=_text(wrap_to(b64decode(slot.public), root, self._context(slot.id))))
            for slot in slots.values()
        ]
        sealed = {
            "keys": {str(number): _text(secret) for number, secret in ring.keys.secrets.items()},
            "naming": _text(ring.keys.naming),
            "slots": ring.slots,
        }
        body = {
            "vault": self._vault,
            "generation": head.number + 1,
            "oldest": head.number + 1 if purge else int(head.body.get("oldest", 1)),
            "slots": [asdict(slot) for slot in wrapped],
            "ring": _text(wrap(root, json.dumps(sealed).encode(), self._context("ring"))),
        }
        made = self._series.commit(
            head if head.digest else self._series.mend(head) if head.number else EMPTY, body
        )
        CHANGED()
        self._copy(made)
        self._purge(made)

    def _purge(self, head: Generation) -> None:
        for number in self._series.numbers():
            if number < int(head.body.get("oldest", 0)):
                self._store.delete(self._series.key(number))
        PURGED()

    def _copy(self, head: Generation) -> None:
        self._store.put(COPY, self._codec.encode(COPY, {"body": head.body}))

    def _copied(self) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = self._codec.decode(COPY, self._store.get(COPY))["body"]
        except (BlobNotFound, CsbsError, KeyError):
            return None
        return body

    def _context(self, what: str) -> bytes:
        return f"csbsctl {self._vault} {what}".encode()


Slots = list[KeySlot]
Texts = list[str]


def _slots(head: Generation) -> dict[str, KeySlot]:
    return {slot["id"]: KeySlot(**slot) for slot in head.body.get("slots", [])}


def _find(slots: dict[str, KeySlot], wanted: str) -> KeySlot:
    found = [slot for slot in slots.values() if slot.label == wanted or slot.id.startswith(wanted)]
    exact = [slot for slot in found if wanted in (slot.label, slot.id)] or found
    if not exact:
        raise NotFound(f"there is no key {wanted}", hint="see `csbsctl vault key list`", code="vault.no-key")
    if len(exact) > 1:
        raise UsageError(f"{wanted} fits {len(exact)} keys", hint="give the label, or more of the id")
    return exact[0]


def _with_new_key(keys: DataKeys) -> DataKeys:
    return replace(keys, secrets={**keys.secrets, keys.current + 1: os.urandom(_KEY)})


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
