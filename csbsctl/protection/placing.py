"""Files, folders and links put below a folder of this machine, where nothing that an image says leads out of it.

Every step down is taken by a descriptor that follows no link. A file is written under a temporary name and gets its
own when it is whole and durable; small ones wait for each other, because making many durable at once costs little more
than one. What is there is never overwritten: the same is kept, anything else refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from csbsctl.boundaries import Boundary
from csbsctl.errors import Conflict, Refused
from csbsctl.filesystem import Node, printable
from csbsctl.protection.folder import folder_errors

Parts = tuple[bytes, ...]
PLACED = Boundary("fetch.file.placed", "one more file of a backup is whole in the folder, under its own name")

_MOST_WAITING = 128
_MOST_BYTES = 64 * 1024 * 1024
_COMPARED = 1024 * 1024
_DOWN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links answer."""
_SPECIAL = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class _Written:
    """A file that is whole under its temporary name and waits for its own; the descriptors are ours to close."""

    path: Parts
    part: bytes
    fd: int
    parent: int
    size: int


class Placer:
    """A folder that files are put into. A context manager: it is locked, and written by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = -1
        self._here: tuple[Parts, int] | None = None
        self._folders: list[tuple[Parts, Node]] = []
        self._waiting: list[_Written] = []
        self._owner = os.geteuid() == 0

    def __enter__(self) -> Self:
        with folder_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._root)
            raise Conflict(f"another command writes to {self.path} now", hint="wait for it") from error
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._settle()
        finally:
            if self._here:
                os.close(self._here[1])
            os.close(self._root)

    def folder(self, path: Parts, node: Node) -> bool:
        """Make a folder, unless it is there; return whether it was. Mode and times come with ``finish``."""
        if not path:
            return True
        with folder_errors(self.path):
            parent = self._descend(path[:-1])
            there = _kind(parent, path[-1])
            if there is None:
                os.mkdir(path[-1], 0o700, dir_fd=parent)
            elif not stat.S_ISDIR(there.st_mode):
                raise self._occupied(path)
        self._folders.append((path, node))  # one that is there may be of somebody who died before dressing it
        return there is not None

    def link(self, path: Parts, node: Node, target: bytes) -> bool:
        """Make a symbolic link as it is in the image; it is not followed. Return whether the same was there."""
        with folder_errors(self.path):
            parent = self._descend(path[:-1])
            there = _kind(parent, path[-1])
            if there is None:
                os.symlink(target, path[-1], dir_fd=parent)
                self._dress_link(parent, path[-1], node)
            elif not stat.S_ISLNK(there.st_mode) or os.readlink(path[-1], dir_fd=parent) != target:
                raise self._occupied(path)
        return there is not None

    def file(self, path: Parts, node: Node, content: Iterator[tuple[int, bytes]]) -> bool:
        """Write a file, sparse as it was; return whether the same was there. Errors of ``content`` leave nothing."""
        part = b".csbsctl-" + hashlib.sha256(path[-1]).hexdigest()[:16].encode() + b".part"
        with folder_errors(self.path):
            parent = self._descend(path[:-1])
            there = _kind(parent, path[-1])
        if there is not None:
            if not stat.S_ISREG(there.st_mode) or not self._is_same(parent, path, node, content):
                raise self._occupied(path)
            with folder_errors(self.path), suppress(FileNotFoundError):
                os.unlink(part, dir_fd=parent)  # its other name, where somebody died in between
            return True
        try:
            fd = self._write(parent, part, node, content)
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=parent)
            raise
        self._waiting.append(_Written(path, part, fd, os.dup(parent), node.stored))
        if len(self._waiting) >= _MOST_WAITING or sum(each.size for each in self._waiting) >= _MOST_BYTES:
            self._settle()
        return False

    def finish(self) -> None:
        """Give what waits its name, and the folders that were made their modes and times, the deepest first."""
        self._settle()
        with folder_errors(self.path):
            for path, node in reversed(self._folders):
                fd = self._descend(path)
                self._dress(fd, node)
            os.fsync(self._root)

    def _write(self, parent: int, part: bytes, node: Node, content: Iterator[tuple[int, bytes]]) -> int:
        with folder_errors(self.path):
            fd = os.open(part, _WRITE, 0o600, dir_fd=parent)
        try:
            for offset, data in content:
                with folder_errors(self.path):
                    _write_at(fd, offset, data)
            with folder_errors(self.path):
                os.ftruncate(fd, node.size)
                self._dress(fd, node)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _settle(self) -> None:
        """Make what waits durable and give it its names, in order."""
        waiting, self._waiting = self._waiting, []
        try:
            with folder_errors(self.path):
                for (
                    each
                ) in waiting:  # all begin to be written, so that they share what making one durable takes
                    os.posix_fadvise(each.fd, 0, 0, os.POSIX_FADV_DONTNEED)
                for each in waiting:
                    os.fsync(each.fd)
                for each in waiting:
                    self._name(each)
                    PLACED()
        finally:
            for each in waiting:
                with suppress(OSError):
                    os.unlink(each.part, dir_fd=each.parent)
                os.close(each.fd)
                os.close(each.parent)

    def _name(self, written: _Written) -> None:
        """Give a whole file its name; a link fails where something is in its place, a rename would replace it."""
        part, name, parent = written.part, written.path[-1], written.parent
        try:
            os.link(part, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError as error:
            raise self._occupied(written.path) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)
            return
        os.unlink(part, dir_fd=parent)

    def _is_same(self, parent: int, path: Parts, node: Node, content: Iterator[tuple[int, bytes]]) -> bool:
        with folder_errors(self.path):
            fd = os.open(path[-1], _READ, dir_fd=parent)
        try:
            if os.fstat(fd).st_size != node.size:
                return False
            at = 0
            for offset, data in content:
                with folder_errors(self.path):
                    if not _zeros(fd, at, offset) or os.pread(fd, len(data), offset) != data:
                        return False
                at = offset + len(data)
            with folder_errors(self.path):
                return _zeros(fd, at, node.size)
        finally:
            os.close(fd)

    def _descend(self, path: Parts) -> int:
        """Return a descriptor of a folder below, made where it is missing; it is ours until the next call."""
        if self._here and self._here[0] == path:
            return self._here[1]
        fd = os.dup(self._root)
        for number, part in enumerate(path):
            try:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
                below = os.open(part, _DOWN, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise self._occupied(path[: number + 1]) from error
                raise
            finally:
                os.close(fd)
            fd = below
        if self._here:
            os.close(self._here[1])
        self._here = (path, fd)
        return fd

    def _dress(self, fd: int, node: Node) -> None:
        """Give a file or folder mode, times and (as root) owner; rights of an owner it does not get are left out."""
        if self._owner:
            os.fchown(fd, node.uid, node.gid)
        os.fchmod(fd, node.mode if self._owner else node.mode & ~_SPECIAL)
        os.utime(fd, ns=(node.accessed, node.modified))

    def _dress_link(self, parent: int, name: bytes, node: Node) -> None:
        if self._owner:
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(node.accessed, node.modified), dir_fd=parent, follow_symlinks=False)

    def _occupied(self, path: Parts) -> Refused:
        return Refused(
            f"{self.path}{printable(path)} is there already, and is something else",
            code="folder.occupied",
            hint="move it away, or choose another folder",
        )


def _kind(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _zeros(fd: int, start: int, end: int) -> bool:
    """Say whether a range of a file is nothing but zeros; holes are passed over."""
    at = start
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return True
            raise
        if at < end and any(os.pread(fd, min(_COMPARED, end - at), at)):
            return False
        at += _COMPARED
    return True


def _write_at(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def inside(paths: Sequence[Parts]) -> None:
    """Raise Refused for a path that would leave the folder: readers never give such, and this makes sure."""
    for path in paths:
        if any(part in (b"", b".", b"..") or b"/" in part or b"\0" in part for part in path):
            raise Refused(f"{printable(path)} is no path below a folder", code="folder.outside")
