"""What paths name on a backup's disks: which disk and partition, and everything below. Reads trees, never files.

Where a path is on several file systems, the user says which: nobody else knows what was mounted where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.errors import CsbsError, Damaged, NotFound, ProviderError, Unsupported, UsageError
from csbsctl.filesystem import FileSystem, Found, Kind, Node, Place, find_places, match, printable, walk
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.protection.disks import chosen_volumes
from csbsctl.provider import StoredDisk

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEFT_OUT = {Kind.OTHER: "it is a device, a socket or a pipe", Kind.LOST: "its inode is damaged"}
_RAW = "fetch the whole disks with --to DIR and without --path, and mount the images"


@dataclass(frozen=True, slots=True)
class FilesRequest:
    """What is wanted: patterns of absolute paths, of some disks (``NAME`` or ``NAME:PARTITION``) or of all."""

    backup: Backup
    paths: tuple[str, ...]
    volumes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise UsageError for a pattern that is no absolute path."""
        for path in self.paths:
            if not path.startswith("/") or "\0" in path:
                raise UsageError(
                    f"--path {path!r} is no absolute path", hint="begin with /, as on the server"
                )

    def disks(self) -> list[StoredVolume]:
        """Return the disks to look at. Raises Refused for a name that is none (CSBS.6017)."""
        return chosen_volumes(self.backup, [self._split(each)[0] for each in self.volumes])

    def wants(self, part: Part) -> bool:
        """Whether a part of a chosen disk is to be looked at: all are, unless some were named by number."""
        named = [self._split(each) for each in self.volumes]
        numbers = {number for disk, number in named if disk in (part.volume.volume_id, part.volume.name)}
        return not numbers or None in numbers or part.place.partition in numbers

    def _split(self, wanted: str) -> tuple[str, int | None]:
        """Return disk and partition that ``--volume`` names; a disk may have a colon in its own name."""
        disk, colon, number = wanted.rpartition(":")
        whole = not colon or not number.isdecimal()
        if whole or any(wanted in (v.volume_id, v.name) for v in self.backup.volumes):
            return wanted, None
        return disk, int(number)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a backup's disks that may hold files."""

    volume: StoredVolume
    place: Place

    @property
    def name(self) -> str:
        """Return the disk's name, with the partition's number where it has one: what ``--volume`` takes."""
        return self.volume.name + (f":{self.place.partition}" if self.place.partition else "")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """Something that a path names; ``kept`` says that the same was there before, ``reason`` why it is left out."""

    part: Part
    path: tuple[bytes, ...]
    node: Node
    kept: bool = False
    reason: str | None = None
    damaged: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the object of one file."""
        node = self.node
        return {
            "path": printable(self.path),
            "kind": node.kind.value,
            "size": node.size,
            "mode": f"{node.mode:04o}",
            "uid": node.uid,
            "gid": node.gid,
            "modified": _instant(node.modified),
            "volume": self.part.volume.volume_id,
            "partition": self.part.place.partition,
            "kept": self.kept,
            "reason": self.reason,
        }


@dataclass(slots=True)
class Survey:
    """Everything that was found: what can be fetched, in order, what cannot, and what to know of how it was read."""

    files: list[FoundFile] = field(default_factory=list)
    skipped: list[FoundFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trees: dict[str, FileSystem] = field(default_factory=dict)
    """The file systems, by the names of their parts."""
    unread: dict[str, str] = field(default_factory=dict)
    """Parts that no file system was opened in, and why."""


class SoundDisk:
    """A stored disk whose lost bytes are Damaged, whatever a provider calls that."""

    def __init__(self, disk: StoredDisk) -> None:
        self._disk = disk
        self.size = disk.size

    def read(self, offset: int, length: int) -> bytes:
        """See BlockSource."""
        try:
            return self._disk.read(offset, length)
        except ProviderError as error:
            if error.code != Damaged.default_code:
                raise
            raise Damaged(error.message, hint=error.hint) from error


def survey(
    request: FilesRequest, disks: Sequence[tuple[StoredVolume, StoredDisk]], check: Callable[[], None]
) -> Survey:
    """Return what the paths of a request name on opened disks; ``check`` raises to interrupt.

    Raises:
        NotFound: a path is nowhere.
        UsageError: a path is on several file systems, or two paths bring different files of one name.
        Unsupported: no file system can be read at all.
    """
    result = Survey()
    parts = [Part(volume, place) for volume, disk in disks for place in find_places(SoundDisk(disk))]
    opened = {part.name: part for part in parts if request.wants(part) and _open(part, result)}
    if not opened:
        looked = (
            "; ".join(f"{name}: {why}" for name, why in result.unread.items()) or "there is no such partition"
        )
        raise Unsupported(
            f"no file system of backup {request.backup.name} can be read: {looked}",
            code="filesystem.unsupported",
            hint=_RAW,
        )
    found: dict[tuple[bytes, ...], FoundFile] = {}
    for pattern in request.paths:
        name, tops = _only(request, pattern, result)
        for top in tops:
            for each in _below(result, opened[name], top):
                check()
                _add(found, each)
    for each in found.values():
        (result.skipped if each.reason else result.files).append(each)
    return result


def _open(part: Part, result: Survey) -> bool:
    try:
        tree = part.place.open()
        _ = tree.root
    except (Unsupported, Damaged) as error:
        result.unread[part.name] = error.message
        return False
    result.trees[part.name] = tree
    result.notes += [f"{part.name}: {note}" for note in tree.notes]
    return True


def _only(request: FilesRequest, pattern: str, result: Survey) -> tuple[str, list[Found]]:
    """Return the one file system that has what a pattern names, and what that is."""
    found: dict[str, list[Found]] = {}
    hurt: dict[str, str] = {}
    for name, tree in result.trees.items():
        try:
            if tops := match(tree, pattern):
                found[name] = tops
        except (Damaged, Unsupported) as error:
            hurt[name] = error.message
    if len(found) > 1:
        raise UsageError(
            f"{pattern} is on several file systems of backup {request.backup.name}: {', '.join(found)}",
            hint=f"say which with --volume, such as --volume {next(iter(found))}",
        )
    if not found:
        read = [f"{name} ({tree.name})" for name, tree in result.trees.items() if name not in hurt]
        unread = [f"{name} ({why})" for name, why in (result.unread | hurt).items()]
        looked = "; ".join(
            f"{words} {', '.join(names)}"
            for words, names in (("it was looked for on", read), ("not read:", unread))
            if names
        )
        raise NotFound(
            f"{pattern} is not in backup {request.backup.name}", code="files.not-found", hint=looked
        )
    return next(iter(found.items()))


def _below(result: Survey, part: Part, top: Found) -> Iterator[FoundFile]:
    """Yield something and all below it; folders that cannot be read are noted as left out."""
    lost: list[FoundFile] = []

    def note(folder: Found, error: CsbsError) -> None:
        lost.append(
            FoundFile(
                part, folder.path, folder.node, reason=error.message, damaged=isinstance(error, Damaged)
            )
        )

    for each in walk(result.trees[part.name], top, note):
        kind = each.node.kind
        yield FoundFile(part, each.path, each.node, reason=_LEFT_OUT.get(kind), damaged=kind is Kind.LOST)
    result.skipped += lost


def _add(found: dict[tuple[bytes, ...], FoundFile], each: FoundFile) -> None:
    """Take something in, once; the root itself is the folder that everything goes to."""
    if not each.path:
        return
    other = found.setdefault(each.path, each)
    if other.part is not each.part and {other.node.kind, each.node.kind} != {Kind.FOLDER}:
        raise UsageError(
            f"{printable(each.path)} is wanted of {other.part.name} and of {each.part.name}",
            hint="fetch them into folders of their own, with --volume",
        )


def _instant(nanoseconds: int) -> str | None:
    try:
        return format_instant(_EPOCH + timedelta(microseconds=nanoseconds // 1000))
    except OverflowError:
        return None
