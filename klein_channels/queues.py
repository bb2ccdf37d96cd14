"""
Who sends next: the accounts in turn, each when it may, none with more than its part of the places.

What waits here waits in memory alone: no transaction, no poll. One timer stands at the next time at
which an account or a chat opens. An account keeps so many conversations in mind and no more; the
others stay in the store, which is asked for them when there is room.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .accounts import TOLERANCE, Account, Accounts, Key
from .model import Address

SHORTEST = 0.001
"""Seconds between two looks, at least."""
SHARE = 2
"""An account may have so many times the places that are free: there are always some for another."""
Refill = Callable[[str, str], None]
"""Asks the store for the conversations that begin with the first text and come after the second."""


class _Queue:
    """The conversations that wait for one account; those in `parked` for a time of their own."""

    def __init__(self, account: Account, prefix: str) -> None:
        self.account = account
        self.prefix = prefix
        self.waiting: deque[str] = deque()
        self.parked: list[tuple[float, int, str]] = []
        self.in_turn = False
        self.opens = 0.0
        self.missed = self.sweeping = self.asking = False
        self.swept_to = prefix

    def __len__(self) -> int:
        return len(self.waiting) + len(self.parked)


class AccountQueues:
    """The `lanes.Line` of delivery; a lane is a conversation's key. `most` are the places in all."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        most: int,
        most_queued: int,
        clock: IReactorTime,
        refill: Refill,
    ) -> None:
        self.ready: Callable[[], None] = lambda: None
        self.urgent: set[str] = set()
        """Conversations in which something is seen that is not whole yet: they go first."""
        self._accounts = accounts
        self._most = most
        self._most_queued = most_queued
        self._clock = clock
        self._refill = refill
        self._flying = 0
        self._queues: dict[str, _Queue] = {}
        self._blocked: list[_Queue] = []
        self._turn: deque[_Queue] = deque()
        self._closed: list[tuple[float, int, _Queue]] = []
        self._queued: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._numbers = count()
        self._timer: IDelayedCall | None = None
        self._timer_at = math.inf

    def __contains__(self, lane: object) -> bool:
        return lane in self._queued

    def add(self, lane: str) -> bool:
        """Let a conversation wait for its account; False if too many do."""
        queue = self._queue_of(lane)
        if len(queue) >= self._most_queued:
            queue.missed = True
            self._not_before.pop(lane, None)
            return False
        self._queued.add(lane)
        if lane in self.urgent:
            queue.waiting.appendleft(lane)
        else:
            queue.waiting.append(lane)
        if queue.opens <= self._clock.seconds() + TOLERANCE:
            self._to_turn(queue)
        return True

    def next(self) -> str | None:
        """The conversation that may send now, its tokens taken."""
        now = self._clock.seconds()
        while self._closed and self._closed[0][0] <= now + TOLERANCE:
            self._to_turn(heappop(self._closed)[2])
        for _ in range(len(self._turn)):
            queue = self._turn.popleft()
            queue.in_turn = False
            lane = self._pick(queue, now)
            if lane is not None:
                self._to_turn(queue)
                return lane
        self._set_timer(now)
        return None

    def would_begin(self, lane: str) -> bool:
        """Whether its account has nothing else to send, and so many tokens that one will be left."""
        queue = self._queue_of(lane)
        if len(queue) or queue.account.flying >= SHARE * (self._most - self._flying):
            return False
        address = Address.parse(lane)
        return queue.account.has_plenty(address, self._accounts.rates_of(address), self._clock.seconds())

    def ended(self, lane: str) -> None:
        """A place is free again."""
        queue = self._queue_of(lane)
        self._flying -= 1
        queue.account.landed()
        blocked, self._blocked = self._blocked, []
        for each in (*blocked, queue):
            self._to_turn(each)

    def clear(self) -> None:
        """Forget all that wait: the store knows them."""
        self._queued.clear()
        self._turn.clear()
        self._closed.clear()
        self._blocked.clear()
        self._queues.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def postpone(self, lane: str, until: float) -> None:
        """Let a conversation that is at work wait until then when it comes here again."""
        self._not_before[lane] = until

    def was_postponed(self, lane: str) -> bool:
        """Whether this is the time it was made to wait for; asked once."""
        return self._not_before.pop(lane, None) is not None

    def waiting(self, key: Key) -> int:
        """How many conversations wait here for an account."""
        channel, account = key
        queue = self._queues.get(str(Address(channel=channel, account=account, peer="")))
        return len(queue) if queue else 0

    def refilled(self, prefix: str, found: tuple[str, ...]) -> None:
        """What `refill` asked for came, and `found` were woken; none of them means that this was all."""
        queue = self._queues.get(prefix)
        if queue is None:
            return  # The server stops.
        queue.asking = False
        if found:
            queue.swept_to = found[-1]
        else:
            queue.sweeping, queue.swept_to = False, queue.prefix
        self._ask_for_more(queue)

    # ---------------------------------------------------------------------------------------------

    def _queue_of(self, lane: str) -> _Queue:
        channel, account, _ = lane.split(":", 2)
        prefix = f"{channel}:{account}:"
        queue = self._queues.get(prefix)
        if queue is None:
            queue = self._queues[prefix] = _Queue(self._accounts.of(Address.parse(lane)), prefix)
        return queue

    def _to_turn(self, queue: _Queue) -> None:
        if not queue.in_turn and len(queue):
            queue.in_turn = True
            queue.opens = 0.0
            self._turn.append(queue)

    def _pick(self, queue: _Queue, now: float) -> str | None:
        """The next conversation of one account, or None and the queue where it is found again."""
        account = queue.account
        if account.flying >= SHARE * (self._most - self._flying):
            self._blocked.append(queue)
            return None
        opens = account.ready_at(now)
        while opens <= now + TOLERANCE and (lane := self._candidate(queue, now)) is not None:
            address = Address.parse(lane)
            rates = self._accounts.rates_of(address)
            at = max(account.chat_ready_at(address, rates, now), self._not_before.get(lane, now))
            if at > now + TOLERANCE:
                heappush(queue.parked, (at, next(self._numbers), lane))
                continue
            account.reserve(address, rates, now)
            account.flying += 1
            self._flying += 1
            self._queued.discard(lane)
            self._ask_for_more(queue)
            return lane
        if opens <= now + TOLERANCE:
            opens = queue.parked[0][0] if queue.parked else math.inf
        self._close(queue, opens)
        return None

    def _candidate(self, queue: _Queue, now: float) -> str | None:
        if queue.parked and queue.parked[0][0] <= now + TOLERANCE:
            return heappop(queue.parked)[2]
        return queue.waiting.popleft() if queue.waiting else None

    def _close(self, queue: _Queue, opens: float) -> None:
        """Look at the queue again when it opens; at infinity somebody lands before that, or comes."""
        queue.opens = opens if queue.waiting or not queue.parked else 0.0
        if opens < math.inf:
            heappush(self._closed, (opens, next(self._numbers), queue))
        elif not len(queue):
            queue.opens = 0.0

    def _ask_for_more(self, queue: _Queue) -> None:
        """Fill up from the store, in rounds through all that waits there, until a round missed nobody."""
        if queue.asking or len(queue) > self._most_queued // 2 or not (queue.missed or queue.sweeping):
            return
        if not queue.sweeping:
            queue.sweeping, queue.missed = True, False
        queue.asking = True
        self._refill(queue.prefix, queue.swept_to)

    def _set_timer(self, now: float) -> None:
        if not self._closed:
            return
        at = self._closed[0][0]
        active = self._timer is not None and self._timer.active()
        if active and self._timer_at <= at:
            return
        if active and self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._clock.callLater(max(at - now, SHORTEST), self._open)

    def _open(self) -> None:
        self._timer_at = math.inf
        self.ready()
