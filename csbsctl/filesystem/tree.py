"""What every file system offers: a tree of nodes, their names, and their bytes."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Kind(enum.StrEnum):
    """What a node is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"
    """A device, a socket or a pipe: there is nothing to fetch of it."""
    LOST = "lost"
    """Something with a name whose description cannot be read."""


@dataclass(frozen=True, slots=True)
class Node:
    """A file, folder or symbolic link as it lies on the disk.

    ``number`` tells it apart within its file system, ``mode`` are the permission bits, ``size`` is bytes and ``stored``
    how many of them are no holes; times are nanoseconds since 1970, UTC.
    """

    number: int
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    modified: int
    accessed: int
    stored: int = 0


def lost(number: int) -> Node:
    """Return what stands for something that cannot be read."""
    return Node(number, Kind.LOST, mode=0, uid=0, gid=0, size=0, modified=0, accessed=0)


class FileSystem(Protocol):
    """A file system that can be read. All methods raise Damaged where the bytes make no sense."""

    @property
    def name(self) -> str:
        """What it is called, such as ``ext4``."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it was read."""
        ...

    @property
    def root(self) -> Node:
        """The folder that everything is in."""
        ...

    def entries(self, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """Yield name and node of everything in a folder, ``.`` and ``..`` left out, in the order of the disk.

        Names are never empty and hold neither ``/`` nor NUL.
        """
        ...

    def lookup(self, folder: Node, name: bytes) -> Node | None:
        """Return what a folder has under a name, None where it has nothing."""
        ...

    def content(self, file: Node) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of a file's data, ascending, in pieces; what is left out is zeros."""
        ...

    def target(self, link: Node) -> bytes:
        """Return where a symbolic link points."""
        ...
