"""
Replies in the answer to the webhook: who waits for them, for how long, and what a late one gets.

The store knows what an exchange holds; here are only the connections that wait. A client that hangs up
or waits too long is let go, and what is said then goes out the channel's other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Answers, CarriesSome
from .model import Outgoing, WebhookRequest, WebhookResponse
from .store import Claim, Store

_log = Logger()
Key = tuple[str, str]
"""A conversation, and the id of the event that is answered."""
_responses = msgspec.json.Decoder(WebhookResponse)


class Exchanges:
    """The webhooks that wait for replies. `let_go(conversation)` is called when some go another way."""

    def __init__(
        self,
        store: Store,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        let_go: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = now
        self._let_go = let_go
        self._waiting: dict[Key, list[_Waiter]] = {}

    def wait(
        self, channel: Any, request: WebhookRequest, conversation: str, event: str
    ) -> Deferred[WebhookResponse]:
        """The answer to a webhook: with the replies to `event` if they come in time.

        A redelivery waits beside the first delivery, or gets its answer again. Nobody waits where the
        channel gives it no time: all replies go its other way.
        """
        key = (conversation, event)
        if channel.capabilities.answer_deadline <= 0:
            self._give_up(key)
            return succeed(channel.answer_later(request, event))
        waiter = _Waiter(channel, request, self._left)
        waiter.key = key
        self._waiting.setdefault(key, []).append(waiter)
        waiter.timer = self._clock.callLater(channel.capabilities.answer_deadline, self._late, waiter)
        self._try_to_answer(key)
        return waiter.answer

    def turn_ended(self, conversation: str, event: str) -> None:
        """All replies to `event` are there."""
        key = (conversation, event)
        if key in self._waiting:
            self._try_to_answer(key)
        else:
            self._give_up(key)

    def _try_to_answer(self, key: Key) -> None:
        answering = Deferred.fromCoroutine(self._answer(key))
        answering.addErrback(lambda failure: _log.failure("an exchange was not answered", failure))

    async def _answer(self, key: Key) -> None:
        first = self._waiting[key][0]
        found = await self._store.answer_exchange(*key, first.render(self._now), self._now())
        if found is None or found.state == "closed":
            # It was let go before, or never was one: there is nothing to carry.
            self._tell(key, lambda waiter: waiter.channel.answer(waiter.request, ()))
        elif found.response is not None:
            response = _responses.decode(found.response)
            if found.carried and key not in self._waiting:
                # All who waited left while it was stored; who comes from now on gets an answer without.
                await self._store.recall_answer(*key, found.carried, self._now())
            else:
                self._tell(key, lambda waiter: response)
            self._let_go(key[0])

    def _tell(self, key: Key, response: Callable[[_Waiter], WebhookResponse]) -> None:
        for waiter in self._waiting.pop(key, []):
            waiter.finish(response(waiter))

    def _late(self, waiter: _Waiter) -> None:
        """The platform waits no longer; what is said from now on goes the other way, if there is one."""
        waiter.finish(waiter.channel.answer_later(waiter.request, waiter.key[1]))
        self._left(waiter)

    def _left(self, waiter: _Waiter) -> None:
        waiters = self._waiting.get(waiter.key, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters and waiter.key in self._waiting:
            del self._waiting[waiter.key]
            self._give_up(waiter.key)

    def _give_up(self, key: Key) -> None:
        closed = self._store.close_exchange(*key, self._now())
        closed.addCallback(lambda _: self._let_go(key[0]))
        closed.addErrback(lambda failure: _log.failure("an exchange was not closed", failure))


class _Waiter:
    """One connection that waits."""

    key: Key
    timer: Any

    def __init__(self, channel: Any, request: WebhookRequest, left: Callable[[_Waiter], None]) -> None:
        assert isinstance(channel, Answers)
        self.channel = channel
        self.request = request
        self.answer: Deferred[WebhookResponse] = Deferred()
        self._left = left
        self.answer.addErrback(self._hung_up)

    def finish(self, response: WebhookResponse) -> None:
        """Answer."""
        if self.timer.active():
            self.timer.cancel()
        if not self.answer.called:
            self.answer.callback(response)

    def render(self, now: Callable[[], float]) -> Callable[[tuple[Claim, ...]], tuple[bytes, int]]:
        """What makes the response of the replies, and says how many of them it carries; pure."""
        channel, request = self.channel, self.request
        at = now()

        def rendered(claims: tuple[Claim, ...]) -> tuple[bytes, int]:
            outgoing = tuple(_outgoing(claim, at) for claim in claims)
            carried = channel.carries(outgoing) if isinstance(channel, CarriesSome) else len(outgoing)
            return msgspec.json.encode(channel.answer(request, outgoing[:carried])), carried

        return rendered

    def _hung_up(self, failure: Failure) -> Failure:
        failure.trap(CancelledError)
        if self.timer.active():
            self.timer.cancel()
        self._left(self)
        return failure


def _outgoing(claim: Claim, now: float) -> Outgoing:
    return Outgoing(
        id=claim.id,
        address=claim.address,
        part=claim.message.parts[0],
        context=claim.context,
        cause=claim.cause,
        reply_to=claim.message.reply_to,
        metadata=claim.message.metadata,
        now=now,
    )
