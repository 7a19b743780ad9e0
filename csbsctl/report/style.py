"""Colours and widths of text for people: plain text with ANSI codes where the caller says the terminal has them."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "danger": "1;31",
}


LONG = 10
"""Lists of more entries than this are told by what differs."""

_FIRST = 3


@dataclass(frozen=True, slots=True)
class Style:
    """How text is drawn: with colour or without, wrapped at a width or (None) not at all."""

    color: bool = False
    width: int | None = None

    def paint(self, name: str, text: str) -> str:
        """Return the text in a colour: bold, dim, red, green, yellow, cyan or danger."""
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.color and text else text

    def wrap(self, text: str, indent: str, hanging: str) -> list[str]:
        """Return the text as lines that fit, the first after ``indent``, the others after ``hanging``."""
        if self.width is None or len(indent) + len(text) <= self.width:
            return [indent + text]
        width = max(self.width, len(hanging) + 20)
        return textwrap.wrap(
            text,
            width,
            initial_indent=indent,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )


def shown(value: Any) -> str:
    """Return a plain value as plan text shows it: JSON, with null for what is absent."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def shortened(value: Any) -> str:
    """Return a plain value like ``shown``, a long list by its first entries and the number of the others."""
    if not isinstance(value, list) or len(value) <= LONG:
        return shown(value)
    first = ", ".join(shown(item) for item in value[:_FIRST])
    return f"[{first}, ... {len(value) - _FIRST:,} more]"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return ``1 backup``, ``2 backups``, ``1,200 backups``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
