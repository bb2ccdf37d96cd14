"""
The store in one SQLite file: WAL, synchronous=FULL, one writer with group commit.

One *server* per file, by a lock on ``<file>.lock``: never on the database itself, since closing any
descriptor of it drops SQLite's own locks. The command line works beside a server in short
transactions (`shared=True`). Listings and polls use a second, read-only connection.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from typing import IO, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..errors import StartError
from . import letters, schema
from .commit import Committer, InlineCommitter, Session, SQLiteSession, Work
from .tables import Tables
from .takeover import take_over

_log = Logger()
T = TypeVar("T")
VERSION = schema.newest("sqlite")
BUSY = 5.0
"""Seconds to wait for another process's transaction."""
StartCommitter = Callable[[Session, str], Committer]


def inline(session: Session, name: str) -> Committer:
    """A committer that works at once, in the caller's thread."""
    return InlineCommitter(session)


class SQLiteStore(Tables):
    """A `Store` in the file `path`, or in memory if that is empty (then nothing outlives it)."""

    def __init__(
        self,
        path: str,
        *,
        committer: StartCommitter = inline,
        shared: bool = False,
        max_waiting: int = 100_000,
        max_unsent: int = 20,
        unknown_wait: float = 30.0,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        super().__init__(max_waiting=max_waiting, max_unsent=max_unsent)
        self.path = path
        self._start_committer = committer
        self._shared = shared
        self._connect_with = connect
        self._lock: IO[str] | None = None
        self._unknown_wait = unknown_wait

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path or 'memory'!r})"

    # -- opening and closing

    def open(self, now: float) -> None:
        """Connect, bring the schema up to date, take over what a dead server had begun."""
        try:
            if self.path and not self._shared:
                self._take_lock()
            self._committer = self._start_committer(
                SQLiteSession(self._prepared(now), "BEGIN IMMEDIATE"), "store"
            )
            if self.path:
                self._reader = self._start_committer(
                    SQLiteSession(self._connect("ro"), "BEGIN"), "store-reader"
                )
            else:
                self._reader = self._committer
        except BaseException as error:
            self._release_lock()
            if not isinstance(error, OSError | sqlite3.Error):
                raise
            raise StartError(f"store: {self.path} cannot be opened: {error}") from None

    def close(self) -> Deferred[None]:
        """Commit what was asked for, close both connections, let go of the file."""
        self._let_begun_wait()
        closed = self._committer.close()
        if self._reader is not self._committer:
            closed.addBoth(lambda _: self._reader.close())
        closed.addBoth(lambda _: self._release_lock())
        return closed

    def _take_lock(self) -> None:
        self._lock = open(f"{self.path}.lock", "a")  # noqa: SIM115  (held until close)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise StartError(f"store: {self.path} is in use by another server") from None

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _connect(self, mode: str) -> sqlite3.Connection:
        if not self.path:
            connection = self._connect_with(":memory:", isolation_level=None, check_same_thread=False)
        else:
            url = f"file:{_uri_path(self.path)}?mode={mode}"
            connection = self._connect_with(
                url, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
            )
        connection.row_factory = sqlite3.Row
        return connection

    def _prepared(self, now: float) -> sqlite3.Connection:
        db = self._connect("rwc" if not self._shared else "rw")
        try:
            self._refuse_what_is_not_ours(db)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            self._migrate(db)
            if not self._shared:
                # The lock proves that the former server is dead.
                take_over(db, now, now + self._unknown_wait)
            row = db.execute("SELECT instance FROM store").fetchone()
            self.instance = row["instance"]
            self._waiting = letters.stats(db).waiting_events
            db.execute("COMMIT")
            self._tell_settings(db)
        except BaseException:
            db.close()
            raise
        return db

    def _tell_settings(self, db: sqlite3.Connection) -> None:
        """Log what SQLite says itself: it may take another journal mode than it was asked for."""
        mode, synchronous = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
        _log.info(
            "settings: store {path}: journal_mode={mode}, synchronous={synchronous}",
            path=self.path or "memory",
            mode=mode,
            synchronous=synchronous,
        )

    def _refuse_what_is_not_ours(self, db: sqlite3.Connection) -> None:
        """Look before anything is changed: even another journal mode stays in somebody else's file."""
        if not (tables := _tables(db)):
            return
        row = db.execute("SELECT version FROM store").fetchone() if "store" in tables else None
        if row is None:
            raise StartError(f"store: {self.path} is a database of something else")
        schema.refuse_newer(self.path, row["version"], "sqlite")

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("SELECT version FROM store").fetchone()["version"] if _tables(db) else 0
        schema.migrate(db, version, "sqlite")

    def _write(self, work: Work[T], *conversations: str) -> Deferred[T]:
        return self._committer.run(work)

    def _read(self, work: Work[T]) -> Deferred[T]:
        return self._reader.run(work)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _uri_path(path: str) -> str:
    return quote(os.path.abspath(path))
