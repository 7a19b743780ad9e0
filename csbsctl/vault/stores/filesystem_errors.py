"""Turns what a file system says into errors for people, with what to do about each."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csbsctl.errors import StoreUnavailable
from csbsctl.vault.stores.contract import Transient

_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("disk full", "free some space, or move the vault; nothing that was committed is lost"),
    errno.EDQUOT: ("disk quota exceeded", "raise the quota, or move the vault"),
    errno.EACCES: ("permission denied", "run as the vault's owner, or grant read and write on the folder"),
    errno.EPERM: (
        "operation not permitted",
        "check the folder's attributes (lsattr) and the mount's options",
    ),
    errno.EROFS: ("read-only file system", "mount it read-write"),
    errno.ENOTDIR: ("a file stands where a folder should be", "move the file away, or name another vault"),
    errno.ELOOP: ("symbolic links go in circles", "name the real folder"),
    errno.ENAMETOOLONG: ("name too long", "use a vault closer to the root of the file system"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n)"),
    errno.EIO: ("input/output error", "the disk or network file system is failing; see dmesg"),
    errno.ESTALE: ("stale file handle", "the network file system lost the folder; mount it again"),
    errno.EOPNOTSUPP: ("the file system has no hard links", "put the vault on ext4, xfs, btrfs, zfs or NFS"),
    errno.EMLINK: ("too many hard links", "put the vault on another file system"),
}
# What may be over in a moment, a network file system's server coming back above all. A failing disk gives EIO too: what
# is written is staged anew each time, so a try that succeeds is whole, and a disk that goes on failing is told soon.
_PASSING = {
    errno.EAGAIN,
    errno.EINTR,
    errno.ESTALE,
    errno.EIO,
    errno.EREMOTEIO,
    errno.ETIMEDOUT,
    errno.EBUSY,
    errno.EHOSTDOWN,
    errno.ENOLCK,
}


def translate(error: OSError, action: str, path: str | Path) -> StoreUnavailable:
    """Return what a file system's refusal means for the vault."""
    cause, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), None))
    kind = Transient if error.errno in _PASSING else StoreUnavailable
    return kind(f"cannot {action} {path}: {cause}", hint=hint)


@contextmanager
def filesystem(action: str, path: str | Path) -> Iterator[None]:
    """Run a block, turning OSError into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise translate(error, action, path) from error
