"""One file of configuration as text: reading it, and turning positions into places people can click on.

Knows about bytes, encodings and lines; must not know what the text means.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from csbsctl.diagnostics import Diagnostic, Place
from csbsctl.errors import ConfigError

MAX_BYTES = 64 * 1024 * 1024
"""Larger than any configuration written by people or generators; protects against naming a disk image."""

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Source:
    """A file's text and the name by which the user knows it."""

    path: Path
    shown: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines as YAML counts them."""
        return _LINE_BREAK.split(self.text)

    def place(self, line: int, column: int) -> Place:
        """Return the place at a line and column that count from 0."""
        line = min(line, len(self.lines) - 1)
        return Place(self.shown, line + 1, column + 1, self.lines[line])


def shown_as(path: Path) -> str:
    """Return a path as a user would type it: relative to the working directory when it lies below."""
    if not path.is_absolute():
        return os.path.normpath(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read_source(path: Path, *, missing_hint: str | None = None) -> Source:
    """Read a file of UTF-8 text.

    Raises:
        ConfigError: it is missing, a folder, unreadable, too large, not UTF-8 or holds control characters.
    """
    shown = shown_as(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(f"{shown} does not exist", missing_hint) from None
    except IsADirectoryError:
        raise _unreadable(f"{shown} is a folder, not a file", None) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise _unreadable(f"cannot read {shown}: {reason}", None) from None
    if len(data) > MAX_BYTES:
        raise _unreadable(f"{shown} is larger than {MAX_BYTES >> 20} MiB", "is this the right file?")
    source = Source(path, shown, _decode(data, shown))
    bad = _UNPRINTABLE.search(source.text)
    if bad:
        raise ConfigError([_unprintable(source, bad)])
    return source


def _unreadable(summary: str, hint: str | None) -> ConfigError:
    return ConfigError([Diagnostic(summary, hint=hint)])


def _decode(data: bytes, shown: str) -> str:
    if data.startswith(_UTF16_MARKS):
        raise ConfigError(
            [Diagnostic("the file is UTF-16", Place(shown, 1, 1), hint="save the file as UTF-8")]
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        source = Source(Path(shown), shown, data.decode("utf-8", errors="replace"))
        before = _LINE_BREAK.split(data[: error.start].decode("utf-8"))
        place = source.place(len(before) - 1, len(before[-1]))
        summary = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError([Diagnostic(summary, place, hint="save the file as UTF-8")]) from None


def _unprintable(source: Source, bad: re.Match[str]) -> Diagnostic:
    before = _LINE_BREAK.split(source.text[: bad.start()])
    place = source.place(len(before) - 1, len(before[-1]))
    clean = Place(
        place.file, place.line, place.column, _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", place.text)
    )
    return Diagnostic(f"control character U+{ord(bad.group()):04X} is not allowed in YAML", clean)
