"""An ext file system as a tree: joins superblock, journal, inodes, maps and folders."""

from __future__ import annotations

from collections.abc import Iterator

from csbsctl.errors import Damaged, Unsupported
from csbsctl.filesystem.blocks import BlockSource
from csbsctl.filesystem.ext.directory import names
from csbsctl.filesystem.ext.inode import Inode, read_inode
from csbsctl.filesystem.ext.journal import read_journal
from csbsctl.filesystem.ext.mapping import Run, runs
from csbsctl.filesystem.ext.volume import Volume
from csbsctl.filesystem.tree import Kind, Node, lost

_ROOT = 2
_PIECE = 1024 * 1024
_LONGEST_LINK = 4096
_LARGEST_FOLDER = 1 << 31
_INLINE_PARENT = 4
_INLINE_FIRST = 60


class ExtFileSystem:
    """See FileSystem. Opening one reads its journal when that was not replayed."""

    def __init__(self, source: BlockSource) -> None:
        self._volume = Volume(source)
        self._notes: list[str] = []
        if self._volume.superblock.needs_recovery:
            self._lay_journal_over(source)

    @property
    def name(self) -> str:
        """See FileSystem."""
        return self._volume.superblock.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """See FileSystem."""
        return tuple(self._notes)

    @property
    def root(self) -> Node:
        """See FileSystem."""
        node = self._inode(_ROOT).node
        if node.kind is not Kind.FOLDER:
            raise Damaged("the root of the file system is no folder")
        return node

    def entries(self, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """See FileSystem."""
        for name, number in self._names(folder):
            try:
                node = self._inode(number).node
            except Damaged:
                node = lost(number)
            yield name, node

    def lookup(self, folder: Node, name: bytes) -> Node | None:
        """See FileSystem."""
        for each, number in self._names(folder):
            if each == name:
                return self._inode(number).node
        return None

    def content(self, file: Node) -> Iterator[tuple[int, bytes]]:
        """See FileSystem."""
        yield from self._content(self._plain(file))

    def target(self, link: Node) -> bytes:
        """See FileSystem."""
        inode = self._plain(link)
        if inode.short_link:
            return inode.map[: link.size]
        if not 0 < link.size <= _LONGEST_LINK:
            raise Damaged(f"inode {link.number} is a symbolic link of {link.size} bytes")
        data = bytearray(link.size)
        for offset, piece in self._content(inode):
            data[offset : offset + len(piece)] = piece
        return bytes(data)

    def _lay_journal_over(self, source: BlockSource) -> None:
        number = self._volume.superblock.journal_inode
        if number is None:
            self._notes.append(
                "its journal is on another disk: the last changes before the backup are missing"
            )
            return
        places: list[int] = []
        for run in runs(self._volume, self._inode(number)):
            if run.first != len(places):
                raise Damaged("the journal has holes")
            places.extend(range(run.place, run.place + run.count))
        if not places:
            raise Damaged("the journal is empty")
        fresh = Volume(source)
        fresh.journal = tuple(places)
        fresh.overlay = read_journal(
            lambda place: fresh.raw(places[place], 1), len(places), fresh.superblock.block_size
        )
        if fresh.overlay.fast_commits:
            self._notes.append(
                "it uses fast commits, which are not read: changes of the last seconds may be missing"
            )
        self._volume = fresh

    def _inode(self, number: int) -> Inode:
        return read_inode(number, self._volume.inode(number))

    def _plain(self, node: Node) -> Inode:
        """Return the inode of a node whose data is to be read. Raises Unsupported when it is encrypted."""
        inode = self._inode(node.number)
        if inode.encrypted:
            raise Unsupported(f"inode {node.number} is encrypted (fscrypt)", code="filesystem.unsupported")
        return inode

    def _names(self, folder: Node) -> Iterator[tuple[bytes, int]]:
        if folder.kind is not Kind.FOLDER or folder.size > _LARGEST_FOLDER:
            raise Damaged(f"inode {folder.number} is no folder, or none that can be")
        inode, filetype = self._plain(folder), self._volume.superblock.filetype
        if inode.inline is not None:
            for part in (inode.inline[_INLINE_PARENT:_INLINE_FIRST], inode.inline[_INLINE_FIRST:]):
                yield from names(part, folder.number, filetype=filetype)
            return
        size, block = folder.size, self._volume.superblock.block_size
        for run in runs(self._volume, inode):
            for index in range(run.count):
                if (run.first + index) * block < size:
                    yield from names(self._volume.block(run.place + index), folder.number, filetype=filetype)

    def _content(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        if inode.inline is not None:
            if inode.inline:
                yield 0, inode.inline
            return
        size, block = inode.node.size, self._volume.superblock.block_size
        for run in runs(self._volume, inode):
            for piece in _cut(run, max(1, _PIECE // block)):
                offset = piece.first * block
                if offset >= size:
                    return
                yield offset, self._volume.run(piece.place, piece.count)[: size - offset]


def _cut(run: Run, most: int) -> Iterator[Run]:
    for done in range(0, run.count, most):
        yield Run(run.first + done, run.place + done, min(most, run.count - done))
