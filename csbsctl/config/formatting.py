"""Canonical formatting that keeps comments: indentation, blank lines and line ends, never the meaning.

``csbsctl fmt`` and its ``--check`` are this on every file. Quotes, order and flow style stay as they were written.
"""

from __future__ import annotations

import bisect
import io
import math
from pathlib import Path
from typing import Any

from csbsctl.config.source import Source
from csbsctl.config.tree import long_texts, parse
from csbsctl.errors import ConfigError

_WIDTH = 4096
"""Long lines stay: folding them would be a change that nobody asked for."""
_Comment = tuple[int, int | None, int | None]
"""Numbers of lines: the comment, the next line of content, the one before."""


def format_text(text: str, *, shown: str = "csbs.yaml") -> str:
    """Return a file of configuration in canonical form; formatting it again changes nothing.

    Args:
        text: the content of the file.
        shown: the name of the file in diagnostics.

    Raises:
        ConfigError: the text is not valid YAML.
    """
    source = Source(Path(shown), shown, text)
    before = parse(source)
    if before.problems:
        raise ConfigError(before.problems)
    if before.value is None:
        return _tidy(text)
    formatted = _settled(_tidy(text))
    after = parse(Source(Path(shown), shown, formatted))
    # A formatter must never change what a file says: where the emitter would, the text stays as it is.
    return formatted if not after.problems and _same(before.value, after.value) else _tidy(text)


def _settled(text: str) -> str:
    """Format until nothing moves: comments find their column in the first pass, their neighbours in the second."""
    for _ in range(3):
        once = _tidy(_with_comments_of(text, _emitted(text)))
        if once == text:
            break
        text = once
    return text


def _with_comments_of(before: str, after: str) -> str:
    """Indent comment lines as the line they belong to: the emitter leaves them in their old column."""
    lines = after.splitlines()
    old, new = _comment_lines(before), _comment_lines(after)
    if len(old) != len(new):
        return after
    for belongs, (number, following, preceding) in zip(_owners(before, old), new, strict=True):
        owner = {"following": following, "preceding": preceding}.get(belongs)
        if owner is not None:
            lines[number] = " " * _indent(lines[owner]) + lines[number].lstrip()
    return "\n".join(lines) + "\n"


def _owners(text: str, comments: list[_Comment]) -> list[str]:
    """Say of each comment line whether it is indented as the line of content after or before it, or as neither."""
    lines = text.splitlines()
    owners = []
    for number, following, preceding in comments:
        indent = _indent(lines[number])
        if following is not None and indent == _indent(lines[following]):
            owners.append("following")
        elif preceding is not None and indent == _indent(lines[preceding]):
            owners.append("preceding")
        else:
            owners.append("neither")
    return owners


def _comment_lines(text: str) -> list[_Comment]:
    """Return every line that is only a comment, with the nearest lines of content after and before it."""
    lines = text.splitlines()
    inside = _lines_of_long_texts(text)
    comments = [n for n, line in enumerate(lines) if n not in inside and line.lstrip().startswith("#")]
    content = [
        n for n, line in enumerate(lines) if line.strip() and n not in set(comments) and n not in inside
    ]
    found: list[_Comment] = []
    for number in comments:
        at = bisect.bisect(content, number)
        found.append((number, content[at] if at < len(content) else None, content[at - 1] if at else None))
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _emitted(text: str) -> str:
    from ruamel.yaml import YAML  # noqa: PLC0415 - heavy, and only `fmt` needs it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    try:
        yaml.dump(yaml.load(text), stream)
    except (YAMLError, ValueError, AttributeError, TypeError, LookupError, AssertionError, RecursionError):
        return text  # valid for our parser but beyond the emitter
    return stream.getvalue()


def _tidy(text: str) -> str:
    """Return text with plain line ends, one at the end, nothing trailing, and at most one blank line in a row."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    inside = _lines_of_long_texts(text)
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        stripped = line if number in inside else line.rstrip(" \t")
        if stripped or number in inside or (kept and kept[-1]):
            kept.append(stripped)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept) + "\n" if kept else ""


def _lines_of_long_texts(text: str) -> frozenset[int]:
    """Return the numbers (from 0) of lines on which a text of several lines goes on: their blanks are content."""
    lines: set[int] = set()
    for first, last in long_texts(text):
        lines.update(range(first + 1, last + 1))
    return frozenset(lines)


def _same(one: Any, other: Any) -> bool:
    """Compare values with their types and the order of keys; NaN equals itself here."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
