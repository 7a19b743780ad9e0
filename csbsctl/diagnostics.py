"""Problems with a place: what is wrong, where (file, line, column) and how to mend it.

Diagnostics are collected, all of them, and rendered at the end; exceptions are for what stops us at once.
"""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


_SHOWN = 160
"""Characters of an offending line that are shown; generated files have very long ones."""


class Severity(enum.StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a text file; line and column count from 1. ``text`` is the offending line without its newline."""

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: a one-line summary, where it is, how to mend it, and other places that matter."""

    summary: str
    place: Place | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR
    related: tuple[Place, ...] = ()
    address: str | None = None

    def render(self) -> str:
        """Return the problem as people read it: place and summary, the line, a caret, the hint."""
        head = f"{self.place}: " if self.place else ""
        lines = [f"{head}{self.severity.value}: {self.summary}"]
        for place in ((self.place,) if self.place else ()) + self.related:
            if place is not self.place:
                lines.append(f"  also {place}")
            if place.text:
                gutter = f"  {place.line} | "
                text, column = _around(place)
                lines += [gutter + text, " " * (len(gutter) - 2) + "| " + " " * (column - 1) + "^"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the problem as machines read it."""
        where = None
        if self.place:
            where = {"file": self.place.file, "line": self.place.line, "column": self.place.column}
        return {"severity": self.severity.value, "message": self.summary, "hint": self.hint, "where": where}


def _around(place: Place) -> tuple[str, int]:
    """Return as much of a place's line as is worth showing, and the column in that."""
    start = max(0, place.column - _SHOWN // 2) if len(place.text) > _SHOWN else 0
    end = start + _SHOWN
    before, after = "..." if start else "", "..." if len(place.text) > end else ""
    return f"{before}{place.text[start:end]}{after}", place.column - start + len(before)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the closest known word, or None when nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
