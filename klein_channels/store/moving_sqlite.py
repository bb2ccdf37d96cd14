"""A SQLite file as one end of a copy: its lock is held as long as that takes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from typing import IO
from urllib.parse import quote

from ..errors import StartError
from . import schema
from .moving import Rows


class SQLiteEnd:
    """A file; its lock is ours."""

    def __init__(self, path: str, *, new: bool) -> None:
        self.shown = path
        if not new and not os.path.exists(path):
            raise StartError(f"store: {path} is not there")
        self._lock = self._taken(path)
        self._db = sqlite3.connect(
            f"file:{quote(os.path.abspath(path))}?mode={'rwc' if new else 'rw'}",
            uri=True,
            isolation_level=None,
        )
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.close()
            raise StartError(f"store: {path} cannot be opened: {error}") from None

    def _taken(self, path: str) -> IO[str]:
        lock = open(f"{path}.lock", "a")  # noqa: SIM115  (held until close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StartError(f"store: {path} is in use by a server") from None
        return lock

    def version(self) -> int:
        """The number of its schema; 0 if there is none yet."""
        if "store" not in self.tables():
            return 0
        number: int = self._db.execute("SELECT version FROM store").fetchone()[0]
        return number

    def make(self) -> None:
        """Make the tables."""
        self._db.row_factory = sqlite3.Row
        schema.migrate(self._db, 0, "sqlite")
        self._db.row_factory = None

    def tables(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table."""
        names = [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        own = [name for name in names if not name.startswith("sqlite_")]
        return {
            name: tuple(row[1] for row in self._db.execute(f"PRAGMA table_info ({name})")) for name in own
        }

    def rows(self, table: str, columns: Sequence[str]) -> Rows:
        """All rows of a table."""
        return iter(self._db.execute(f"SELECT {', '.join(columns)} FROM {table}"))

    def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        """Add rows to a table."""
        marks = ", ".join("?" * len(columns))
        self._db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        number: int = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return number

    def rename(self, instance: str) -> None:
        """Be the store of that name."""
        self._db.execute("UPDATE store SET instance = ?", (instance,))

    def finish(self) -> None:
        """Make what was written durable."""
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let go."""
        self._db.close()
        self._lock.close()
