"""A database whose disk is full, or gone, or slow, or whose process dies in the middle of a commit."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from ..store.commit import InlineCommitter, Session, Work

T = TypeVar("T")


class Killed(BaseException):
    """Unwinds the stack of a process that died in it; nobody outside `Disk` sees it."""


class Disk:
    """Where faults of the database are made.

    `full` and `gone` refuse writing and everything; `held` keeps commits back until `release()`;
    `kill_at` is called with the number of each commit and says when the process dies: ``before``
    or ``after`` it, or None. `at` is called with every statement, and may also say ``error``, for one
    that fails and changes nothing, or ``unknown``, for one that is carried out and fails all the same.
    """

    def __init__(self, kill: Callable[[], None], settle: Callable[[], None]) -> None:
        self._kill = kill
        self._settle = settle
        self.full = self.gone = self.held = False
        self.commits = 0
        self.kill_at: Callable[[int], str | None] = lambda number: None
        self.at: Callable[[str], str | None] = lambda sql: None
        self.connections: list[sqlite3.Connection] = []
        self._committers: list[_MortalCommitter] = []
        self._waiting: deque[Callable[[], None]] = deque()

    def connect(self, *args: Any, **settings: Any) -> sqlite3.Connection:
        """Open a connection on which this disk's faults show."""
        connection = sqlite3.connect(*args, factory=_Connection, **settings)
        connection.disk = self
        self.connections.append(connection)
        return connection

    def committer(self, session: Session, name: str) -> Any:
        """A committer that works at once, or when it is released."""
        self._committers.append(_MortalCommitter(self, InlineCommitter(session)))
        return self._committers[-1]

    def let_go(self) -> None:
        """What the system does for a dead process: open transactions are rolled back."""
        for committer in self._committers:
            committer.dead = True
        for connection in self.connections:
            connection.close()
        self._committers.clear()
        self.connections.clear()
        self._waiting.clear()

    def execute(self, run: Callable[[], Any], sql: str) -> Any:
        """One statement, if the disk lets it pass."""
        if self.gone:
            raise sqlite3.OperationalError("disk I/O error")
        moment = self.at(sql)
        if sql == "COMMIT":
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
            self.commits += 1
            moment = moment or self.kill_at(self.commits)
        done = run() if moment not in ("before", "error") else None
        if moment in ("error", "unknown"):
            raise sqlite3.OperationalError("disk I/O error")
        if moment is not None:
            self.die()
        return done

    def die(self) -> None:
        """The process ends here and now."""
        self._kill()
        raise Killed

    def hold(self, commit: Callable[[], None]) -> None:
        """Keep a commit until `release`."""
        self._waiting.append(commit)

    def release(self) -> None:
        """Commit what was held."""
        self.held = False
        while self._waiting:
            self._waiting.popleft()()
        self._settle()


class _MortalCommitter:
    """A committer of one process: once that is dead, nothing is done and nobody hears of it."""

    def __init__(self, disk: Disk, committer: InlineCommitter) -> None:
        self._disk = disk
        self._committer = committer
        self.dead = False

    def run(self, work: Work[T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        if self._disk.held:
            self._disk.hold(lambda: self._commit(work, done))
        else:
            self._commit(work, done)
        return done

    def _commit(self, work: Work[T], done: Deferred[T]) -> None:
        if self.dead:
            return
        try:
            committed = self._committer.run(work)
        except Killed:
            return
        committed.addBoth(lambda result: None if self.dead or done.called else done.callback(result))

    def close(self) -> Deferred[None]:
        return self._committer.close()


class _Connection(sqlite3.Connection):
    disk: Disk

    def execute(self, sql: str, *args: Any) -> Any:
        return self.disk.execute(lambda: sqlite3.Connection.execute(self, sql, *args), sql)
