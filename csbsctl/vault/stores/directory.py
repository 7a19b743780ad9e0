"""A store in a folder: one file per object, safe between processes, durable when a call returns.

An object is written to ``.tmp/``, synced, and only then given its name: by ``link(2)``, which fails when the name is
taken (create), or by ``rename(2)``, which replaces (put). The folder that got the name is synced too. A crash leaves
at most files in ``.tmp/``, which nobody reads and which are removed when they are a day old. Works wherever hard
links and fsync do, NFS included.

Paths are plain strings here: a catalogue of ten thousand servers is listed often, and Path costs ten times as much.
"""

# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH112, PTH116, PTH120 - see above

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from csbsctl.blobs import Blob, BlobExists, BlobNotFound, Buffer
from csbsctl.boundaries import Boundary
from csbsctl.clock import SystemClock
from csbsctl.errors import StoreUnavailable
from csbsctl.ids import new_id
from csbsctl.vault.stores.filesystem_errors import filesystem, translate

STAGED = Boundary("store.staged", "an object's bytes are on disk, but it has no name yet")
NAMED = Boundary("store.named", "an object has its name, but the folder may not be synced")

_Entries: TypeAlias = list[tuple[str, os.DirEntry[str]]]
_Texts: TypeAlias = list[str]

_TEMPORARY = ".tmp"
_ABANDONED = 86_400
"""Seconds after which a temporary file belongs to a writer that is gone."""


class DirectoryStore:
    """Objects as files below a folder, which is made by the first write."""

    parallel = 1
    """Reading a small file takes less time than handing it to a thread."""

    remote = False
    lag = 0.0

    def __init__(self, root: Path) -> None:
        self.root = root
        self._path = os.fspath(root)
        self._swept = False
        self._lock = threading.Lock()
        """Guards ``_swept``: one thread clears old temporary files, once."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See BlobStore."""
        path = self._file(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except NotADirectoryError as error:
            self._refuse_file_as_root(error)
            raise BlobNotFound(key) from None
        except OSError as error:
            raise translate(error, "read", path) from error
        with filesystem("read", path):
            try:
                return _read(descriptor, key, start, length)
            finally:
                os.close(descriptor)

    def create(self, key: str, data: Buffer, *, authenticated: bool = False) -> None:
        """See BlobStore."""
        path = self._file(key)
        staged = self._stage(data, path)
        try:
            self._named(lambda: os.link(staged, path), path)
        except FileExistsError:
            raise BlobExists(key) from None
        finally:
            _remove(staged)

    def put(self, key: str, data: Buffer) -> None:
        """See BlobStore."""
        path = self._file(key)
        staged = self._stage(data, path)
        try:
            self._named(lambda: os.rename(staged, path), path)
        except BaseException:
            _remove(staged)
            raise

    def delete(self, key: str) -> None:
        """See BlobStore."""
        path = self._file(key)
        with filesystem("delete", path):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return
        folder = os.path.dirname(path)
        while folder != self._path:
            try:
                os.rmdir(folder)
            except OSError:  # not empty, most of the time
                return
            folder = os.path.dirname(folder)

    def delete_all(self, keys: Collection[str]) -> None:
        """See BlobStore."""
        for key in keys:
            self.delete(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Blob]:
        """See BlobStore."""
        for key, entry in self._walk(prefix, after):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise translate(error, "look at", entry.path) from error
            yield Blob(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def keys(self, prefix: str) -> Iterator[str]:
        """See Store."""
        return (key for key, _ in self._walk(prefix, ""))

    def folders(self, prefix: str) -> Iterator[str]:
        """See Store. Counts a folder that has just been emptied, too."""
        entries = self._scan(prefix.rstrip("/"))
        return (name[:-1] for name, _ in entries if name.endswith("/"))

    def now(self) -> datetime:
        """See BlobStore: the modification time of a file made this instant, or the machine's on a read-only folder."""
        try:
            staged = self._stage(b"", self._path, durable=False)
        except StoreUnavailable:
            return SystemClock().now()
        try:
            with filesystem("look at", staged):
                return datetime.fromtimestamp(os.stat(staged).st_mtime, UTC)
        finally:
            _remove(staged)

    def _file(self, key: str) -> str:
        if not key or key.startswith(("/", ".")) or "/." in key or "//" in key or key.endswith("/"):
            msg = f"{key!r} is not a key"
            raise ValueError(msg)
        return f"{self._path}/{key}"

    def _stage(self, data: Buffer, target: str, *, durable: bool = True) -> str:
        self._sweep()
        staged = f"{self._path}/{_TEMPORARY}/{new_id()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with filesystem("write", target):
            try:
                descriptor = os.open(staged, flags, 0o600)
            except FileNotFoundError:
                _make_folders(f"{self._path}/{_TEMPORARY}")
                descriptor = os.open(staged, flags, 0o600)
            try:
                _write(descriptor, data)
                if durable:
                    os.fsync(descriptor)
            except BaseException:
                _remove(staged)
                raise
            finally:
                os.close(descriptor)
        STAGED()
        return staged

    def _named(self, give_name: Callable[[], None], path: str) -> None:
        """Give a staged file its name and sync the folder; FileExistsError passes through."""
        parent = os.path.dirname(path)
        try:
            for attempt in range(8):
                try:
                    give_name()
                    break
                except FileNotFoundError:  # no folder yet, or a deleter has just removed it as empty
                    if attempt == 7:  # noqa: PLR2004
                        raise
                    _make_folders(parent)
            NAMED()
            _sync_folder(parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise translate(error, "write", path) from error

    def _walk(self, prefix: str, after: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folder = prefix.rpartition("/")[0]
        for name, entry in self._scan(folder):
            key = f"{folder}/{name}" if folder else name
            if not key.startswith(prefix) and not prefix.startswith(key):
                continue
            if key.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._walk(max(key, prefix, key=len), after)
            elif key > after:
                yield key, entry

    def _scan(self, folder: str) -> _Entries:
        """Return what a folder holds, in the order of keys: a folder's name counts with its slash."""
        path = f"{self._path}/{folder}" if folder else self._path
        try:
            with os.scandir(path) as entries:
                found = [(e.name + "/" if e.is_dir() else e.name, e) for e in entries if e.name[0] != "."]
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            self._refuse_file_as_root(error)
            return []
        except OSError as error:
            raise translate(error, "list", path) from error
        found.sort(key=lambda pair: pair[0])
        return found

    def _refuse_file_as_root(self, error: OSError) -> None:
        if not os.path.isdir(self._path):
            raise translate(error, "open", self._path) from error

    def _sweep(self) -> None:
        with self._lock:
            if self._swept:
                return
            self._swept = True
        for path in self.abandoned():
            _remove(path)

    def abandoned(self) -> _Texts:
        """Return the temporary files that crashed writers left, those older than a day."""
        limit = SystemClock().now().timestamp() - _ABANDONED
        try:
            with os.scandir(f"{self._path}/{_TEMPORARY}") as entries:
                return [entry.path for entry in entries if entry.stat().st_mtime < limit]
        except OSError:
            return []


def _read(descriptor: int, key: str, start: int, length: int | None) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BlobNotFound(key)
    wanted = max(0, status.st_size - start)
    if length is not None:
        wanted = min(wanted, length)
    data = os.pread(descriptor, wanted, start)
    while len(data) < wanted:
        more = os.pread(descriptor, wanted - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def _write(descriptor: int, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def _make_folders(path: str) -> None:
    """Make a folder and its parents, each durable before what goes into it."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if parent == path:
            raise
        _make_folders(parent)
        _make_folders(path)
        return
    _sync_folder(os.path.dirname(path))


def _sync_folder(path: str) -> None:
    descriptor = os.open(path or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # gone, or to be swept later
        return
