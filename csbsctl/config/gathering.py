"""``csbs.yaml`` and the files it includes, merged into one mapping that still knows where everything came from.

Knows names of sections and how they merge; must not know what is in them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csbsctl.config.source import Source, read_source
from csbsctl.config.tree import Mark, Tree, parse
from csbsctl.diagnostics import Diagnostic, Place
from csbsctl.errors import ConfigError

FILE_NAME = "csbs.yaml"
NAMED = frozenset({"providers", "variables", "policies", "bindings", "objectives", "guardrails"})
"""Sections that merge name by name."""
LISTED = frozenset({"access", "moved"})
"""Sections that are lists and are joined."""
EXTENSION = "x-"
"""Keys that start so are ignored: a place for YAML anchors."""

POLICY_TESTS = ".csbstest.yaml"
"""Files that stand beside the configuration and are none of it, whatever a pattern of ``include`` says."""

KeyPath = tuple[str | int, ...]
"""Keys and indexes from the top of the configuration down to a value."""


class Gathered:
    """All files of a configuration. ``document`` is their merged value, ``problems`` what went wrong on the way."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.document: dict[str, Any] = {}
        self.problems: list[Diagnostic] = []
        self.templated = False
        self.incomplete = False
        """A file could not be read, so that names may be missing that are declared in it."""
        self._marked: dict[int, Tree] = {}

    def declares(self, path: KeyPath) -> bool:
        """Say whether a path is written in some file."""
        for number, source in enumerate(self.sources):
            found = self._locate_in(number, source, self._local(number, path), key=True)
            if found and found[0] == len(path):
                return True
        return False

    def lay_over(self, overlay: Mapping[str, Any]) -> None:
        """Change values: mappings merge, everything else replaces, None removes. Places stay those of the files."""
        self.document = _laid_over(self.document, overlay)
        self.templated = True  # the overlay may hold expressions

    def forget(self) -> None:
        """Drop the values; places can still be computed."""
        self.document = {}

    def locate(self, path: KeyPath, *, key: bool = False) -> Place | None:
        """Return where a value stands (or its key): the value if it is on its key's line, else the key.

        A path that leads nowhere gives the place of the deepest part that exists. Files are read again with marks,
        once each.
        """
        best: tuple[int, Place] | None = None
        for number, source in enumerate(self.sources):
            found = self._locate_in(number, source, self._local(number, path), key=key)
            if found and (best is None or found[0] > best[0]):
                best = found
        return best[1] if best else None

    def _local(self, number: int, path: KeyPath) -> KeyPath:
        """Return the path inside one file: items of joined lists are counted file by file."""
        if len(path) < 2 or path[0] not in LISTED or not isinstance(path[1], int):  # noqa: PLR2004
            return path
        before = 0
        for earlier in range(number):
            items = _mapping(self._tree(earlier)).get(str(path[0]))
            before += len(items) if isinstance(items, list) else 0
        return path[0], path[1] - before, *path[2:]

    def _locate_in(
        self, number: int, source: Source, path: KeyPath, *, key: bool
    ) -> tuple[int, Place] | None:
        tree = self._tree(number)
        container, depth = tree.value, 0
        where: Mark | None = None
        for step in path:
            marks = tree.marks.get(id(container), {}).get(step)
            if marks is None:
                break
            depth += 1
            inside = container[step]
            on_key = isinstance(container, dict) and (inside is None or isinstance(inside, dict | list))
            where = marks[0] if on_key or (key and depth == len(path)) else marks[1]
            container = inside
        return (depth, source.place(*where)) if where else None

    def _tree(self, number: int) -> Tree:
        if number not in self._marked:
            self._marked[number] = parse(self.sources[number], marks=True)
        return self._marked[number]

    def take(self, source: Source, tree: Tree) -> None:
        """Merge one more file in."""
        self.sources.append(source)
        self.problems += tree.problems
        self.templated |= tree.templated
        if tree.problems:
            self._marked[len(self.sources) - 1] = tree
        for section, value in _mapping(tree).items():
            if section.startswith(EXTENSION):
                continue
            if len(self.sources) > 1 and section == "include":
                self._problem("only csbs.yaml may include files", len(self.sources) - 1, (section,))
                continue
            self._merge(section, value)

    def _merge(self, section: str, value: Any) -> None:
        if section in NAMED and isinstance(value, dict):
            value = {name: item for name, item in value.items() if not name.startswith(EXTENSION)}
        if value is None:  # a section with nothing in it, or nothing but comments
            return
        if section not in self.document:
            self.document[section] = value
            return
        present = self.document[section]
        if section in NAMED and isinstance(present, dict) and isinstance(value, dict):
            for name, item in value.items():
                if name in present:
                    self._declared_twice((section, name))
                present.setdefault(name, item)
        elif section in LISTED and isinstance(present, list) and isinstance(value, list):
            self.document[section] = [*present, *value]
        elif not (section == "version" and value == present):
            self._declared_twice((section,))

    def _declared_twice(self, path: KeyPath) -> None:
        here = len(self.sources) - 1
        first = next(
            found[1]
            for number, source in enumerate(self.sources)
            if (found := self._locate_in(number, source, path, key=True)) and found[0] == len(path)
        )
        name = ".".join(str(step) for step in path)
        self._problem(f"{name!r} is declared twice", here, path, related=(first,))

    def _problem(self, summary: str, number: int, path: KeyPath, *, related: tuple[Place, ...] = ()) -> None:
        found = self._locate_in(number, self.sources[number], path, key=True)
        self.problems.append(Diagnostic(summary, found[1] if found else None, related=related))


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            present = result.get(key)
            result[key] = _laid_over(present if isinstance(present, dict) else {}, value)
        else:
            result[key] = value
    return result


def gather(directory: Path) -> Gathered:
    """Read ``csbs.yaml`` in a folder and every file it includes; problems of included files are collected.

    Raises:
        ConfigError: ``csbs.yaml`` itself cannot be read or is no mapping.
    """
    gathered = Gathered()
    main = read_source(directory / FILE_NAME, missing_hint=_missing_hint(directory))
    gathered.take(main, _checked(main))
    for path in _included(gathered, directory):
        try:
            source = read_source(path)
            gathered.take(source, _checked(source))
        except ConfigError as error:
            gathered.problems += error.diagnostics
            gathered.incomplete = True
    return gathered


def _missing_hint(directory: Path) -> str:
    if not directory.is_dir():
        return "the folder does not exist"
    for other in ("csbs.yml", "csbs.json"):
        if (directory / other).exists():
            return f"there is a {other}: call it {FILE_NAME}"
    return "`csbsctl init` writes a starter; -C DIR looks in another folder"


def _checked(source: Source) -> Tree:
    """Parse a file whose top must be a mapping; an empty file is an empty mapping."""
    tree = parse(source)
    if tree.problems and tree.value is None:
        raise ConfigError(tree.problems)
    if not isinstance(tree.value, dict | None):
        raise ConfigError(
            [
                *tree.problems,
                Diagnostic(
                    f"a configuration is a mapping of sections, and this is {_kind(tree.value)}",
                    source.place(0, 0),
                    hint="start with `policies:`; `csbsctl init` writes an example",
                ),
            ]
        )
    return tree


def _kind(value: Any) -> str:
    return (
        "a list" if isinstance(value, list) else "plain text" if isinstance(value, str) else "a single value"
    )


def _mapping(tree: Tree) -> dict[str, Any]:
    return tree.value if isinstance(tree.value, dict) else {}


def _included(gathered: Gathered, directory: Path) -> list[Path]:
    """Return the files of ``include:`` in a stable order, each once; a pattern that finds nothing is a problem."""
    patterns = gathered.document.get("include")
    if isinstance(patterns, str):
        patterns = gathered.document["include"] = [patterns]
    if not isinstance(patterns, list):
        return []  # a wrong type is reported by validation
    found: dict[str, Path] = {}
    for number, pattern in enumerate(patterns):
        if not isinstance(pattern, str):
            continue
        matches = _matches(directory, pattern)
        if not matches:
            folder = (directory / pattern).is_dir() if "\0" not in pattern else False
            gathered.problems.append(
                Diagnostic(
                    f"include {pattern!r} matches no file",
                    gathered.locate(("include", number)) or gathered.locate(("include",)),
                    hint=f"write {pattern.rstrip('/')}/*.yaml"
                    if folder
                    else "paths start at the folder of csbs.yaml",
                )
            )
        found |= {os.path.realpath(path): path for path in matches if os.path.realpath(path) not in found}
    found.pop(os.path.realpath(directory / FILE_NAME), None)
    return list(found.values())


def _matches(directory: Path, pattern: str) -> list[Path]:
    try:
        names = glob.glob(pattern, root_dir=directory, recursive=True)  # noqa: PTH207 - Path.glob refuses `..`
    except (OSError, ValueError, RecursionError):
        return []
    names = [name for name in names if not name.endswith(POLICY_TESTS)]
    return [directory / name for name in sorted(names) if not (directory / name).is_dir()]
