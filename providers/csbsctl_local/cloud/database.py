"""The simulated cloud's database: connections, transactions, and SQLite's errors as ours.

A cloud that was never written does not exist on disk and reads as an empty one. Commits survive a killed process;
surviving a power cut is not promised of a simulation, which spares two fsyncs per step.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from csbsctl.errors import CloudRefused, CloudUnavailable
from csbsctl_local.cloud.layout import Layout
from csbsctl_local.cloud.schema import FORMAT, SCHEMA

_BUSY_SECONDS = 60.0


class Database:
    """The rows of one cloud, for any number of threads and processes."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    @property
    def exists(self) -> bool:
        """Say whether the cloud was ever written.

        Raises:
            CloudRefused: something that is no folder stands in its place.
        """
        folder = self._layout.folder
        if not folder.is_dir() and folder.exists():
            raise CloudRefused(
                f"there is no cloud in {folder}: a file stands where its folder should be",
                hint="move the file away, or set another `path` of the provider",
            )
        return self._layout.database.exists()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query; inside ``change`` it sees that change."""
        with _translated():
            return self._connection(create=False).execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        with _translated():
            found: sqlite3.Row | None = self._connection(create=False).execute(query, values).fetchone()
            return found

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that excludes every other writer; commit at the end, roll back on an error.

        A change within a change belongs to the outer one.
        """
        with _translated():
            connection = self._connection(create=True)
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def close(self) -> None:
        """Close every connection of this process."""
        with self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()
            self._local = threading.local()

    def _connection(self, *, create: bool) -> sqlite3.Connection:
        held: sqlite3.Connection | None = getattr(self._local, "real", None)
        if held is not None:
            return held
        if create or self.exists:
            real = self._local.real = self._open_real()
            return real
        empty: sqlite3.Connection | None = getattr(self._local, "empty", None)
        if empty is None:
            empty = self._local.empty = self._keep(sqlite3.connect(":memory:", check_same_thread=False))
            empty.executescript(SCHEMA)
        return empty

    def _open_real(self) -> sqlite3.Connection:
        try:
            self._layout.create()
        except OSError as error:
            raise CloudRefused(
                f"cannot create the cloud in {self._layout.folder}: {error.strerror}"
            ) from error
        connection = self._keep(
            sqlite3.connect(
                self._layout.database, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            raise CloudUnavailable(
                f"cannot open {self._layout.database}: {error}",
                hint="its folder must be writable, also to read",
            ) from error
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._install(connection)
        elif version > FORMAT:
            raise CloudRefused(
                f"the cloud in {self._layout.folder} was written by a newer csbsctl", hint="upgrade csbsctl"
            )
        return connection

    @staticmethod
    def _install(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was faster
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.row_factory = sqlite3.Row
        with self._guard:
            self._all.append(connection)
        return connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise CloudUnavailable(f"the simulated cloud's database does not answer: {error}") from error
    except sqlite3.DatabaseError as error:
        raise CloudRefused(f"the simulated cloud's database is damaged: {error}") from error
