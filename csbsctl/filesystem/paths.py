"""Paths in a file system: what a pattern names, and everything below it. Links are followed inside, never outside."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from csbsctl.errors import CsbsError, Damaged, Unsupported
from csbsctl.filesystem.tree import FileSystem, Kind, Node

_MOST_LINKS = 40
_DEEPEST = 512
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a file system: its real path from the root (no link in it but the last part), and its node."""

    path: tuple[bytes, ...]
    node: Node


def match(filesystem: FileSystem, pattern: str) -> list[Found]:
    """Return what an absolute pattern names; ``*``, ``?`` and ``[]`` match within one part of the path.

    Links on the way are followed as the server would, within the file system; the last part is taken as it is.
    """
    found = [Found((), filesystem.root)]
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        found = [
            reached
            for folder in found
            for each in _named(filesystem, folder, os.fsencode(part))
            if (reached := each if last else _resolved(filesystem, each)) is not None
        ]
    unique = {each.path: each for each in found}
    return sorted(unique.values(), key=lambda each: each.path)


def walk(
    filesystem: FileSystem, top: Found, lost: Callable[[Found, CsbsError], None] | None = None
) -> Iterator[Found]:
    """Yield something and, of a folder, all that is below, folders before what is in them, by name.

    ``lost`` is told of folders that cannot be read, and the rest goes on; without it the first one raises.

    Raises:
        Damaged: a folder makes no sense, is below itself or in two places, which no file system has.
        Unsupported: a folder is encrypted.
    """
    seen: set[int] = set()
    waiting = [top]
    while waiting:
        found = waiting.pop()
        yield found
        if found.node.kind is not Kind.FOLDER:
            continue
        try:
            below = _in(filesystem, found, seen)
        except (Damaged, Unsupported) as error:
            if lost is None:
                raise
            lost(found, error)
            continue
        waiting += sorted(below, key=lambda each: each.path, reverse=True)


def _in(filesystem: FileSystem, folder: Found, seen: set[int]) -> list[Found]:
    """Return what is in a folder that was not seen yet."""
    if folder.node.number in seen or len(folder.path) > _DEEPEST:
        raise Damaged(f"folder {printable(folder.path)} is in two places, or below itself")
    seen.add(folder.node.number)
    return [Found((*folder.path, name), node) for name, node in filesystem.entries(folder.node)]


def printable(path: tuple[bytes, ...]) -> str:
    """Return a path for people and for JSON: what is no text, or would work on a terminal, is shown as escapes."""
    text = "/" + b"/".join(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _named(filesystem: FileSystem, folder: Found, part: bytes) -> Iterator[Found]:
    if folder.node.kind is not Kind.FOLDER:
        return
    text = os.fsdecode(part)
    if text == "..":
        parent = _resolve(filesystem, folder.path[:-1], b"", _Budget())
        if parent:
            yield parent
        return
    if not _MAGIC & set(text):
        node = filesystem.lookup(folder.node, part)
        if node is not None:
            yield Found((*folder.path, part), node)
        return
    for name, node in filesystem.entries(folder.node):
        hidden = name.startswith(b".") and not part.startswith(b".")
        if not hidden and fnmatch.fnmatchcase(os.fsdecode(name), text):
            yield Found((*folder.path, name), node)


@dataclass(slots=True)
class _Budget:
    """How many links may still be followed: they may point at each other."""

    links: int = _MOST_LINKS


def _resolved(filesystem: FileSystem, found: Found) -> Found | None:
    """Return what something is once links are followed; None for a link that leads nowhere."""
    if found.node.kind is not Kind.LINK:
        return found
    budget = _Budget(_MOST_LINKS - 1)
    return _resolve(filesystem, found.path[:-1], filesystem.target(found.node), budget)


def _resolve(
    filesystem: FileSystem, start: tuple[bytes, ...], target: bytes, budget: _Budget
) -> Found | None:
    """Return what a link's target names, seen from a folder; ``..`` of the root is the root."""
    path: list[bytes] = [] if target.startswith(b"/") else list(start)
    waiting = [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
    while waiting:
        part = waiting.pop()
        if part == b"..":
            del path[-1:]
            continue
        here = _at(filesystem, path)
        node = filesystem.lookup(here.node, part) if here and here.node.kind is Kind.FOLDER else None
        if node is None:
            return None
        if node.kind is Kind.LINK:
            budget.links -= 1
            if budget.links < 0:
                return None
            onward = filesystem.target(node)
            path = [] if onward.startswith(b"/") else path
            waiting += [each for each in reversed(onward.split(b"/")) if each not in (b"", b".")]
        else:
            path.append(part)
    return _at(filesystem, path)


def _at(filesystem: FileSystem, path: list[bytes]) -> Found | None:
    """Return what is at a path without links, from the root."""
    node: Node | None = filesystem.root
    for part in path:
        node = filesystem.lookup(node, part) if node and node.kind is Kind.FOLDER else None
    return Found(tuple(path), node) if node else None
