"""Whole disks out of a backup: raw images, sparse, in a folder of this machine, with their digests.

Reads where the data is, so that neither the server nor the cloud need be there. Going on after a crash, a disk is read
again only from the last place that was written down; what lies before is read back from the folder for its digest.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, Damaged, Refused
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.protection.folder import DiskFile, DiskFolder, check_room, file_of, folder_errors, read_list
from csbsctl.protection.jobs.fetch import fetch_refusal, fetching, lease_of_fetch
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.provider import Step, StoredDisk

NOTED = Boundary("fetch.disk.noted", "part of a disk is in the folder, durable, and its list says how much")
WHOLE = Boundary("fetch.disk.whole", "a disk is whole in the folder, under its temporary name")
NAMED = Boundary("fetch.disk.named", "a disk is whole in the folder, under its own name")

_PIECE = 4 * 1024 * 1024
_NOTE_EVERY = 128 * 1024 * 1024
_AHEAD = 4
_READERS = 2
_ZEROS = bytes(_PIECE)


@dataclass(frozen=True, slots=True)
class FetchedDisk:
    """A disk in the folder; ``kept`` says that it was there, whole and equal, before."""

    disk: DiskFile
    kept: bool


@dataclass(frozen=True, slots=True)
class FetchedDisks:
    """What a fetch of disks gave. Of a dry run: what it would, with digests only where disks are whole already."""

    backup: Backup
    folder: Path
    disks: tuple[FetchedDisk, ...]
    job: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``restore BACKUP --to DIR --json``."""
        return {
            "backup": self.backup.id,
            "folder": str(self.folder),
            "job": self.job,
            "disks": [
                {
                    "id": each.disk.id,
                    "name": each.disk.name,
                    "position": each.disk.position,
                    "size": each.disk.size,
                    "bootable": each.disk.bootable,
                    "file": str(self.folder / each.disk.file),
                    "sha256": each.disk.sha256,
                    "kept": each.kept,
                }
                for each in self.disks
            ],
        }


def chosen_volumes(backup: Backup, wanted: Sequence[str]) -> list[StoredVolume]:
    """Return the disks of a backup that are wanted by ID or name, all where none is named, in order.

    Raises:
        Refused: a name fits none or several (CSBS.6017).
    """
    chosen = []
    for name in wanted:
        found = [v for v in backup.volumes if v.volume_id == name] or [
            v for v in backup.volumes if v.name == name
        ]
        if len(found) != 1:
            how = "fits several disks of" if found else "is not a disk of"
            names = ", ".join(v.name for v in backup.volumes)
            raise Refused(f"{name!r} {how} backup {backup.name}", code="CSBS.6017", hint=f"it has {names}")
        chosen += found
    unique = {volume.ref: volume for volume in chosen or backup.volumes}
    return sorted(unique.values(), key=lambda volume: volume.position)


def plan_disks(backup: Backup, folder: Path, volumes: Sequence[str] = ()) -> FetchedDisks:
    """Return what a fetch would write, changing nothing. Raises Refused for what it would refuse at once."""
    if refusal := fetch_refusal(backup):
        raise refusal
    noted = read_list(folder, backup)
    wanted = [_as_noted(noted, file_of(volume)) for volume in chosen_volumes(backup, volumes)]
    for disk in wanted:
        _refuse_foreign(folder, noted, disk)
    there = [FetchedDisk(disk, kept=(folder / disk.file).exists()) for disk in wanted]
    return FetchedDisks(backup, folder, tuple(there), None)


def fetch_disks(site: Site, backup: Backup, folder: Path, volumes: Sequence[str] = ()) -> FetchedDisks:
    """Write disks of a backup into a folder, or go on where the same command was cut off.

    Raises:
        Refused: the backup cannot be read, there is no room, or something else is in the folder's place.
        Conflict: another command writes to the folder.
        Unsupported: the provider cannot read its data without a restore.
        Damaged: a file of an earlier try is not what it was.
    """
    chosen = chosen_volumes(backup, volumes)
    plan_disks(backup, folder, volumes)
    with (
        hold(site, backup.provider, lease_of_fetch(backup, folder)) as lease,
        fetching(site, lease, backup, folder, volumes=[volume.volume_id for volume in chosen]) as work,
    ):
        opened: list[StoredDisk] = []
        try:
            opened.extend(open_disk(work, volume) for volume in chosen)
            with DiskFolder(folder, backup) as target:
                _check_room(target, chosen, opened)
                done = [_one(work, target, volume, disk) for volume, disk in zip(chosen, opened, strict=True)]
        finally:
            for disk in opened:
                disk.close()
    return FetchedDisks(backup, folder, tuple(done), work.job.id)


def open_disk(work: Work, volume: StoredVolume) -> StoredDisk:
    """Open a disk of the backup that a job reads; the caller closes it."""
    step = work.step(volume.name or volume.volume_id)
    return work.patiently(lambda: work.provider.open_disk(step, volume))


def _one(work: Work, folder: DiskFolder, volume: StoredVolume, source: StoredDisk) -> FetchedDisk:
    step = work.step(volume.name or volume.volume_id)
    disk = _as_noted(folder.disks, file_of(volume))
    _refuse_foreign(folder.path, folder.disks, disk)
    if (folder.path / disk.file).exists():
        if _digest(step, folder.path / disk.file, disk.size).hexdigest() != disk.sha256:
            raise Damaged(
                f"{folder.path / disk.file} is not what was fetched: somebody changed it",
                hint="move it away; the same command fetches it again",
            )
        return FetchedDisk(disk, kept=True)
    whole = _write(step, folder, disk, source)
    WHOLE()
    folder.finish(whole)
    NAMED()
    return FetchedDisk(whole, kept=False)


def _write(step: Step, folder: DiskFolder, disk: DiskFile, source: StoredDisk) -> DiskFile:
    """Write a disk under its temporary name, from where an earlier try was, and return it with its digest."""
    part = folder.path / (disk.file + ".part")
    with folder_errors(part):
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        start = min(disk.done, os.fstat(fd).st_size)
        digest = _digest(step, part, start)
        with folder_errors(part):
            os.ftruncate(fd, start)  # what came after the last note may be anything
            os.ftruncate(fd, disk.size)
        _fill(step, folder, replace(disk, done=start), source, fd=fd, digest=digest)
        with folder_errors(part):
            os.fsync(fd)
    finally:
        os.close(fd)
    whole = replace(disk, done=disk.size, sha256=digest.hexdigest())
    folder.note(whole)
    return whole


def _fill(
    step: Step, folder: DiskFolder, disk: DiskFile, source: StoredDisk, *, fd: int, digest: hashlib._Hash
) -> None:
    """Write the rest of a disk, noting now and then (and when it has to stop) how far it is."""
    noted = done = disk.done
    try:
        for offset, data in _pieces(source, disk.done, disk.size):
            step.check()
            digest.update(data)
            if not _ZEROS.startswith(data):
                with folder_errors(folder.path / disk.file):
                    _write_at(fd, offset, data)
            done = offset + len(data)
            step.progress(done, disk.size)
            if done - noted >= _NOTE_EVERY:
                _note(folder, fd, replace(disk, done=done))
                noted = done
                NOTED()
    except CsbsError:
        with suppress(CsbsError):
            _note(folder, fd, replace(disk, done=done))
        raise


def _note(folder: DiskFolder, fd: int, disk: DiskFile) -> None:
    with folder_errors(folder.path):
        os.fdatasync(fd)
    folder.note(disk)


def _pieces(source: StoredDisk, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of a disk from a place on, in order, zeros included; reads ahead in threads."""
    ahead: deque[tuple[int, Future[bytes] | bytes]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fetch") as pool:
        try:
            for offset, length, data in _ranges(source, start, size):
                ahead.append((offset, pool.submit(source.read, offset, length) if data else _zeros(length)))
                if len(ahead) > _AHEAD:
                    yield _settled(*ahead.popleft())
            while ahead:
                yield _settled(*ahead.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _settled(offset: int, piece: Future[bytes] | bytes) -> tuple[int, bytes]:
    return offset, piece if isinstance(piece, bytes) else piece.result()


def _zeros(length: int) -> bytes:
    return _ZEROS if length == _PIECE else _ZEROS[:length]


def _ranges(source: StoredDisk, start: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (offset, length, whether it holds data) over a disk from a place on, in pieces."""
    at = start
    for offset, length in source.extents():
        begin, end = max(offset, at), min(offset + length, size)
        if end <= begin:
            continue
        yield from ((o, n, False) for o, n in _cut(at, begin))
        yield from ((o, n, True) for o, n in _cut(begin, end))
        at = end
    yield from ((o, n, False) for o, n in _cut(at, size))


def _cut(start: int, end: int) -> Iterator[tuple[int, int]]:
    for offset in range(start, end, _PIECE):
        yield offset, min(_PIECE, end - offset)


def _digest(step: Step, path: Path, length: int) -> hashlib._Hash:
    """Return the running digest of the first bytes of a file."""
    digest = hashlib.sha256()
    if not length:
        return digest
    done = 0
    with folder_errors(path), path.open("rb") as file:
        while done < length and (data := file.read(min(_PIECE, length - done))):
            step.check()
            digest.update(data)
            done += len(data)
            step.progress(done, length)
        if file.read(1) and not path.name.endswith(".part"):
            digest.update(b"longer than it should be")
    return digest


def _write_at(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def _check_room(folder: DiskFolder, chosen: Sequence[StoredVolume], opened: Sequence[StoredDisk]) -> None:
    """Refuse what cannot fit: the full sizes are asked first, for counting what holds data takes reading."""
    missing = [
        (disk, source)
        for disk, source in zip((file_of(volume) for volume in chosen), opened, strict=True)
        if not (folder.path / disk.file).exists()
    ]
    try:
        check_room(folder.path, sum(disk.size for disk, _ in missing))
    except Refused:
        needed = sum(length for _, source in missing for _, length in source.extents())
        done = sum(_allocated(folder.path / (disk.file + ".part")) for disk, _ in missing)
        check_room(folder.path, max(0, needed - done))


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.exists() else 0


def _as_noted(noted: dict[str, DiskFile], disk: DiskFile) -> DiskFile:
    """Return how far a disk is by the list; from the start where the list is of a disk that was another then."""
    known = noted.get(disk.file)
    return known if known and (known.id, known.size) == (disk.id, disk.size) else disk


def _refuse_foreign(folder: Path, noted: dict[str, DiskFile], disk: DiskFile) -> None:
    """Refuse to write where something is that no fetch of this backup put there."""
    known = noted.get(disk.file)
    if os.path.lexists(folder / disk.file) and not (known and known.sha256 and known.id == disk.id):
        raise Refused(
            f"{folder / disk.file} is there already, and no fetch of this backup wrote it",
            code="folder.occupied",
            hint="move it away, or choose another folder",
        )
