"""The vault: one place in an object store, and the documents in it. It is all the state there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from csbsctl.blobs import BlobExists, BlobNotFound, BlobStore, PlainSealer, ScopedStore, Sealer
from csbsctl.boundaries import Boundary
from csbsctl.clock import Clock
from csbsctl.errors import NotFound, VaultError
from csbsctl.ids import new_id
from csbsctl.vault.audit import Trail
from csbsctl.vault.catalogue import Catalogue
from csbsctl.vault.control import Control
from csbsctl.vault.coordination import coordinated
from csbsctl.vault.description import KEY, Encryption, VaultDescription
from csbsctl.vault.documents import Codec
from csbsctl.vault.journal import Journal
from csbsctl.vault.key_sources import KeySource
from csbsctl.vault.keys import Keys
from csbsctl.vault.leases import Leases
from csbsctl.vault.probe import insist, probe
from csbsctl.vault.runners import HEARTBEAT, SILENCE, Runner, Witness
from csbsctl.vault.sealing import SealedSealer
from csbsctl.vault.series import Series
from csbsctl.vault.stores import ReadOnlyStore, Store, StoreOptions, open_store
from csbsctl.vault.stores.outage import Tell, to_nobody

PROBED = Boundary("vault.probed", "the store was raced, the vault is not made yet")
MADE = Boundary("vault.made", "vault.json exists")

CONTROL_KEPT = 100
"""Generations of the control document that are always kept."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a runner's heart beats, and how long others watch before they take over; seconds."""

    heartbeat: float = HEARTBEAT
    silence: float = SILENCE


class Vault:
    """An open vault. Close it (or use it as a context manager), so that the audit is written and the heartbeat ends."""

    def __init__(
        self,
        url: str,
        store: Store,
        description: VaultDescription,
        *,
        clock: Clock,
        actor: str,
        timing: Timing,
        key: KeySource | None = None,
        coordination: str | None = None,
    ) -> None:
        self.url = url
        self.id = description.id
        self.clock = clock
        self.description = description
        self.coordination = coordination
        self.store = store
        self.blobs: BlobStore = store
        self.keys = Keys(store, self.id, clock) if description.encryption else None
        self.sealer, signer = self._sealer(key)
        self.plain_codec = plain = Codec(PlainSealer())
        sealed = description.encryption is not None and description.encryption.control
        self.codec = codec = Codec(self.sealer) if sealed else plain
        self.runner = Runner(store, clock, actor, interval=timing.heartbeat)
        self.audit = Trail(store, codec, clock=clock, actor=actor, vault=self.id, signer=signer)
        series = Series(store, codec, "control", keep=CONTROL_KEPT)
        self.control = Control(series, clock=clock, actor=actor, anchors=self.audit.heads)
        self.catalogue = Catalogue(store, codec, clock)
        self.jobs = Journal(store, codec)
        self.leases = Leases(
            store,
            plain,
            clock=clock,
            runner=self.runner,
            witness=Witness(store, clock, silence=timing.silence),
            catalogue=self.catalogue,
        )

    def data(self, provider: str) -> BlobStore:
        """Return the part of the store where a provider of this name keeps its data."""
        return ScopedStore(self.blobs, f"data/{provider}/")

    def close(self) -> None:
        """Write what the audit holds back, give back what leases are left, and end this runner's heartbeat."""
        try:
            self.audit.flush()
        finally:
            self.runner.close(leave=not self.leases.close())

    def _sealer(self, key: KeySource | None) -> tuple[Sealer, SealedSealer | None]:
        """Return what seals data, and what signs the audit (nothing without a key)."""
        keys = self.keys
        if keys is None:
            return PlainSealer(), None
        sealer = SealedSealer(lambda: keys.unlock(key))
        return sealer, sealer if key is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_vault(
    url: str,
    *,
    base: Path,
    clock: Clock,
    create: bool = False,
    read_only: bool = False,
    actor: str = "",
    options: StoreOptions | None = None,
    key: KeySource | None = None,
    timing: Timing | None = None,
    tell: Tell = to_nobody,
) -> Vault:
    """Open the vault at a URL (a path, relative to ``base``, or ``s3://bucket/prefix``), or make it.

    Raises:
        NotFound: there is none and ``create`` is False (code ``vault.absent``).
        VaultError: the store cannot be a vault.
        UnsupportedFormat: a newer csbsctl made it.

    The key is read only when something sealed is touched; WrongKey may come then. ``tell`` takes a line for people when
    the store is away for a while, and one when it is back.
    """
    chosen = options or StoreOptions()
    store = open_store(url, base=base, options=chosen, tell=tell)
    description = _describe(store)
    if description is None:
        if not create or read_only:
            raise NotFound(
                f"there is no vault at {url}",
                hint="the first `csbsctl apply` makes it, or `csbsctl vault init`",
                code="vault.absent",
            )
        description = _make(url, store, clock=clock, actor=actor, options=chosen, key=key)
    if key is not None and key.required and description.encryption is None:
        raise VaultError(
            f"the vault at {url} is not encrypted, and the configuration demands that it is",
            hint="make a new vault for encrypted backups, or set vault.encryption.required to false",
            code="vault.not-encrypted",
        )
    coordination = chosen.coordination or description.coordination
    store = coordinated(store, coordination)
    if read_only:
        store = ReadOnlyStore(store)
    return Vault(
        url,
        store,
        description,
        clock=clock,
        actor=actor,
        timing=timing or Timing(),
        key=key,
        coordination=coordination,
    )


def vault_exists(url: str, *, base: Path, options: StoreOptions | None = None) -> bool:
    """Tell whether there is a vault at a URL, of whatever format."""
    store = open_store(url, base=base, options=options or StoreOptions())
    try:
        store.get(KEY, 0, 1)
    except BlobNotFound:
        return False
    return True


def _describe(store: Store) -> VaultDescription | None:
    try:
        return VaultDescription.decode(store.get(KEY))
    except BlobNotFound:
        return None


def _make(
    url: str, store: Store, *, clock: Clock, actor: str, options: StoreOptions, key: KeySource | None
) -> VaultDescription:
    """Make a vault; ``vault.json`` comes last, so that a crash leaves none."""
    result = probe(store, clock)
    insist(result, url, options.coordination)
    PROBED()
    store = coordinated(store, options.coordination)
    id_ = new_id()
    encryption = None
    if key is not None:
        id_ = Keys(store, id_, clock).begin(key, "first")
        encryption = Encryption(SealedSealer.algorithm, key.control)
    made = VaultDescription(id_, clock.now(), actor, result, options.coordination, encryption)
    try:
        store.create(KEY, made.encode())
    except BlobExists:  # somebody made it in this moment: theirs it is
        return VaultDescription.decode(store.get(KEY))
    MADE()
    return made
