"""The generations of the control document: who changed what, when, from which commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.model.control import ControlDocument
from csbsctl.report.style import Style


def history_json(documents: Iterable[ControlDocument]) -> list[dict[str, Any]]:
    """Return the document of ``history --json``, newest first."""
    return [
        {
            "generation": document.generation,
            "at": format_instant(document.at) if document.at else None,
            "by": document.by,
            "stack": document.stack,
            "commit": document.commit,
            "summary": document.summary,
        }
        for document in documents
    ]


def render_history(documents: Iterable[ControlDocument], *, color: bool = False) -> str:
    """Return one line per generation, newest first; the empty text where there is none."""
    style = Style(color=color)
    rows = [_row(document) for document in documents]
    if not rows:
        return ""
    header = ("GENERATION", "AT", "BY", "STACK", "COMMIT", "SUMMARY")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    ]
    return "\n".join([style.paint("bold", lines[0].rstrip()), *(line.rstrip() for line in lines[1:])]) + "\n"


def _row(document: ControlDocument) -> tuple[str, ...]:
    at = f"{document.at:%Y-%m-%d %H:%M} UTC" if document.at else "-"
    commit = (document.commit or "-")[:12]
    return (
        str(document.generation),
        at,
        document.by or "-",
        document.stack or "-",
        commit,
        document.summary or "-",
    )
