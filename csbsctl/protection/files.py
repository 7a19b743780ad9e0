"""Files and folders out of a backup: found by path, read where they are, put below a folder of this machine.

Only the blocks that are needed are read: what the tree of the file system takes, and the files themselves. What cannot
be read is named, and the rest is fetched. Going on after a crash, what is there already is compared and kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from csbsctl.errors import Damaged, Unsupported
from csbsctl.filesystem import FileSystem, Kind
from csbsctl.model.backup import Backup, StoredVolume
from csbsctl.protection.disks import open_disk
from csbsctl.protection.folder import check_room
from csbsctl.protection.jobs.fetch import fetch_refusal, fetching, lease_of_fetch
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.placing import Placer, inside
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.protection.survey import FilesRequest, FoundFile, Survey, survey
from csbsctl.provider import Marker, Step, StoredDisk


@dataclass(frozen=True, slots=True)
class FetchedFiles:
    """What a fetch of files brought; of a listing (no ``job``), what it would bring."""

    backup: Backup
    folder: Path | None
    files: tuple[FoundFile, ...]
    skipped: tuple[FoundFile, ...]
    notes: tuple[str, ...]
    job: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files, holes included."""
        return sum(each.node.size for each in self.files if each.node.kind is Kind.FILE)

    @property
    def damaged(self) -> bool:
        """Whether something could not be read because it is damaged."""
        return any(each.damaged for each in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``restore BACKUP --path P --json``."""
        return {
            "backup": self.backup.id,
            "folder": str(self.folder) if self.folder else None,
            "job": self.job,
            "size": self.size,
            "files": [each.to_json() for each in self.files],
            "skipped": [each.to_json() for each in self.skipped],
            "notes": list(self.notes),
        }


def list_files(site: Site, request: FilesRequest, folder: Path | None = None) -> FetchedFiles:
    """Return what a fetch would bring, reading the trees only; changes nothing. Raises what ``fetch_files`` raises."""
    request.check()
    backup = request.backup
    if refusal := fetch_refusal(backup):
        raise refusal
    step = Step(Marker(site.vault.id, "list", backup.server.id, backup.id), site.stop.check)
    provider = site.provider(backup.provider)
    with _opened(request.disks(), lambda volume: provider.open_disk(step, volume)) as disks:
        found = survey(request, disks, site.stop.check)
    return FetchedFiles(backup, folder, tuple(found.files), tuple(found.skipped), tuple(found.notes))


def fetch_files(site: Site, request: FilesRequest, folder: Path) -> FetchedFiles:
    """Put files and folders of a backup below a folder, each under its path; what is there already is kept.

    Raises:
        NotFound: a path is on none of the disks.
        UsageError: it is on several.
        Refused: the backup cannot be read, there is no room, or something else is in a file's place.
        Unsupported: the provider, or no reader for the file systems, allows it.
    """
    request.check()
    backup, wanted = request.backup, request.disks()
    with (
        hold(site, backup.provider, lease_of_fetch(backup, folder)) as lease,
        fetching(site, lease, backup, folder, paths=list(request.paths)) as work,
        _opened(wanted, lambda volume: open_disk(work, volume)) as disks,
    ):
        found = survey(request, disks, work.check)
        check_room(folder, sum(each.node.stored for each in found.files if each.node.kind is Kind.FILE))
        inside([each.path for each in found.files])
        files, hurt = _place_all(work, found, folder)
        skipped = (*found.skipped, *hurt)
        return FetchedFiles(backup, folder, tuple(files), skipped, tuple(found.notes), work.job.id)


@contextmanager
def _opened(
    volumes: Sequence[StoredVolume], open_one: Callable[[StoredVolume], StoredDisk]
) -> Iterator[list[tuple[StoredVolume, StoredDisk]]]:
    with ExitStack() as stack:
        disks = []
        for volume in volumes:
            disk = open_one(volume)
            stack.callback(disk.close)
            disks.append((volume, disk))
        yield disks


def _place_all(work: Work, found: Survey, folder: Path) -> tuple[list[FoundFile], list[FoundFile]]:
    """Put everything in its place; return what is there now, and what could not be read after all."""
    placed: list[FoundFile] = []
    hurt: list[FoundFile] = []
    step = work.step("files")
    total = sum(each.node.size for each in found.files)
    before = itertools.accumulate((each.node.size for each in found.files), initial=0)
    with Placer(folder) as placer:
        for each, done in zip(found.files, before, strict=False):
            work.check()
            step.progress(done, total)
            try:
                kept = _place(placer, found.trees[each.part.name], each, work.check)
            except (Damaged, Unsupported) as error:
                hurt.append(replace(each, reason=error.message, damaged=isinstance(error, Damaged)))
                continue
            placed.append(replace(each, kept=kept))
        placer.finish()
    return placed, hurt


def _place(placer: Placer, tree: FileSystem, each: FoundFile, check: Callable[[], None]) -> bool:
    """Put one thing in its place; return whether the same was there."""
    if each.node.kind is Kind.FOLDER:
        return placer.folder(each.path, each.node)
    if each.node.kind is Kind.LINK:
        return placer.link(each.path, each.node, tree.target(each.node))
    return placer.file(each.path, each.node, _checked(tree.content(each.node), check))


def _checked(content: Iterator[tuple[int, bytes]], check: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    for piece in content:
        check()
        yield piece
