"""
The store in a PostgreSQL database (13 or later), for as many identical servers as one likes.

A conversation is claimed by what is written anyway: its one open turn, and the one reply that is being
sent, each with the number of the server and an attempt, which is the fencing token. The lease is the
server's: `leases` tells who lives. Psycopg is used synchronously, in threads of its own, so that any
reactor will do.
"""

from __future__ import annotations

import os
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import psycopg
from twisted.internet.defer import Deferred, DeferredSemaphore, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import StartError, StoreError, StoreUnavailable
from . import (
    IN_ORDER,
    Arrival,
    Claim,
    Cursor,
    Due,
    NotNow,
    Queueing,
    StartedTurn,
    exchanges,
    leases,
    letters,
    outbox,
)
from .commit import Committer, InlineCommitter, Session, Work
from .database import Database
from .dsn import Dsn, read_dsn
from .hints import Hints
from .preparing import prepare
from .purging import NO_OTHERS, Cutoffs
from .session import Connection, OutcomeUnknown, Piece, PostgresSession
from .tables import Tables
from .takeover import take_over

_log = Logger()
T = TypeVar("T")
STARTS_AT_ONCE = 64
"""Starts of turns that wait for their commit; the others wait until one of these is there."""
MOST_STORING = 10_000
"""Webhooks that wait for their commit: what a blocked standby may cost in memory."""
GRACE = 1.0
"""Seconds for which work is left to the server that it came to."""
_PURGE = "the purge, one server at a time"
StartCommitter = Callable[[Session, str], Committer]


def inline(session: Session, name: str) -> Committer:
    """A committer that works at once, in the caller's thread."""
    return InlineCommitter(session)


class PostgresStore(Tables):
    """A `Store` in the database that `url` names; see `dsn.read_dsn`.

    `shared` is for the command line: it is no server, and claims nothing. `call_from_thread` brings
    hints of other servers to the reactor; without it none are heard. `durable` is False for tests, which
    need not outlive the database.
    """

    def __init__(  # noqa: PLR0913  (each is a setting, or a seam for tests)
        self,
        url: str,
        *,
        committer: StartCommitter = inline,
        shared: bool = False,
        max_waiting: int = 100_000,
        max_unsent: int = 20,
        unknown_wait: float = 30.0,
        lease: float = 15.0,
        grace: float = GRACE,
        durable: bool = True,
        call_from_thread: Callable[..., object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        connect: Callable[[Dsn], Connection] = Dsn.connect,
    ) -> None:
        super().__init__(max_waiting=max_waiting, max_unsent=max_unsent)
        self.dsn = read_dsn(url)
        self._start_committer = committer
        self._shared = shared
        self._unknown_wait = unknown_wait
        self._lease = lease
        self._grace = grace
        self._durable = durable
        self._call_from_thread = call_from_thread
        self._monotonic = monotonic
        self._connect = partial(connect, self.dsn)
        self._heard: Callable[[Due], None] = lambda due: None
        self._hints: Hints | None = None
        self._starts = DeferredSemaphore(STARTS_AT_ONCE)
        self._storing = 0
        self._doubtful: set[str] = set()
        self._valid_until = 0.0
        self._lapsed_until = 0.0

    def __repr__(self) -> str:
        return f"PostgresStore({self.dsn.shown!r})"

    # -- opening and closing

    def open(self, now: float) -> None:
        """Connect, bring the schema up to date, stand among the living, bury the dead."""
        asked = self._monotonic()
        first = self._session()
        result = first.together([lambda db: self._prepared(db, now)])[0]
        if isinstance(result, Failure):
            first.close()
            raise self._start_error(result) from None
        self._valid_until = asked + self._lease
        self._start_committers(first)
        if self._call_from_thread is not None and self.dsn.listen is not None and not self._shared:
            self._hints = Hints(self.dsn.connect_to_listen, self.instance, self._hear)
            self._hints.start(self.server)
        _log.info("settings: store {store}, server {server}", store=repr(self), server=self.server)

    def _start_committers(self, first: PostgresSession) -> None:
        start = self._start_committer
        if start is inline:
            # One thread needs but one connection.
            self._reader = self._leases = start(first, "store")
            self._writers = [self._leases]
            return
        first.close()
        self._writers = [start(self._session(), f"store-{number}") for number in range(self.dsn.writers)]
        self._reader = start(self._session(), "store-reader")
        # The lease waits for nothing: neither for a long listing nor for commits that a standby holds up.
        self._leases = start(self._session(), "store-lease")

    def close(self) -> Deferred[None]:
        """Commit what was asked for, leave the living, close all connections."""
        if self._hints is not None:
            self._hints.stop()
        closed: Deferred[Any] = succeed(None)
        for committer in {*self._writers, self._reader} - {self._leases}:
            closed.addBoth(_close, committer)
        if not self._shared:
            closed.addBoth(lambda _: self._leases.run(self._left))
            closed.addErrback(lambda failure: _log.info("{error}", error=failure.getErrorMessage()))
        return closed.addBoth(lambda _: self._leases.close())

    def _session(self) -> PostgresSession:
        return PostgresSession(
            self._connect, seed=lambda: self.instance, pooled=self.dsn.pooled, durable=self._durable
        )

    def _start_error(self, failure: Failure) -> BaseException:
        if failure.value is None or failure.check(StoreUnavailable, psycopg.Error):
            return StartError(f"store: {self.dsn.shown}: {failure.getErrorMessage()}")
        return failure.value

    def _prepared(self, db: Database, now: float) -> None:
        self.instance = prepare(db, self.dsn.shown)
        self._waiting = letters.stats(db).waiting_events
        if not self._shared:
            self.server = self._registered(db)
            self._swept(db, now)

    # -- who lives

    def _registered(self, db: Database) -> int:
        return leases.register(db, f"{socket.gethostname()}:{os.getpid()}", self._lease)

    def _swept(self, db: Database, now: float) -> None:
        if self._monotonic() >= self._lapsed_until:
            leases.bury(db, self.server)
        take_over(db, now, now + self._unknown_wait)
        leases.bury_holdings(db)

    def _left(self, db: Database) -> None:
        leases.leave(db, self.server)
        leases.bury_holdings(db)

    def keep_alive(self, now: float) -> Deferred[None]:
        """Renew the lease, and take over what the dead had begun."""
        asked = self._monotonic()
        if asked >= self._valid_until:
            # Whatever kept us may keep the others as well: they get the time of a lease to come back.
            self._lapsed_until = asked + self._lease
        return self._leases.run(lambda db: self._renewed(db, now)).addCallback(self._lives, asked)

    def _renewed(self, db: Database, now: float) -> int:
        # A renewal may be lost with the primary; it need not wait for a standby.
        db.execute("SET LOCAL synchronous_commit = local")
        server = self.server
        if not leases.renew(db, server, self._lease):
            server = self._registered(db)
        self._swept(db, now)
        return server

    def _lives(self, server: int, asked: float) -> None:
        if server != self.server:
            _log.warn("this server was taken for dead; others go on with what it had begun")
            self.server = server
            if self._hints is not None:
                self._hints.move(server)
        self._valid_until = asked + self._lease

    def is_alive(self) -> bool:
        """Whether our lease holds: no other server can have taken over what we have begun."""
        return self._monotonic() < self._valid_until

    # -- what other servers tell

    def listen(self, heard: Callable[[Due], None]) -> None:
        """Have `heard` called with what other servers tell."""
        self._heard = heard

    def _hear(self, due: Due) -> None:
        assert self._call_from_thread is not None
        self._call_from_thread(self._heard, due)

    def _tell(self, server: int | None, due: Due) -> None:
        if server is not None and self._hints is not None:
            self._hints.tell(server, due)

    # -- what several servers make different

    def _write(self, work: Work[T], *conversations: str) -> Deferred[T]:
        done = self._writer(conversations).run(Piece(work, conversations))
        return done.addErrback(self._doubt, conversations)

    def _claim(self, work: Work[T], conversation: str) -> Deferred[T]:
        writer = self._writer((conversation,))
        done = writer.run(Piece(work, (conversation,), claims=True))
        return done.addErrback(self._doubt, (conversation,))

    def _doubt(self, failure: Failure, conversations: Sequence[str]) -> Failure:
        """What these commits claimed may be ours, and nobody was told."""
        if failure.check(OutcomeUnknown):
            self._doubtful.update(conversations)
        return failure

    def _writer(self, conversations: Sequence[str]) -> Committer:
        """One conversation, one connection: its commits keep their order."""
        place = zlib.crc32(conversations[0].encode()) if conversations else 0
        return self._writers[place % len(self._writers)]

    def _read(self, work: Work[T]) -> Deferred[T]:
        return self._reader.run(work)

    def enqueue(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None = None
    ) -> Deferred[list[int | None]]:
        """Store events, unless too many wait already for a database that is held up."""
        if self._storing >= MOST_STORING:
            return fail(StoreUnavailable("the database does not keep up"))
        self._storing += 1
        return super().enqueue(arrivals, now, cursor).addBoth(self._stored)

    def _stored(self, result: Any) -> Any:
        self._storing -= 1
        return result

    def _enqueued(
        self, db: Database, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None
    ) -> list[int | None]:
        if cursor is not None and not leases.take_poll(db, self.server, cursor.name):
            raise StoreError("another server polls there by now")
        return super()._enqueued(db, arrivals, now, cursor)

    def start_turn(
        self, conversation: str, now: float, *, deterministic: bool, queueing: Queueing = IN_ORDER
    ) -> Deferred[StartedTurn | NotNow | None]:
        """Start the next turn of a conversation, unless another server runs one."""

        def work(db: Database) -> StartedTurn | NotNow | None:
            holder = leases.socket_elsewhere(db, self.server, conversation)
            if holder is not None:
                self._tell(holder, Due(turns=(conversation,)))
                return NotNow()
            started = self._started(db, conversation, now, deterministic, queueing)
            if isinstance(started, NotNow):
                # It will look for more when its turn has ended.
                self._tell(leases.runs_elsewhere(db, self.server, conversation), Due(turns=(conversation,)))
            return started

        # A hundred thousand conversations at the start must not make what was begun wait behind them.
        return self._starts.run(self._claim, work, conversation)

    def claim_reply(self, conversation: str, now: float) -> Deferred[Claim | NotNow | None]:
        """Claim the oldest unsent reply of a conversation."""
        if conversation not in self._doubtful:
            return self._claim(lambda db: self._claimed(db, conversation, now), conversation)

        def work(db: Database) -> Claim | NotNow | None:
            outbox.doubt(db, self.server, conversation, now + self._unknown_wait)
            return self._claimed(db, conversation, now)

        def cleared(claim: Claim | NotNow | None) -> Claim | NotNow | None:
            self._doubtful.discard(conversation)
            return claim

        return self._claim(work, conversation).addCallback(cleared)

    def _claimed(self, db: Database, conversation: str, now: float) -> Claim | NotNow | None:
        holder = leases.socket_elsewhere(db, self.server, conversation)
        if holder is not None:
            self._tell(holder, Due(replies=(conversation,)))
            return NotNow()
        return super()._claimed(db, conversation, now)

    def close_exchange(self, conversation: str, event: str, now: float) -> Deferred[None]:
        """Let the replies go the channel's other way, unless another server still waits for them."""

        def work(db: Database) -> None:
            exchanges.close_exchange(db, self.server, conversation, event, now)
            holder = leases.waits_elsewhere(db, self.server, conversation, event)
            self._tell(holder, Due(answers=((conversation, event),)))

        return self._write(work, conversation)

    def may_poll(self, name: str) -> Deferred[bool]:
        """Whether the poll of that name is ours."""
        return self._write(lambda db: leases.take_poll(db, self.server, name))

    def hold_socket(self, conversation: str) -> Deferred[None]:
        """The replies of this conversation go out from here, as long as we live."""
        return self._write(lambda db: leases.hold_socket(db, self.server, conversation), conversation)

    def drop_socket(self, conversation: str) -> Deferred[None]:
        """The replies of this conversation may go out from anywhere."""
        return self._write(lambda db: leases.drop_socket(db, self.server, conversation), conversation)

    def waiting(self) -> Deferred[Due]:
        """All conversations with anything open; our share of them first."""

        def work(db: Database) -> Due:
            place = leases.place_among(db, self.server)
            due = letters.waiting(db)
            return Due(turns=_shared_out(due.turns, *place), replies=_shared_out(due.replies, *place))

        return self._read(work)

    def due(self, now: float, limit: int) -> Deferred[Due]:
        """Conversations whose time has come, and what was left lying by the server that it came to."""

        def work(db: Database) -> Due:
            due = letters.due(db, now, limit, fresh=now - self._grace)
            left = letters.left_lying(db, now - self._grace, limit)
            answers = exchanges.ready(db, self.server)
            replies = (*due.replies, *tuple(self._doubtful))
            return msgspec.structs.replace(due, turns=(*due.turns, *left), replies=replies, answers=answers)

        return self._read(work)

    def purge(self, seen_before: float, finished_before: float, own: Cutoffs = NO_OTHERS) -> Deferred[int]:
        """Delete one chunk of what is over, if no other server is at it."""

        def work(db: Database) -> int:
            mine = db.execute("SELECT pg_try_advisory_xact_lock(hashtext(?)) AS mine", (_PURGE,)).fetchone()
            return self._purged(db, seen_before, finished_before, own) if mine["mine"] else 0

        return self._write(work)


def _close(_: object, committer: Committer) -> Deferred[None]:
    return committer.close()


def _shared_out(keys: tuple[str, ...], place: int, count: int) -> tuple[str, ...]:
    """`keys` with every `count`-th first, so that servers that start together begin at different ones."""
    shares = [keys[(place + turn) % count :: count] for turn in range(count)]
    return tuple(key for share in shares for key in share)
