"""Rows too many for memory, in order of a key: kept in a temporary database on disk that goes with the process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from csbsctl.errors import CsbsError

Row = tuple[str, Any]
"""A key to sort by, and a plain JSON value."""


class Spool:
    """Sorted rows that can be gone through again and again; SQLite keeps a little of them in memory."""

    def __init__(self, rows: Iterable[Row]) -> None:
        with _translated():
            self._database = sqlite3.connect("")  # no name: a file of its own that nobody else sees
            self._database.execute("CREATE TABLE rows (key TEXT, value TEXT)")
            self._database.executemany(
                "INSERT INTO rows VALUES (?, ?)",
                ((key, json.dumps(value, default=str, ensure_ascii=False)) for key, value in rows),
            )

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in order of their keys; of equal keys, in the order they came in."""
        with _translated():
            for (value,) in self._database.execute("SELECT value FROM rows ORDER BY key, rowid"):
                yield json.loads(value)

    def close(self) -> None:
        """Let go of the rows."""
        self._database.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CsbsError(
            f"cannot sort the output on disk: {error}",
            hint="is there room in the folder for temporary files (TMPDIR)?",
            code="output",
        ) from error
