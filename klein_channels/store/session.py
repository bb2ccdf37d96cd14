"""
One connection to PostgreSQL, and how work becomes durable on it.

A connection that was lost before its COMMIT has changed nothing: the work is done once more over a new
one. One that is lost in its COMMIT leaves the outcome unknown, and then nobody is told that it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from twisted.python.failure import Failure

from ..errors import StoreUnavailable
from .commit import Work, readable
from .database import Answer, Parameters
from .dialect import for_postgres, values_for_postgres

Connection: TypeAlias = psycopg.Connection[dict[str, Any]]
REST = 0.5
"""Seconds in which nobody tries to connect after that failed."""
LOCK_PATIENCE = 5.0
"""Seconds that work waits for another server's transaction on its conversation."""
IDLE_PATIENCE = 15.0
"""Seconds after which the database ends a transaction whose server does not go on with it."""
# A timeout of the role's own would make COMMIT return before the standby has it: see `_committed`.
SETTINGS = {
    "lock_timeout": f"{LOCK_PATIENCE:g}s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": f"{IDLE_PATIENCE:g}s",
}
_GONE = (errors.ReadOnlySqlTransaction, errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
"""The database says that it is no longer the one to write to."""


class Piece:
    """Work, and the conversations that it changes; one that `claims` lets those alone that are busy."""

    __slots__ = ("claims", "conversations", "work")

    def __init__(self, work: Work[Any], conversations: Sequence[str] = (), *, claims: bool = False) -> None:
        self.work = work
        self.conversations = conversations
        self.claims = claims

    def __call__(self, db: Any) -> Any:
        """Do it."""
        return self.work(db)


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost while it committed."""


class PostgresSession:
    """A `commit.Session` that connects when it has to. `seed` tells one store's locks from another's."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        seed: Callable[[], str] = lambda: "",
        pooled: bool = False,
        durable: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._seed = seed
        self._clock = clock
        self._pooled = pooled
        self._durable = durable
        self._connection: Connection | None = None
        self._refused: tuple[float, str] = (0.0, "")
        self._warned = False

    def together(self, works: list[Work[Any]]) -> list[Any]:
        """The result or failure of each piece, all in one commit unless one of them fails."""
        try:
            return self._in_one(works)
        except OutcomeUnknown:
            return [Failure()] * len(works)
        except Exception as error:
            if self._is_lost(error):
                # It may have been idle for long, or the database is another one now.
                return self._over_a_new_one(works)
            if len(works) == 1:
                return [readable(Failure(), psycopg.Error)]
        return [self.together([work])[0] for work in works]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _over_a_new_one(self, works: list[Work[Any]]) -> list[Any]:
        try:
            return self._in_one(works)
        except OutcomeUnknown:
            return [Failure()] * len(works)
        except Exception as error:
            self._is_lost(error)
            if len(works) == 1 or self._connection is None:
                return [readable(Failure(), psycopg.Error)] * len(works)
        return [self.together([work])[0] for work in works]

    def _is_lost(self, error: Exception) -> bool:
        """Whether the connection is of no use any more; then it is closed."""
        connection = self._connection
        if connection is None or not (connection.broken or connection.closed or isinstance(error, _GONE)):
            return False
        self.close()
        return True

    def _in_one(self, works: list[Work[Any]]) -> list[Any]:
        connection = self._connected()
        self._begin(connection)
        try:
            db = PostgresDatabase(connection)
            busy = self._locked(db, works)
            results = [None if number in busy else work(db) for number, work in enumerate(works)]
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
        self._committed(connection)
        for number in busy:
            results[number] = self.together([works[number]])[0]
        return results

    def _connected(self) -> Connection:
        if self._connection is None:
            until, reason = self._refused
            if self._clock() < until:
                raise StoreUnavailable(reason)
            try:
                self._connection = self._connect()
            except psycopg.Error as error:
                reason = f"the database cannot be reached: {' '.join(str(error).split())}"
                self._refused = (self._clock() + REST, reason)
                raise StoreUnavailable(reason) from None
            self._connection.add_notice_handler(self._noticed)
            if not self._pooled:
                self._connection.execute(self._settings(local=False))
        return self._connection

    def _settings(self, *, local: bool) -> str:
        """What a connection, or a transaction behind a pooler, is told first."""
        word = "LOCAL " if local else ""
        told = "; ".join(f"SET {word}{name} = '{value}'" for name, value in SETTINGS.items())
        if not self._durable:
            return told
        # Without it a commit would be on no disk when it returns.
        return (
            f"{told}; SELECT set_config('synchronous_commit', 'on', {str(local).lower()})"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )

    def _begin(self, connection: Connection) -> None:
        connection.execute(f"BEGIN; {self._settings(local=True)}" if self._pooled else "BEGIN")

    def _committed(self, connection: Connection) -> None:
        """Commit; raise `OutcomeUnknown` where it is not known to be durable everywhere.

        An operator, or a timeout, can end the wait for a standby: then COMMIT succeeds with a warning.
        """
        self._warned = False
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if self._is_lost(error):
                raise OutcomeUnknown(f"the connection was lost while it committed: {error}") from None
            raise
        if self._warned:
            raise OutcomeUnknown("the database did not wait for its standby")

    def _noticed(self, notice: Any) -> None:
        self._warned = self._warned or notice.severity_nonlocalized == "WARNING"

    def _locked(self, db: PostgresDatabase, works: Sequence[Work[Any]]) -> set[int]:
        """Lock the conversations of all works, in one order; the works that are left for afterwards.

        Whatever changes a conversation is alone with it until it commits, in all servers together.
        """
        pieces = [(number, work) for number, work in enumerate(works) if isinstance(work, Piece)]
        claiming = {number for number, piece in pieces if piece.claims} if len(works) > 1 else set()
        keys = self._keys(key for n, piece in pieces if n not in claiming for key in piece.conversations)
        if keys:
            db.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(?::bigint[]) AS key", (keys,))
        wanted = self._keys(key for n, piece in pieces if n in claiming for key in piece.conversations)
        if not wanted:
            return set()
        rows = db.execute(
            "SELECT key, pg_try_advisory_xact_lock(key) AS free FROM unnest(?::bigint[]) AS key", (wanted,)
        )
        busy = {row["key"] for row in rows if not row["free"]}
        return {
            n for n, piece in pieces if n in claiming and busy.intersection(self._keys(piece.conversations))
        }

    def _keys(self, conversations: Iterable[str]) -> list[int]:
        return sorted({self._key(conversation) for conversation in conversations})

    def _key(self, conversation: str) -> int:
        digest = blake2b(conversation.encode(), digest_size=8, key=self._seed().encode()).digest()
        return int.from_bytes(digest, "big", signed=True)


class PostgresDatabase:
    """A `Database`: the store's statements, put into PostgreSQL's words."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters = (), /) -> Answer:
        """Run one statement."""
        text: Any = for_postgres(sql)
        return self._connection.execute(text, values_for_postgres(parameters))
