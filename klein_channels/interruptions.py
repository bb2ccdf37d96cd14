"""Turns that go on and that a new message may put an end to, where a channel wants it so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .errors import KleinChannelsError
from .model import Turn
from .speech import Speech
from .store import EndOfTurn, Store

_log = Logger()


class Interrupted(KleinChannelsError):
    """A new message waits that takes the place of the one that was being answered."""


class _Running(NamedTuple):
    turn: Turn
    speech: Speech
    answering: Deferred[EndOfTurn]
    later: list[IDelayedCall]


class Interruptions:
    """The turns at work in conversations whose channels interrupt; asks the store which are to end."""

    def __init__(self, store: Store, clock: IReactorTime, now: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._now = now
        self._running: dict[str, _Running] = {}

    async def until_interrupted(
        self, turn: Turn, speech: Speech, answering: Coroutine[Any, Any, EndOfTurn]
    ) -> EndOfTurn:
        """How the turn ends; raises `Interrupted` when a new message takes its place before."""
        key = turn.conversation
        running = _Running(turn, speech, Deferred.fromCoroutine(answering), [])
        self._running[key] = running
        # It may have come between the start of the turn and now.
        self.look(key)
        try:
            return await running.answering
        except CancelledError:
            if self._running.get(key) is not running:
                raise Interrupted(f"turn {turn.id} was interrupted") from None
            raise
        finally:
            for timer in running.later:
                timer.cancel()
            if self._running.get(key) is running:
                del self._running[key]

    def look(self, key: str) -> None:
        """Something may have come in this conversation: end the turn there if that is to take its place."""
        running = self._running.get(key)
        if running is not None:
            asked = self._store.interrupting(running.turn)
            asked.addCallback(self._answered, key, running)
            asked.addErrback(lambda failure: _log.failure("interrupting {key}", failure, key=key))

    def _answered(self, until: float | None, key: str, running: _Running) -> None:
        if until is None or self._running.get(key) is not running or running.speech.has_ended:
            return
        wait = until - self._now()
        if wait > 0:
            self._look_later(key, running, wait)
            return
        # Nothing that the agent still says in its defence is heard.
        del self._running[key]
        running.speech.interrupt()
        running.answering.cancel()

    def _look_later(self, key: str, running: _Running, wait: float) -> None:
        """What waits for a time of its own interrupts when that has come."""
        while running.later:
            running.later.pop().cancel()
        running.later.append(self._clock.callLater(wait, self._time_has_come, key, running))

    def _time_has_come(self, key: str, running: _Running) -> None:
        running.later.clear()
        self.look(key)
