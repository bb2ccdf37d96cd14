"""
Group commit: one thread that owns a connection and commits whatever came meanwhile.

Work is a function of the connection; a `Session` knows how an engine commits it. All that arrived
while the former commit ran, and in a moment after it, shares the next one; a piece that fails is rolled
back alone, so that it fails nobody else. Results cross back to the caller's thread once per commit, in
order.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ..errors import StoreUnavailable
from .database import Database

T = TypeVar("T")
Work = Callable[[Database], T]
GATHER = 0.003
"""Seconds for which a busy committer lets work come together before it commits."""
MOST_PER_COMMIT = 256
"""Pieces of work in one transaction: a bound on how long the others wait for it."""


class Committer(Protocol):
    """Runs pieces of work, each of them durable when its Deferred fires."""

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work` in a transaction; fail with `StoreUnavailable` if it cannot be made durable."""

    def close(self) -> Deferred[None]:
        """Do what was asked, then close the connection."""


class Session(Protocol):
    """A connection of one thread, and how work becomes durable on it."""

    def together(self, works: list[Work[Any]]) -> list[Any]:
        """The result, or the `Failure`, of each piece: in one commit as long as none of them fails."""

    def close(self) -> None:
        """Close the connection."""


class InlineCommitter:
    """Each piece at once, in the caller's thread: for ``memory:``, the command line and tests."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work` now."""
        result = self._session.together([work])[0]
        return fail(result) if isinstance(result, Failure) else succeed(result)

    def close(self) -> Deferred[None]:
        """Close the connection."""
        self._session.close()
        return succeed(None)


class GroupCommitter:
    """All pieces in one thread of its own, as many as there are in each commit."""

    def __init__(
        self, session: Session, name: str = "store", *, call_from_thread: Callable[..., object]
    ) -> None:
        self._session = session
        self._call_from_thread = call_from_thread
        self._queue: SimpleQueue[tuple[Work[Any], Deferred[Any]] | None] = SimpleQueue()
        self._closed: Deferred[None] | None = None
        # A daemon: a database that hangs must not keep a process alive that was told to end.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work` with the next commit."""
        if self._closed is not None:
            return fail(StoreUnavailable("the store is closed"))
        done: Deferred[T] = Deferred()
        self._queue.put((work, done))
        return done

    def close(self) -> Deferred[None]:
        """Commit what was asked; fires when the connection is closed."""
        if self._closed is None:
            self._closed = Deferred()
            self._queue.put(None)
        waiter: Deferred[None] = Deferred()
        self._closed.addBoth(lambda _: waiter.callback(None))
        return waiter

    def _serve(self) -> None:
        for batch in self._batches():
            results = self._session.together([work for work, _ in batch])
            self._call_from_thread(_deliver, [done for _, done in batch], results)
        self._session.close()
        assert self._closed is not None
        self._call_from_thread(self._closed.callback, None)

    def _batches(self) -> Iterator[list[tuple[Work[Any], Deferred[Any]]]]:
        siblings = False
        while True:
            first = self._queue.get()
            batch: list[tuple[Work[Any], Deferred[Any]]] = []
            if siblings and first is not None:
                # Where several came together, more are on their way: one commit for all of them costs
                # a fraction of one for each. Who is alone does not wait.
                time.sleep(GATHER)
            while first is not None:
                batch.append(first)
                if len(batch) == MOST_PER_COMMIT or self._queue.empty():
                    break
                first = self._queue.get()
            siblings = len(batch) > 1
            if batch:
                yield batch
            if first is None:
                return


class SQLiteSession:
    """A connection to SQLite, and the word with which its transactions begin."""

    def __init__(self, connection: sqlite3.Connection, begin: str) -> None:
        self.connection = connection
        self._begin = begin

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def together(self, works: list[Work[Any]]) -> list[Any]:
        """The result or failure of each piece, all in one commit unless one of them fails."""
        if len(works) > 1:
            try:
                return self.alone(lambda db: [work(db) for work in works])
            except Exception:
                # One of them is bad, or all are; alone each shows which.
                return [self._alone_or_failure(work) for work in works]
        return [self._alone_or_failure(works[0])]

    def alone(self, work: Work[T]) -> T:
        """The result of a piece in a commit of its own."""
        db = self.connection
        db.execute(self._begin)
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    def _alone_or_failure(self, work: Work[Any]) -> Any:
        try:
            return self.alone(work)
        except Exception:
            return readable(Failure(), sqlite3.Error)


def readable(failure: Failure, refusals: type[Exception]) -> Failure:
    """Say what a database error means; leave the store's own errors alone."""
    if failure.check(refusals):
        return Failure(StoreUnavailable(f"the database refused: {failure.getErrorMessage()}"))
    failure.cleanFailure()
    return failure


def _deliver(waiters: list[Deferred[Any]], results: list[Any]) -> None:
    pending = deque(zip(waiters, results, strict=True))
    while pending:
        waiter, result = pending.popleft()
        # A waiter that was cancelled has its answer already.
        if not waiter.called:
            waiter.callback(result)
