"""Everything csbsctl prints goes through here: text for people, one JSON document for machines, questions.

With ``--json`` stdout carries JSON and nothing else; people's text goes to stderr. Colour only where it helps: a
terminal, without ``NO_COLOR``, ``CI`` or ``TERM=dumb``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from csbsctl.errors import CsbsError, NotConfirmed

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")
_STYLES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


class Output:
    """Where a command's words go."""

    def __init__(self, *, as_json: bool = False, color: bool | None = None) -> None:
        self.as_json = as_json
        self.color = _color_wanted() if color is None else color
        self.stream = sys.stderr if as_json else sys.stdout

    @property
    def width(self) -> int:
        """Return the columns of the terminal (80 where there is none)."""
        return shutil.get_terminal_size().columns

    @property
    def interactive(self) -> bool:
        """Return whether progress bars make sense."""
        return self.stream.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        _print(text, self.stream)

    def note(self, text: str) -> None:
        """Print a line for people that is beside the point of the command: always on stderr."""
        _print(text, sys.stderr)

    def result(self, document: Any) -> None:
        """Print the command's JSON document when ``--json`` was given."""
        if self.as_json:
            _print(json.dumps(document, indent=2, default=str, ensure_ascii=False), sys.stdout)

    def results(self, documents: Iterable[Any]) -> None:
        """Print a JSON array as ``result`` does, item by item: for what is too much to hold at once."""
        if not self.as_json:
            return
        before = "["
        for document in documents:
            text = json.dumps(document, indent=2, default=str, ensure_ascii=False)
            _print(f"{before}\n  {text.replace(chr(10), chr(10) + '  ')}", sys.stdout, end="")
            before = ","
        _print("[]" if before == "[" else "\n]", sys.stdout)

    def event(self, document: Mapping[str, Any]) -> None:
        """Print one line of JSON lines when ``--json`` was given."""
        if self.as_json:
            _print(json.dumps(document, default=str, ensure_ascii=False), sys.stdout)

    def raw(self, text: str) -> None:
        """Print a finished document (a rendered plan, a schema) on stdout."""
        _print(text.removesuffix("\n"), sys.stdout)

    def paint(self, text: str, style: str) -> str:
        """Return the text in a colour or weight, where colour is on."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color else text

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """Print rows under headings, columns aligned; a sentence where there are none.

        What is no iterator (a list, a spool) is gone through twice rather than held.
        """
        rows = list(rows) if isinstance(rows, Iterator) else rows
        widths = [len(column) for column in columns]
        found = False
        for row in rows:
            found = True
            widths = [max(width, len(_cell(value))) for width, value in zip(widths, row, strict=True)]
        if not found:
            self.say(empty)
            return
        self.say(self.paint(_line(columns, widths), "bold"))
        for row in rows:
            self.say(_line([_cell(value) for value in row], widths))

    def confirm(self, question: str, *, yes: bool, expect: str = "yes") -> None:
        """Ask, and go on only when the expected word is typed.

        Raises:
            NotConfirmed: something else was typed, or there is no terminal to ask on and ``--yes`` was not given.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise NotConfirmed(
                f"this needs a yes, and there is no terminal to ask on: {question}",
                hint="add --yes to go ahead without asking",
            )
        print(f"\n{question}\n  Only {expect!r} will be accepted: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != expect:
            raise NotConfirmed("not confirmed; nothing was changed")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print at once. A reader that went away has seen enough: the rest goes nowhere, and the work goes on.

    Raises:
        CsbsError: what the output goes to is full.
    """
    try:
        print(text, file=stream, end=end, flush=bool(end))
    except BrokenPipeError:
        hush(stream)
    except OSError as error:
        hush(stream)  # what is left in its buffer would fail again at the end, and be told again
        raise CsbsError(f"cannot write the output: {error.strerror}", code="output") from error


def hush(stream: TextIO) -> None:
    """Let what is still buffered, and what comes, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def minute(text: str | None) -> str | None:
    """Return an instant of a JSON document for a table of people's: UTC to the minute."""
    return text[:16].replace("T", " ") if text else None


def plain(value: Any) -> str:
    """Return a value of a JSON document as a person would write it: ``yes``, ``a, b``, ``key=value``, whole seconds."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    text = _cell(value)
    return f"{text[:10]} {text[11:19]} UTC" if _INSTANT.fullmatch(text) else text


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _color_wanted() -> bool:
    blocked = "NO_COLOR" in os.environ or "CI" in os.environ or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not blocked
