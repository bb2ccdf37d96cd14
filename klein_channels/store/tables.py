"""
What every engine does with the tables: each method of `Store` as one transaction's work.

An engine says how work is committed (`_write`) and how listings are read (`_read`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from ..errors import StoreFull
from ..model import Owner, Turn
from . import (
    IN_ORDER,
    Acquaintance,
    Arrival,
    Claim,
    Conversation,
    Cursor,
    DeadLetter,
    Due,
    Ended,
    EndOfTurn,
    Exchange,
    NotNow,
    Queueing,
    Reply,
    Settlement,
    StartedTurn,
    Stats,
    exchanges,
    inbox,
    letters,
    outbox,
    owners,
    persons,
    streams,
    superseding,
)
from .commit import Work
from .database import Database
from .purging import NO_OTHERS, Cutoffs, Purge

_log = Logger()
T = TypeVar("T")
EVENTS_PER_TRANSACTION = 100


class Tables:
    """The methods of a `Store` that are the same for every engine."""

    instance = ""
    server = 0
    """Who we are among the servers of one database; 0 if there is but one."""

    def __init__(self, *, max_waiting: int, max_unsent: int) -> None:
        self._max_waiting = max_waiting
        self._max_unsent = max_unsent
        self._waiting = 0
        self._begun: dict[str, StartedTurn] = {}
        self._purge = Purge()

    def _write(self, work: Work[T], *conversations: str) -> Deferred[T]:
        """Do `work` durably; it changes nothing but `conversations`."""
        raise NotImplementedError

    def _read(self, work: Work[T]) -> Deferred[T]:
        """Do `work`, which changes nothing."""
        raise NotImplementedError

    def enqueue(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None = None
    ) -> Deferred[list[int | None]]:
        """Store events; a long batch takes several transactions, all of them before this fires."""
        if self._waiting >= self._max_waiting:
            return fail(StoreFull(f"{self._waiting} events wait for their turn"))
        if len(arrivals) == 1 and arrivals[0].begins and cursor is None and not self.server:
            begun = self._write(lambda db: self._enqueued_and_begun(db, arrivals, now))
            return begun.addCallback(self._keep_begun)
        if len(arrivals) <= EVENTS_PER_TRANSACTION:
            return self._write(
                lambda db: self._enqueued(db, arrivals, now, cursor), *_conversations(arrivals)
            )
        return Deferred.fromCoroutine(self._enqueue_chunks(arrivals, now, cursor))

    async def _enqueue_chunks(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None
    ) -> list[int | None]:
        numbers: list[int | None] = []
        for start in range(0, len(arrivals), EVENTS_PER_TRANSACTION):
            chunk = arrivals[start : start + EVENTS_PER_TRANSACTION]
            moved = cursor if start + len(chunk) == len(arrivals) else None
            work = partial(self._enqueued, arrivals=chunk, now=now, cursor=moved)
            numbers += await self._write(work, *_conversations(chunk))
        return numbers

    def _enqueued(
        self, db: Database, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None
    ) -> list[int | None]:
        numbers = self._counted_in(inbox.enqueue(db, self.server, arrivals, now), arrivals)
        if cursor is not None:
            inbox.move_cursor(db, cursor)
        return numbers

    def _enqueued_and_begun(
        self, db: Database, arrivals: Sequence[Arrival], now: float
    ) -> tuple[list[int | None], StartedTurn | NotNow | None]:
        """Store one event and start its turn, in one transaction."""
        numbers = self._enqueued(db, arrivals, now, None)
        if not numbers[0] or numbers[0] < 0:
            return numbers, None
        started = inbox.start_turn(
            db,
            self.server,
            arrivals[0].conversation,
            now,
            deterministic=False,
            most_unsent=self._max_unsent,
            queueing=arrivals[0].queueing,
            only_new=True,
        )
        return numbers, self._counted_out(started)

    def _keep_begun(self, stored: tuple[list[int | None], StartedTurn | NotNow | None]) -> list[int | None]:
        numbers, started = stored
        if isinstance(started, StartedTurn):
            self._begun[started.turn.conversation] = started
        return numbers

    def _let_begun_wait(self) -> None:
        """Turns that were started and that nobody came for are started again by the next server."""
        if self._begun:
            turns = [started.turn.id for started in self._begun.values()]
            given_back = self._write(lambda db: inbox.let_wait(db, turns))
            given_back.addErrback(
                lambda failure: _log.failure("turns {turns} count as failed", failure, turns=turns)
            )
            self._begun.clear()

    def cursor(self, name: str) -> Deferred[Cursor | None]:
        """How far the poll of that name has read."""
        return self._read(lambda db: inbox.read_cursor(db, name))

    def _counted_in(self, numbers: list[int | None], arrivals: Sequence[Arrival]) -> list[int | None]:
        """Keep count of what waits, near enough for its bound; `stats` sets it right."""
        new = (arrival.turn for arrival, number in zip(arrivals, numbers, strict=True) if (number or 0) > 0)
        self._waiting += sum(new)
        return numbers

    def _counted_out(self, started: StartedTurn | NotNow | None) -> StartedTurn | NotNow | None:
        if isinstance(started, StartedTurn) and started.turn.attempt == 1:
            self._waiting -= len(started.turn.events)
        return started

    def start_turn(
        self, conversation: str, now: float, *, deterministic: bool, queueing: Queueing = IN_ORDER
    ) -> Deferred[StartedTurn | NotNow | None]:
        """Start the next turn of a conversation, or hand out the one that was started as its event came."""
        begun = self._begun.pop(conversation, None)
        if begun is not None:
            return succeed(begun)
        return self._write(
            lambda db: self._started(db, conversation, now, deterministic, queueing), conversation
        )

    def _started(
        self, db: Database, conversation: str, now: float, deterministic: bool, queueing: Queueing
    ) -> StartedTurn | NotNow | None:
        started = inbox.start_turn(
            db,
            self.server,
            conversation,
            now,
            deterministic=deterministic,
            most_unsent=self._max_unsent,
            queueing=queueing,
        )
        return self._counted_out(started)

    def interrupting(self, turn: Turn) -> Deferred[float | None]:
        """When an event that waits puts an end to `turn`."""
        return self._read(lambda db: superseding.interrupting(db, turn))

    def add_replies(
        self, turn: Turn, replies: Sequence[Reply], offers: Sequence[str], now: float
    ) -> Deferred[bool]:
        """Commit replies while their turn goes on."""
        return self._write(lambda db: inbox.add_replies(db, turn, replies, offers, now), turn.conversation)

    def open_stream(self, turn: Turn, reply: Reply, now: float) -> Deferred[Claim | NotNow]:
        """A row for a text that is shown as it grows."""
        return self._write(
            lambda db: inbox.open_stream(db, self.server, self.instance, turn, reply, now), turn.conversation
        )

    def note_stream(self, claim: Claim, name: str | None) -> Deferred[None]:
        """Note what the platform calls what it shows."""
        return self._write(lambda db: streams.note_stream(db, self.server, claim, name), claim.conversation)

    def end_turn(self, turn: Turn, end: EndOfTurn, now: float) -> Deferred[Ended | None]:
        """End a turn."""
        return self._write(
            lambda db: inbox.end_turn(db, self.server, self.instance, turn, end, now), turn.conversation
        )

    def post(
        self, conversation: str, replies: Sequence[Reply], key: str | None, now: float
    ) -> Deferred[bool]:
        """Commit a message that nobody asked for."""
        return self._write(
            lambda db: outbox.insert_replies(db, conversation, replies, now, key=key) > 0, conversation
        )

    def answer_exchange(
        self, conversation: str, event: str, render: exchanges.Render, now: float
    ) -> Deferred[Exchange | None]:
        """Make one response of the replies to `event` if its turn has ended, and keep it."""
        return self._write(
            lambda db: exchanges.answer_exchange(db, self.instance, conversation, event, render, now),
            conversation,
        )

    def close_exchange(self, conversation: str, event: str, now: float) -> Deferred[None]:
        """Let the replies go the channel's other way, if it has one."""
        return self._write(
            lambda db: exchanges.close_exchange(db, self.server, conversation, event, now), conversation
        )

    def recall_answer(
        self, conversation: str, event: str, carried: Sequence[int], now: float
    ) -> Deferred[None]:
        """Let the rows of an answer that nobody got go the channel's other way."""
        return self._write(
            lambda db: exchanges.recall_answer(db, conversation, event, carried, now), conversation
        )

    def close_abandoned(self, now: float, expired_before: float) -> Deferred[int]:
        """Let replies expire that were not fetched."""
        return self._write(lambda db: exchanges.close_abandoned(db, now, expired_before))

    def claim_reply(self, conversation: str, now: float) -> Deferred[Claim | NotNow | None]:
        """Claim the oldest unsent reply of a conversation."""
        return self._write(lambda db: self._claimed(db, conversation, now), conversation)

    def _claimed(self, db: Database, conversation: str, now: float) -> Claim | NotNow | None:
        return outbox.claim_reply(db, self.server, self.instance, conversation, now)

    def settle_reply(
        self, claim: Claim, settlement: Settlement, now: float, *, claim_next: bool
    ) -> Deferred[Claim | NotNow | None]:
        """Record what became of a claim and, if asked to, claim the next one, in one transaction."""

        def work(db: Database) -> Claim | NotNow | None:
            outbox.settle_reply(db, claim, settlement, now)
            if not claim_next:
                return None
            return self._claimed(db, claim.conversation, now)

        return self._write(work, claim.conversation)

    def hasten(self, conversation: str, now: float) -> Deferred[None]:
        """Let the open replies of a conversation be tried now."""
        return self._write(lambda db: outbox.hasten(db, conversation, now), conversation)

    def set_owner(
        self, conversation: str, owner: Owner, now: float, *, until: float | None = None
    ) -> Deferred[None]:
        """Give a conversation to the bot, a human or nobody."""
        return self._write(lambda db: owners.set_owner(db, conversation, owner, until, now), conversation)

    def rest(self, conversation: str, now: float, until: float) -> Deferred[bool]:
        """Pause a conversation of the bot's until a time."""
        return self._write(lambda db: owners.rest(db, conversation, now, until), conversation)

    def note_person(self, conversation: str, learnt: Acquaintance) -> Deferred[None]:
        """Remember somebody with a conversation that is there."""
        return self._write(lambda db: persons.note_person(db, conversation, learnt), conversation)

    def return_owners(self, now: float, limit: int) -> Deferred[Due]:
        """Give the bot back what was somebody's for a time that is over."""
        return self._write(lambda db: owners.return_owners(db, now, limit))

    def conversations(
        self, owned_by: Sequence[Owner], after: str | None, limit: int, now: float
    ) -> Deferred[list[Conversation]]:
        """Conversations by their keys."""
        return self._read(lambda db: owners.conversations(db, owned_by, after, limit, now))

    def waiting(self) -> Deferred[Due]:
        """All conversations with anything open."""
        return self._read(letters.waiting)

    def due(self, now: float, limit: int) -> Deferred[Due]:
        """Conversations whose time has come."""
        return self._read(lambda db: letters.due(db, now, limit, fresh=now))

    def replies_due(self, prefix: str, after: str, now: float, limit: int) -> Deferred[tuple[str, ...]]:
        """Conversations of one account whose replies are due."""
        return self._read(lambda db: letters.replies_due(db, prefix, after, now, limit))

    def dead_letters(self, after: str | None, limit: int) -> Deferred[list[DeadLetter]]:
        """Dead letters, oldest first."""
        return self._read(lambda db: letters.dead_letters(db, after, limit))

    def dead_letter(self, letter_id: str) -> Deferred[DeadLetter | None]:
        """One dead letter."""
        return self._read(lambda db: letters.dead_letter(db, letter_id))

    def redrive(self, letter_id: str, action: Literal["replay", "discard"], now: float) -> Deferred[bool]:
        """Try a dead letter again, or put it away."""
        return self._write(lambda db: letters.redrive(db, letter_id, action, now))

    def look(self, work: Work[T]) -> Deferred[T]:
        """What `work` finds in the tables."""
        return self._read(work)

    def operate(self, work: Work[T], *conversations: str) -> Deferred[T]:
        """Do `work` in one durable transaction."""
        return self._write(work, *conversations)

    def stats(self) -> Deferred[Stats]:
        """How much waits; also sets right the running count of waiting events."""

        def correct(stats: Stats) -> Stats:
            self._waiting = stats.waiting_events
            return stats

        return self._read(letters.stats).addCallback(correct)

    def purge(self, seen_before: float, finished_before: float, own: Cutoffs = NO_OTHERS) -> Deferred[int]:
        """Delete one chunk of what is over."""
        return self._write(lambda db: self._purged(db, seen_before, finished_before, own))

    def _purged(self, db: Database, seen_before: float, finished_before: float, own: Cutoffs) -> int:
        return self._purge.chunk(db, hour_of(seen_before), seen_before, finished_before, own)

    # -- where there is but one server

    def keep_alive(self, now: float) -> Deferred[None]:
        """The lock of the file says that we live."""
        return succeed(None)

    def is_alive(self) -> bool:
        """Whether nobody can have taken over what we have begun."""
        return True

    def listen(self, heard: Callable[[Due], None]) -> None:
        """There is nobody who could tell anything."""

    def may_poll(self, name: str) -> Deferred[bool]:
        """All polls are ours."""
        return succeed(True)

    def hold_socket(self, conversation: str) -> Deferred[None]:
        """All connections are ours."""
        return succeed(None)

    def drop_socket(self, conversation: str) -> Deferred[None]:
        """All connections are ours."""
        return succeed(None)


def hour_of(timestamp: float) -> bytes:
    """The first bytes of a `seen` key: the hour, so that keys of one time lie together."""
    return min(max(int(timestamp // 3600), 0), 2**32 - 1).to_bytes(4, "big")


def _conversations(arrivals: Sequence[Arrival]) -> Sequence[str]:
    if len(arrivals) == 1:
        return (arrivals[0].conversation,)
    return tuple({arrival.conversation for arrival in arrivals})
