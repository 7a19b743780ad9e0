"""YAML text into plain values, fast and strict.

libyaml's events are turned into dicts, lists and scalars directly, with the scalars of YAML 1.2 (``on`` and ``no``
are text, ``02:00`` is refused), keys that are always text, no duplicate keys, no tags, bounded depth and bounded
aliases. Positions cost memory, so they are only kept when asked for. Must not know what the values mean.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml
from yaml import events

from csbsctl.config.source import Source
from csbsctl.diagnostics import Diagnostic

try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # PyYAML without libyaml: slower, the same events

    class _Parser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):  # type: ignore[no-redef]
        def __init__(self, stream: str) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)


MAX_DEPTH = 64
MAX_VALUES = 5_000_000
"""Values after aliases are expanded: a few lines of aliases to aliases can mean billions."""

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {None, "!", _CORE + "map", _CORE + "seq", _CORE + "str"}
_TYPED_START = frozenset("0123456789+-.~nNtTfF")
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_MERGE: Final = "<<"
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_MAX_DIGITS = 1000

Mark = tuple[int, int]
"""Line and column, both from 0."""


@dataclass(slots=True)
class Tree:
    """What a text holds: its value and every problem met on the way.

    ``templated`` says whether any text may be an expression. ``marks`` (only when asked for) has, by the ``id`` of
    each container of ``value``, where every key (or index) and its value stand.
    """

    value: Any = None
    problems: list[Diagnostic] = field(default_factory=list)
    templated: bool = False
    marks: dict[int, dict[str | int, tuple[Mark, Mark]]] = field(default_factory=dict)


def parse(source: Source, *, marks: bool = False) -> Tree:
    """Return the value of a YAML text; problems are collected, never raised.

    A text with problems is read with marks in any case: they tell where else to look.
    """
    tree = Tree()
    try:
        _Builder(source, tree, keep_marks=marks).run()
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax_problem(source, error))
    except yaml.YAMLError as error:
        tree.problems.append(Diagnostic(f"not YAML: {error}", source.place(0, 0)))
    except _GaveUp:
        pass
    return parse(source, marks=True) if tree.problems and not marks else tree


def scalar(text: str) -> Any:
    """Return what a plain (unquoted) scalar means in YAML 1.2's core schema.

    Raises:
        ValueError: it is a number with thousands of digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _TYPED_START:
        if _INTEGER.fullmatch(text):
            if len(text) > _MAX_DIGITS:
                raise ValueError("the number has too many digits")
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text, base)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def long_texts(text: str) -> Iterator[tuple[int, int]]:
    """Yield first and last line (from 0) of every scalar that spans lines; stops where the text is not YAML."""
    get_event = _Parser(text).get_event
    with contextlib.suppress(yaml.YAMLError):
        while type(event := get_event()) is not events.StreamEndEvent:
            if type(event) is events.ScalarEvent:
                first, last = _span(event)
                if last > first:
                    yield first, last


def _span(event: Any) -> tuple[int, int]:
    # A block text ends where the next line of content begins, which is not its own.
    return event.start_mark.line, event.end_mark.line - (event.end_mark.column == 0)


class _GaveUp(Exception):
    """The rest of the text cannot be read in a sensible way; the problem is already recorded."""


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence that is still open."""

    value: Any
    opened: Mark
    anchor: str | None
    first: int
    """How many values had been met when it was opened."""
    height: int = 1
    """Levels of containers in it, its own included."""
    key: str | None = None
    key_mark: Mark = (0, 0)
    merges: list[tuple[Any, Mark]] | None = None
    marks: dict[str | int, tuple[Mark, Mark]] | None = None

    @property
    def wants_key(self) -> bool:
        return self.key is None and type(self.value) is dict


class _Builder:
    """Turns events into values with an explicit stack, so that depth costs no recursion."""

    def __init__(self, source: Source, tree: Tree, *, keep_marks: bool) -> None:
        self._source = source
        self._tree = tree
        self._keep_marks = keep_marks
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}  # value, size, height
        self._keys: dict[str, str] = {}  # every key once: there are few, written thousands of times
        self._count = 0
        self._documents = 0
        # A text with problems is read again with marks, so that the first reading can do without.
        self._mark = _mark if keep_marks else _nowhere

    def run(self) -> None:
        get_event = _Parser(self._source.text).get_event
        while True:
            event = get_event()
            kind = type(event)
            if kind is events.ScalarEvent:
                self._on_scalar(event)
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                self._on_start(event, {} if kind is events.MappingStartEvent else [])
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                self._on_end()
            elif kind is events.AliasEvent:
                self._on_alias(event)
            elif kind is events.DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    self._give_up("a second document starts here, and a file holds one", self._mark(event))
            elif kind is events.StreamEndEvent:
                return

    def _on_scalar(self, event: Any) -> None:
        text: str = event.value
        mark = self._mark(event)
        as_key = bool(self._stack) and self._stack[-1].wants_key
        plain = event.implicit[0] and not event.style
        if "{{" in text or "{%" in text:
            self._tree.templated = True
            if as_key:
                self._problem("a key cannot be an expression", mark, "expressions stand in values only")
        if plain and ":" in text and _SEXAGESIMAL.fullmatch(text):
            time = text.rjust(len("02:00"), "0")
            self._problem(f"quote it: unquoted {text} is a number to YAML 1.1", mark, f'write "{time}"')
            plain = False
        if event.tag is not None:
            self._check_tag(event, mark)
        value: Any = text
        if plain and not as_key:
            try:
                value = scalar(text)
            except ValueError as error:
                self._problem(str(error), mark)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1, 0)
        self._add(value, mark, merge=as_key and plain and text == _MERGE)

    def _on_start(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        mark = self._mark(event)
        if len(self._stack) >= MAX_DEPTH:
            self._give_up(f"nested deeper than {MAX_DEPTH} levels", mark)
        if self._stack and self._stack[-1].wants_key:
            hint = 'an expression must be quoted: "{{ var.name }}"' if type(value) is dict else None
            self._give_up("a key must be text", mark, hint)
        if event.tag is not None:
            self._check_tag(event, mark)
        frame = _Frame(value, mark, event.anchor, self._count)
        if self._keep_marks:
            frame.marks = self._tree.marks[id(value)] = {}
        self._stack.append(frame)

    def _on_end(self) -> None:
        frame = self._stack.pop()
        if frame.merges:
            self._merge(frame)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.value, self._count - frame.first + 1, frame.height)
        if self._stack:
            self._stack[-1].height = max(self._stack[-1].height, frame.height + 1)
        self._add(frame.value, frame.opened)

    def _on_alias(self, event: Any) -> None:
        mark = self._mark(event)
        if event.anchor not in self._anchors:
            inside = any(frame.anchor == event.anchor for frame in self._stack)
            why = "contains itself" if inside else "is not defined above this line"
            self._give_up(f"the anchor &{event.anchor} {why}", mark)
        value, size, height = self._anchors[event.anchor]
        self._count += size
        if self._stack:
            frame = self._stack[-1]
            frame.height = max(frame.height, height + 1)
            if frame.wants_key and not isinstance(value, str):
                self._give_up("a key must be text", mark)
        if len(self._stack) + height > MAX_DEPTH:
            self._give_up(f"nested deeper than {MAX_DEPTH} levels", mark)
        self._check_size(mark)
        self._add(value, mark)

    def _add(self, value: Any, mark: Mark, *, merge: bool = False) -> None:
        """Put a finished value where it belongs: into the open container, or at the top."""
        self._count += 1
        if not self._stack:
            self._tree.value = value
            return
        frame = self._stack[-1]
        if type(frame.value) is list:
            if frame.marks is not None:
                frame.marks[len(frame.value)] = (mark, mark)
            frame.value.append(value)
        elif frame.key is None:
            frame.key, frame.key_mark = self._keys.setdefault(value, value), mark
            if merge and frame.merges is None:
                frame.merges = []
            if value in frame.value:
                self._duplicate(frame, value, mark)
        else:
            self._add_item(frame, frame.key, value, mark)
            frame.key = None

    def _add_item(self, frame: _Frame, key: str, value: Any, mark: Mark) -> None:
        if key == _MERGE and frame.merges is not None:
            frame.merges.append((value, mark))
        elif key not in frame.value:
            frame.value[key] = value
            if frame.marks is not None:
                frame.marks[key] = (frame.key_mark, mark)

    def _merge(self, frame: _Frame) -> None:
        """Apply ``<<``: keys of the mapping itself win, then those of earlier merged mappings."""
        for merged, mark in frame.merges or ():
            for base in merged if isinstance(merged, list) else [merged]:
                if not isinstance(base, dict):
                    self._problem("`<<` merges mappings, and this is none", mark)
                    continue
                self._count += len(base)
                self._check_size(mark)
                for key, value in base.items():
                    if key not in frame.value:
                        frame.value[key] = value
                        if frame.marks is not None:
                            frame.marks[key] = self._tree.marks[id(base)][key]

    def _duplicate(self, frame: _Frame, key: str, mark: Mark) -> None:
        related = (self._source.place(*frame.marks[key][0]),) if frame.marks else ()
        place = self._source.place(*mark)
        self._tree.problems.append(Diagnostic(f"{key!r} is declared twice", place, related=related))

    def _check_tag(self, event: Any, mark: Mark) -> None:
        if event.tag not in _PLAIN_TAGS:
            tag = event.tag.replace(_CORE, "!!")
            self._problem(f"tags such as {tag} are not supported", mark, "leave the tag out")

    def _check_size(self, mark: Mark) -> None:
        if self._count > MAX_VALUES:
            self._give_up("the aliases of this file expand to millions of values", mark)

    def _problem(self, summary: str, mark: Mark, hint: str | None = None) -> None:
        self._tree.problems.append(Diagnostic(summary, self._source.place(*mark), hint=hint))

    def _give_up(self, summary: str, mark: Mark, hint: str | None = None) -> NoReturn:
        self._problem(summary, mark, hint)
        raise _GaveUp


def _mark(event: Any) -> Mark:
    return event.start_mark.line, event.start_mark.column


def _nowhere(_: Any) -> Mark:
    return 0, 0


def _syntax_problem(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    place = source.place(line, column)
    indent = place.text[: len(place.text) - len(place.text.lstrip())]
    if "\t" in indent:
        at_tab = source.place(place.line - 1, indent.index("\t"))
        return Diagnostic("YAML does not allow tabs for indentation", at_tab, hint="indent with spaces")
    context = f" {error.context}" if error.context else ""
    hint = None
    if "{{" in place.text or "{%" in place.text:
        hint = 'quote values that hold an expression: "{{ var.name }}"'
    elif "`" in place.text or "@" in place.text or "%" in place.text:
        hint = "quote values that begin with a special character"
    return Diagnostic(f"not valid YAML: {error.problem or 'syntax error'}{context}", place, hint=hint)
