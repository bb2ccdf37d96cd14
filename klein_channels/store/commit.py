"""
Group commit: one thread that owns the writing connection and commits whatever came meanwhile.

Work is a function of the connection. All that arrived while the former commit ran, and in a moment
after it, shares the next one; a piece that fails is rolled back alone, so that it fails nobody else.
Results cross back to the caller's thread once per commit, in order.
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

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
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


class InlineCommitter:
    """Each piece at once, in the caller's thread: for ``memory:`` and for tests."""

    def __init__(self, connection: sqlite3.Connection, begin: str) -> None:
        self._session = _Session(connection, begin)

    def run(self, work: Work[T]) -> Deferred[T]:
        """Do `work` now."""
        try:
            return succeed(self._session.alone(work))
        except Exception:
            return fail(_readable(Failure()))

    def close(self) -> Deferred[None]:
        """Close the connection."""
        self._session.connection.close()
        return succeed(None)


class GroupCommitter:
    """All pieces in one thread of its own, as many as there are in each commit."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        begin: str,
        call_from_thread: Callable[..., object],
        name: str = "store",
    ) -> None:
        self._session = _Session(connection, begin)
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
        self._session.connection.close()
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


class _Session:
    """A connection, and the word with which its transactions begin."""

    def __init__(self, connection: sqlite3.Connection, begin: str) -> None:
        self.connection = connection
        self._begin = begin

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
            return _readable(Failure())


def _readable(failure: Failure) -> Failure:
    """Say what a database error means; leave the store's own errors alone."""
    if failure.check(sqlite3.Error):
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
