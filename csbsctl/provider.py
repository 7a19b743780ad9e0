"""The contract every provider fulfils, how providers are found, and what the core hands them.

A provider knows one cloud (one region and project). It knows nothing of policies, schedules or YAML. It offers an
inventory, and the steps that jobs are made of. Every step that changes something takes a Step, which carries the
marker under which the step is idempotent: called again with the same marker, after a crash say, it finds what the
first call made and continues from there, never making a second one.

Third parties: subclass Provider, register the class under the entry-point group ``csbsctl.providers``, and pass
``tests/conformance/provider``.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol

from csbsctl.blobs import BlobStore, Sealer
from csbsctl.clock import Clock
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import UsageError
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.model.base import Model
from csbsctl.model.policy import Consistency
from csbsctl.model.server import Refusal, Server, Volume
from csbsctl.simulator import Simulator

GROUP = "csbsctl.providers"


@dataclass(frozen=True, slots=True)
class Marker:
    """Under what name a step is idempotent, and what everything it creates in the cloud carries.

    ``fence`` is the number of the lease under which the step runs; a cloud that can refuses a lower one.
    """

    vault: str
    job: str
    server: str
    backup: str = ""
    policy: str = ""
    slot: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job as the provider sees it: its marker, where to report, and when to stop.

    ``check`` raises Interrupted when the user wants to stop and LeaseLost when the server is no longer ours; call it
    right before every call that changes something, and between chunks of long work. ``progress(done, total)`` takes
    bytes. Both may be called from any thread.
    """

    marker: Marker
    check: Callable[[], None] = lambda: None
    progress: Callable[[int, int], None] = lambda _done, _total: None
    about: dict[str, Any] = field(default_factory=dict)
    """What a rebuild of the catalogue wants back of a backup beside the marker (plain JSON values): ``store`` writes it
    beside the data, ``marked`` returns it as the detail ``about``."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the core hands a provider: its name in the configuration, a folder for relative paths, time, and its data.

    ``blobs`` is the provider's own prefix in the vault, ``sealer`` encrypts for it; None where no vault exists yet.
    """

    name: str
    base: Path
    clock: Clock
    blobs: BlobStore | None = None
    sealer: Sealer | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a cloud can do."""

    consistency: frozenset[Consistency]
    """Levels that can be reached on this cloud at all."""
    incremental: bool
    chains: bool
    """Whether an increment needs its parent to be restored."""
    full_every: int | None
    """The default bound on chains; None where there are none."""
    instant_restore: bool
    images: bool
    parallel: int
    """How many servers are best worked on at once."""
    single_volume_restore: bool = True
    instant_keeps_snapshots: bool = False
    """Whether an instant restore needs the snapshot kept: so only where the policy asks, and of its newest backup."""
    parallel_disks: int = 1
    """How many disks of one server are best stored at once; 1 where storing one keeps the machine busy."""
    restores_detached: bool = False
    """Whether a restore in place takes data disks off their server for as long as it overwrites them."""
    disk_access: bool = False
    """Whether stored disks can be read where they are: whole ones and single files are fetched without a restore."""


@dataclass(frozen=True, slots=True)
class VolumeSnapshot:
    """One disk of a snapshot: the volume as it was, and the provider's name for its frozen state."""

    volume: Volume
    ref: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All disks of a server at one instant, with what consistency was reached, how, and the evidence."""

    server: Server
    taken_at: datetime
    volumes: tuple[VolumeSnapshot, ...]
    consistency: Consistency
    method: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mapping:
    """One disk of a restore: which stored volume goes onto which existing one (None: onto a new one)."""

    stored: StoredVolume
    target: Volume | None = None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """A restore before it happens: from which backup, onto which server (None: a new one), disk by disk."""

    backup: Backup
    mappings: tuple[Mapping, ...]
    server: Server | None = None
    name: str | None = None
    """The new server's name."""
    instant: bool = False
    power_on: bool = True
    volumes_only: bool = False
    """Whether the disks are wanted as volumes that no server has; ``name`` is then what they are named after."""
    overrides: dict[str, list[str]] = field(default_factory=dict)
    """What the user wants otherwise in the new server: the provider's own keys (flavor, network ...), each with every
    value it was given; ``check_restore`` refuses a key or value that the cloud does not have (CSBS.9001)."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the provider says of a restore: refusals forbid it; notes tell which way each disk will take."""

    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoredVolume:
    """A disk with restored bytes, ready to be swapped in: the new volume's ref and where it belongs."""

    mapping: Mapping
    ref: str
    extra: dict[str, Any] = field(default_factory=dict)


class StoredDisk(Protocol):
    """The bytes of one stored disk, read at random. Every method may be called from any thread."""

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range, cut short at the end of the disk. Raises Damaged where they are lost."""
        ...

    def extents(self) -> Iterable[tuple[int, int]]:
        """Yield (offset, length) of what may hold data, ascending; everything else is zeros."""
        ...

    def close(self) -> None:
        """Let go of what reading needed."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """A bootable image of a whole server, made from a backup. ``size`` is bytes over all disks."""

    id: str
    name: str
    backup: str | None
    size: int
    created_at: datetime
    state: str = "available"


class Depth(enum.StrEnum):
    """How much a verification reads."""

    QUICK = "quick"
    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Damage:
    """Something wrong with stored data: what, and which byte ranges of the disk are lost (offset, length)."""

    message: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with all that a provider stores: what, which stored disks (refs) it hurts, whether it was mended."""

    message: str
    hurts: tuple[str, ...] = ()
    repaired: bool = False


class MarkedKind(enum.StrEnum):
    """What a marked thing in the cloud is."""

    SNAPSHOT = "snapshot"
    BACKUP = "backup"
    VOLUME = "volume"
    SERVER = "server"
    IMAGE = "image"
    PORT = "port"
    """A connection made for a new server, while no server has it."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Something in the cloud that carries a csbsctl marker.

    A rebuild needs of a BACKUP ``stored`` and these details: ``server`` (id, name), ``volumes`` (how many the whole
    backup has), ``complete`` (whether this one is), ``taken_at``, ``consistency``, ``method``, ``evidence``,
    ``availability_zone``, ``spec``, and ``about`` as the step gave it (see Step), with ``protected`` added.
    """

    kind: MarkedKind
    ref: str
    marker: Marker
    created_at: datetime | None = None
    size: int = 0
    stored: StoredVolume | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quota:
    """What the cloud allows: numbers of backups and bytes of backups, None where unlimited."""

    backups: int | None = None
    backups_used: int = 0
    size: int | None = None
    size_used: int = 0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a garbage collection did: bytes freed, bytes that wait for a later round."""

    freed: int = 0
    condemned: int = 0


class Provider(abc.ABC):
    """One cloud. Methods raise the ProviderError family only, and Interrupted or LeaseLost out of ``step.check``."""

    kind: ClassVar[str]
    Settings: ClassVar[type[Model]]

    @abc.abstractmethod
    def __init__(self, settings: Any, host: Host) -> None:
        """Take settings (an instance of ``Settings``); connect lazily, at the first call that needs it."""

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """Say what this cloud can do."""

    # -- inventory: never changes anything -------------------------------------------------------------------------

    @abc.abstractmethod
    def servers(self) -> Iterator[Server]:
        """Yield every server with its volumes, in a stable order."""

    @abc.abstractmethod
    def server(self, server_id: str) -> Server:
        """Return one server. Raises ResourceNotFound."""

    def now(self) -> datetime | None:
        """Return the cloud's own time, where it tells; retention distrusts a clock that is far off."""
        return None

    def quota(self) -> Quota | None:
        """Return what the cloud allows, where it limits."""
        return None

    # -- backup ----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def snapshot(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
        """Freeze all disks of a server at one instant, listed at that moment. Raises CloudRefused below ``need``."""

    @abc.abstractmethod
    def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
        """Copy one frozen disk to durable storage, as what changed since the parent when one is given.

        The provider may take a full where an increment is impossible; the result says what it was.
        """

    @abc.abstractmethod
    def release(self, step: Step, snapshot: Snapshot) -> None:
        """Let go of a snapshot; already gone is fine."""

    def keep(
        self, step: Step, snapshot: Snapshot, stored: Sequence[StoredVolume]
    ) -> tuple[StoredVolume, ...]:
        """Keep a snapshot for instant restores of what was stored from it, and return the records that say so.

        Called in the place of ``release``, where ``instant_keeps_snapshots`` and the policy asks. ``delete`` of such
        a stored volume lets go of the snapshot, too.
        """
        self.release(step, snapshot)
        return tuple(stored)

    def let_go(self, step: Step, stored: StoredVolume) -> StoredVolume:
        """Let go of what ``keep`` kept for a stored volume, and return its record without; already gone is fine."""
        del step
        return stored

    @abc.abstractmethod
    def delete(self, step: Step, stored: StoredVolume) -> None:
        """Delete one disk's stored data; already gone is fine. Raises ResourceConflict while others depend on it."""

    @abc.abstractmethod
    def verify(self, step: Step, stored: StoredVolume, depth: Depth, sample: float = 0.1) -> Sequence[Damage]:
        """Check stored data; every byte at ``full``, a random share at ``sample``, presence and indexes at ``quick``."""

    def protect(self, step: Step, stored: Sequence[StoredVolume], *, protected: bool) -> None:
        """Note beside the stored disks of a backup that it is protected, for a rebuild; where the cloud can."""
        del step, stored, protected

    def check(
        self, step: Step, stored: Sequence[StoredVolume], *, read_data: bool = False, repair: bool = False
    ) -> Sequence[Problem]:
        """Look at everything stored as a whole; ``read_data`` reads every byte, ``repair`` mends what can be mended.

        ``stored`` is every disk that a backup refers to; one that is not there is a problem.
        """
        del step, stored, read_data, repair
        return ()

    def collect(self, step: Step, open_jobs: frozenset[str]) -> Collected:
        """Free what no stored volume needs any more, in two phases; ``open_jobs`` are the jobs running now."""
        del step, open_jobs
        return Collected()

    # -- restore ---------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def check_restore(self, plan: RestorePlan) -> Preflight:
        """Say what this cloud has against a restore, and how it would do it; changes nothing."""

    @abc.abstractmethod
    def stop(self, step: Step, server_id: str) -> None:
        """Shut a server down and wait until it is; already stopped is fine."""

    @abc.abstractmethod
    def start(self, step: Step, server_id: str) -> None:
        """Start a server; already running is fine."""

    @abc.abstractmethod
    def restore(self, step: Step, plan: RestorePlan, mapping: Mapping) -> RestoredVolume:
        """Bring one disk's bytes back, ready to be swapped in; readable at once when ``plan.instant``."""

    @abc.abstractmethod
    def swap(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Put restored disks in the places of those they replace; the server is stopped before and after."""

    @abc.abstractmethod
    def build(self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]) -> Server:
        """Make a new server from restored disks and the backup's ``spec``; left stopped unless ``plan.power_on``."""

    def hand_over(
        self, step: Step, plan: RestorePlan, restored: Sequence[RestoredVolume]
    ) -> Sequence[Volume]:
        """Let restored disks stand alone: name each ``<name>-disk-<position>`` and take our marker off it.

        Called with ``plan.volumes_only`` in place of ``build``; called again, it finds them as it left them.
        """
        del step, plan, restored
        raise self._unsupported("restores of volumes without a server")

    def open_disk(self, step: Step, stored: StoredVolume) -> StoredDisk:
        """Open one disk's stored data for reading; needs nothing of the cloud but where the data is.

        Raises:
            Unsupported: ``capabilities.disk_access`` is False.
            ResourceNotFound: the data is not there.
        """
        del step, stored
        hint = "`csbsctl restore BACKUP --no-server` makes volumes of them: attach these to a server to read them"
        raise self._unsupported("reading stored disks", hint=hint)

    # -- images ----------------------------------------------------------------------------------------------------

    def create_image(self, step: Step, backup: Backup, name: str) -> Image:
        """Make a bootable image of the whole server. Raises Unsupported."""
        raise self._unsupported("images")

    def images(self) -> Iterator[Image]:
        """Yield images made from backups."""
        return iter(())

    def delete_image(self, step: Step, image_id: str) -> None:
        """Delete an image; already gone is fine."""
        raise self._unsupported("images")

    # -- care ------------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def marked(self, vault_id: str | None = None) -> Iterator[Marked]:
        """Yield everything that carries a csbsctl marker, of one vault or of all."""

    @abc.abstractmethod
    def remove(self, step: Step, marked: Marked) -> None:
        """Remove something that was left behind; already gone is fine."""

    def simulator(self) -> Simulator:
        """Return what plays the world around a simulated cloud. Raises Unsupported for a real one."""
        raise self._unsupported("simulation")

    def close(self) -> None:
        """Let go of connections and threads."""

    def _unsupported(self, what: str, *, hint: str | None = None) -> Exception:
        from csbsctl.errors import Unsupported  # noqa: PLC0415 - only on the way to an error

        return Unsupported(f"provider type {self.kind} does not support {what}", hint=hint)


class CommandContext(Protocol):
    """What a provider's own command group (entry-point group ``csbsctl.commands``) finds as ``ctx.obj``."""

    clock: Clock
    as_json: bool

    def open_provider(self, kind: str, name: str | None = None) -> Provider:
        """Return the configured provider of a type, the named one where there are several; a default without config."""
        ...

    def boundaries(self) -> dict[str, str]:
        """Return every step boundary that a process can be made to die at: the core's, and those imported so far."""
        ...

    def say(self, text: str) -> None:
        """Print a line for people (on stderr when ``--json`` is given)."""
        ...

    def result(self, document: Any) -> None:
        """Print the one JSON document of the command, when ``--json`` is given; do nothing otherwise."""
        ...


def provider_types() -> list[str]:
    """Return the names of all installed provider types."""
    return sorted({entry.name for entry in _registered()})


def load_provider(name: str) -> type[Provider]:
    """Return the provider class registered under a type name.

    Raises:
        UsageError: no installed package registers it.
    """
    for entry in _registered():
        if entry.name == name:
            loaded: type[Provider] = entry.load()
            return loaded
    hint = did_you_mean(name, provider_types()) or f"installed types: {', '.join(provider_types())}"
    raise UsageError(f"no provider of type {name!r} is installed", hint=hint)


def provider_version(name: str) -> str | None:
    """Return the version of the package that brings a provider type; None where nobody brings it."""
    return next((e.dist.version for e in _registered() if e.name == name and e.dist), None)


def _registered() -> Iterator[EntryPoint]:
    """Yield what is registered, that of our own wheel first: finding the others means reading every installed package."""
    with suppress(PackageNotFoundError):
        yield from distribution("csbsctl").entry_points.select(group=GROUP)
    yield from entry_points(group=GROUP)
