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
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Literal, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from ..errors import StartError, StoreFull
from ..model import Owner, Turn
from . import (
    Arrival,
    Claim,
    Cursor,
    DeadLetter,
    Due,
    EndOfTurn,
    Exchange,
    NotNow,
    Reply,
    Settlement,
    StartedTurn,
    Stats,
    exchanges,
    inbox,
    letters,
    outbox,
    schema,
    streams,
)
from .commit import Committer, InlineCommitter, Work

_log = Logger()
T = TypeVar("T")
VERSION = schema.newest("sqlite")
BUSY = 5.0
"""Seconds to wait for another process's transaction."""
EVENTS_PER_TRANSACTION = 100
StartCommitter = Callable[[sqlite3.Connection, str, str], Committer]


def inline(connection: sqlite3.Connection, name: str, begin: str) -> Committer:
    """A committer that works at once, in the caller's thread."""
    return InlineCommitter(connection, begin)


class SQLiteStore:
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
        self.path = path
        self._start_committer = committer
        self._shared = shared
        self._max_waiting = max_waiting
        self._max_unsent = max_unsent
        self._connect_with = connect
        self._lock: IO[str] | None = None
        self._waiting = 0
        self._unknown_wait = unknown_wait
        self.instance = ""

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path or 'memory'!r})"

    # -- opening and closing

    def open(self, now: float) -> None:
        """Connect, bring the schema up to date, take over what a dead server had begun."""
        try:
            if self.path and not self._shared:
                self._take_lock()
            self._committer = self._start_committer(self._prepared(now), "store", "BEGIN IMMEDIATE")
            if self.path:
                self._reader = self._start_committer(self._connect("ro"), "store-reader", "BEGIN")
            else:
                self._reader = self._committer
        except BaseException as error:
            self._release_lock()
            if not isinstance(error, OSError | sqlite3.Error):
                raise
            raise StartError(f"store: {self.path} cannot be opened: {error}") from None

    def close(self) -> Deferred[None]:
        """Commit what was asked for, close both connections, let go of the file."""
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
                _take_over(db, now, now + self._unknown_wait)
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

    # -- the protocol

    def _write(self, work: Work[T]) -> Deferred[T]:
        return self._committer.run(work)

    def enqueue(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None = None
    ) -> Deferred[list[int | None]]:
        """Store events; a long batch takes several transactions, all of them before this fires."""
        if self._waiting >= self._max_waiting:
            return fail(StoreFull(f"{self._waiting} events wait for their turn"))
        if len(arrivals) <= EVENTS_PER_TRANSACTION:
            return self._write(lambda db: self._enqueued(db, arrivals, now, cursor))
        return Deferred.fromCoroutine(self._enqueue_chunks(arrivals, now, cursor))

    async def _enqueue_chunks(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None
    ) -> list[int | None]:
        numbers: list[int | None] = []
        for start in range(0, len(arrivals), EVENTS_PER_TRANSACTION):
            chunk = arrivals[start : start + EVENTS_PER_TRANSACTION]
            moved = cursor if start + len(chunk) == len(arrivals) else None
            numbers += await self._write(partial(self._enqueued, arrivals=chunk, now=now, cursor=moved))
        return numbers

    def _enqueued(
        self, db: sqlite3.Connection, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None
    ) -> list[int | None]:
        numbers = self._counted_in(inbox.enqueue(db, arrivals, now), arrivals)
        if cursor is not None:
            inbox.move_cursor(db, cursor)
        return numbers

    def cursor(self, name: str) -> Deferred[Cursor | None]:
        """How far the poll of that name has read."""
        return self._reader.run(lambda db: inbox.read_cursor(db, name))

    def _counted_in(self, numbers: list[int | None], arrivals: Sequence[Arrival]) -> list[int | None]:
        """Keep count of what waits, near enough for its bound; `stats` sets it right."""
        new = (arrival.turn for arrival, number in zip(arrivals, numbers, strict=True) if number is not None)
        self._waiting += sum(new)
        return numbers

    def _counted_out(self, started: StartedTurn | NotNow | None) -> StartedTurn | NotNow | None:
        if isinstance(started, StartedTurn) and started.turn.attempt == 1:
            self._waiting -= 1
        return started

    def start_turn(
        self, conversation: str, now: float, *, deterministic: bool
    ) -> Deferred[StartedTurn | NotNow | None]:
        """Start the next turn of a conversation."""
        most_unsent = self._max_unsent
        return self._write(
            lambda db: self._counted_out(
                inbox.start_turn(db, conversation, now, deterministic=deterministic, most_unsent=most_unsent)
            )
        )

    def add_replies(
        self, turn: Turn, replies: Sequence[Reply], offers: Sequence[str], now: float
    ) -> Deferred[bool]:
        """Commit replies while their turn goes on."""
        return self._write(lambda db: inbox.add_replies(db, turn, replies, offers, now))

    def open_stream(self, turn: Turn, reply: Reply, now: float) -> Deferred[Claim | NotNow]:
        """A row for a text that is shown as it grows."""
        return self._write(lambda db: inbox.open_stream(db, self.instance, turn, reply, now))

    def note_stream(self, claim: Claim, name: str | None) -> Deferred[None]:
        """Note what the platform calls what it shows."""
        return self._write(lambda db: streams.note_stream(db, claim, name))

    def end_turn(self, turn: Turn, end: EndOfTurn, now: float) -> Deferred[bool]:
        """End a turn."""
        return self._write(lambda db: inbox.end_turn(db, turn, end, now))

    def post(
        self, conversation: str, replies: Sequence[Reply], key: str | None, now: float
    ) -> Deferred[bool]:
        """Commit a message that nobody asked for."""
        return self._write(lambda db: outbox.insert_replies(db, conversation, replies, now, key=key) > 0)

    def answer_exchange(
        self, conversation: str, event: str, render: exchanges.Render, now: float
    ) -> Deferred[Exchange | None]:
        """Make one response of the replies to `event` if its turn has ended, and keep it."""
        return self._write(
            lambda db: exchanges.answer_exchange(db, self.instance, conversation, event, render, now)
        )

    def close_exchange(self, conversation: str, event: str, now: float) -> Deferred[None]:
        """Let the replies go the channel's other way, if it has one."""
        return self._write(lambda db: exchanges.close_exchange(db, conversation, event, now))

    def recall_answer(
        self, conversation: str, event: str, carried: Sequence[int], now: float
    ) -> Deferred[None]:
        """Let the rows of an answer that nobody got go the channel's other way."""
        return self._write(lambda db: exchanges.recall_answer(db, conversation, event, carried, now))

    def close_abandoned(self, now: float, expired_before: float) -> Deferred[int]:
        """Let replies expire that were not fetched."""
        return self._write(lambda db: exchanges.close_abandoned(db, now, expired_before))

    def claim_reply(self, conversation: str, now: float) -> Deferred[Claim | NotNow | None]:
        """Claim the oldest unsent reply of a conversation."""
        return self._write(lambda db: outbox.claim_reply(db, self.instance, conversation, now))

    def settle_reply(
        self, claim: Claim, settlement: Settlement, now: float, *, claim_next: bool
    ) -> Deferred[Claim | NotNow | None]:
        """Record what became of a claim and, if asked to, claim the next one, in one transaction."""

        def work(db: sqlite3.Connection) -> Claim | NotNow | None:
            outbox.settle_reply(db, claim, settlement, now)
            if not claim_next:
                return None
            return outbox.claim_reply(db, self.instance, claim.conversation, now)

        return self._write(work)

    def postpone(self, conversation: str, until: float) -> Deferred[None]:
        """Let the open replies of a conversation wait."""
        return self._write(lambda db: outbox.postpone(db, conversation, until))

    def set_owner(self, conversation: str, owner: Owner) -> Deferred[None]:
        """Give a conversation to the bot, a human or nobody."""
        return self._write(lambda db: inbox.set_owner(db, conversation, owner))

    def waiting(self) -> Deferred[Due]:
        """All conversations with anything open."""
        return self._reader.run(letters.waiting)

    def due(self, now: float, limit: int) -> Deferred[Due]:
        """Conversations whose time has come."""
        return self._reader.run(lambda db: letters.due(db, now, limit))

    def dead_letters(self, after: str | None, limit: int) -> Deferred[list[DeadLetter]]:
        """Dead letters, oldest first."""
        return self._reader.run(lambda db: letters.dead_letters(db, after, limit))

    def dead_letter(self, letter_id: str) -> Deferred[DeadLetter | None]:
        """One dead letter."""
        return self._reader.run(lambda db: letters.dead_letter(db, letter_id))

    def redrive(self, letter_id: str, action: Literal["replay", "discard"], now: float) -> Deferred[bool]:
        """Try a dead letter again, or put it away."""
        return self._write(lambda db: letters.redrive(db, letter_id, action, now))

    def stats(self) -> Deferred[Stats]:
        """How much waits; also sets right the running count of waiting events."""

        def correct(stats: Stats) -> Stats:
            self._waiting = stats.waiting_events
            return stats

        return self._reader.run(letters.stats).addCallback(correct)

    def purge(self, seen_before: float, finished_before: float) -> Deferred[int]:
        """Delete one chunk of what is over."""
        return self._write(lambda db: letters.purge(db, hour_of(seen_before), seen_before, finished_before))


def hour_of(timestamp: float) -> bytes:
    """The first bytes of a `seen` key: the hour, so that keys of one time lie together."""
    return min(max(int(timestamp // 3600), 0), 2**32 - 1).to_bytes(4, "big")


def _take_over(db: sqlite3.Connection, now: float, unknown_until: float) -> None:
    """The lock proves that the former server is dead: what it had begun is nobody's now."""
    db.execute(
        f"UPDATE outbox SET state = 'unknown', due_at = ? WHERE state IN {outbox.OPEN} AND state = 'sending'",
        (unknown_until,),
    )
    db.execute(
        "UPDATE turn SET state = 'retry', due_at = :now, failures = failures + 1,"
        " first_failure = coalesce(first_failure, :now), error = 'the server ended during this turn'"
        " WHERE state IN ('running', 'retry') AND state = 'running'",
        {"now": now},
    )
    exchanges.close_all(db, now)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _uri_path(path: str) -> str:
    return quote(os.path.abspath(path))
