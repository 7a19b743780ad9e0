"""The folder that whole disks are fetched into: its list of contents, its lock, and how files get there.

``csbsctl-disks.json`` names every disk with its size, its digest and how far it is. A disk is written under a
temporary name and gets its own when it is whole and durable; the list is replaced as a whole, and always says less than
what is there. Knows nothing of providers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from csbsctl.clock import format_instant
from csbsctl.errors import Conflict, CsbsError, Refused
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.units import format_size

LIST = "csbsctl-disks.json"
PART = ".part"
_FORMAT = 1
_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class DiskFile:
    """One disk in the folder: ``done`` bytes of it are durable, ``sha256`` is set once it is whole (holes as zeros)."""

    file: str
    position: int
    id: str
    name: str
    size: int
    bootable: bool
    done: int = 0
    sha256: str | None = None


class DiskFolder:
    """A folder with disks of one backup. A context manager: it is locked, and written by one process at a time."""

    def __init__(self, path: Path, backup: Backup) -> None:
        self.path = path
        self._backup = backup
        self._fd = -1
        self.disks: dict[str, DiskFile] = {}
        """By file name."""

    def __enter__(self) -> Self:
        with folder_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.disks = read_list(self.path, self._backup)
        except BlockingIOError as error:
            os.close(self._fd)
            raise Conflict(f"another command writes to {self.path} now", hint="wait for it") from error
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def note(self, disk: DiskFile) -> None:
        """Write down how far a disk is, durably."""
        self.disks[disk.file] = disk
        document = {
            "format_version": _FORMAT,
            **_origin(self._backup),
            "disks": [asdict(each) for each in sorted(self.disks.values(), key=lambda each: each.position)],
        }
        with folder_errors(self.path):
            fresh = self.path / (LIST + PART)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=2, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path / LIST)
            os.fsync(self._fd)

    def finish(self, disk: DiskFile) -> None:
        """Give a whole and durable disk its own name."""
        with folder_errors(self.path):
            (self.path / (disk.file + PART)).rename(self.path / disk.file)
            os.fsync(self._fd)


def file_of(volume: StoredVolume) -> DiskFile:
    """Return how a disk of a backup is called in a folder: its place in the server, then its name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", volume.name or volume.volume_id)[:100]
    return DiskFile(
        file=f"{volume.position}-{name}.raw",
        position=volume.position,
        id=volume.volume_id,
        name=volume.name,
        size=volume.size,
        bootable=volume.bootable,
    )


def read_list(path: Path, backup: Backup) -> dict[str, DiskFile]:
    """Return what a folder's list says of disks of a backup, by file name; {} where there is no list.

    Raises:
        Refused: the list is of another backup, or nobody can read it.
    """
    if not (path / LIST).exists():
        return {}
    try:
        with folder_errors(path):
            document = json.loads((path / LIST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise _foreign(path, f"cannot be read ({error})") from error
    try:
        if document["format_version"] != _FORMAT or document["backup"]["id"] != backup.id:
            raise _foreign(path, f"is of backup {document['backup']['name']}")
        return {each["file"]: DiskFile(**each) for each in document["disks"]}
    except (KeyError, TypeError) as error:
        raise _foreign(path, "is not one of csbsctl's") from error


@contextmanager
def folder_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a folder or a file in it into an error with a way out."""
    try:
        yield
    except OSError as error:
        hint = "make room; the same command goes on" if error.errno in _ROOM else "choose another folder"
        where = error.filename or path
        raise CsbsError(f"cannot write {where}: {error.strerror}", code="folder", hint=hint) from error


def check_room(path: Path, needed: int) -> None:
    """Raise Refused when the file system below a folder (which need not exist yet) has less room than is needed."""
    there = next(each for each in (path, *path.parents) if each.exists())
    with folder_errors(path):
        room = os.statvfs(there)
    free = room.f_bavail * room.f_frsize
    if free < needed:
        raise Refused(
            f"{path} has {format_size(free)} of room, {format_size(needed)} are needed",
            code="folder.room",
            hint="choose another folder, or fewer disks with --volume",
        )


def _origin(backup: Backup) -> dict[str, Any]:
    return {
        "backup": {"id": backup.id, "name": backup.name, "instant": format_instant(backup.instant)},
        "server": {"id": backup.server.id, "name": backup.server.name},
        "provider": backup.provider,
    }


def _foreign(path: Path, why: str) -> Refused:
    return Refused(
        f"{path / LIST} {why}", code="folder.foreign", hint="choose another folder, one for each backup"
    )
