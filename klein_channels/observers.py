"""Those who look on: every event, in order per conversation, on a lane that delays nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .logs import Throttle
from .model import AnyEvent
from .policy import Policy

Observer = Callable[[AnyEvent], Any]
"""May return a Deferred or a coroutine; what it returns or raises changes nothing."""
_log = Logger()


class Observers:
    """Tells observers of events after their commit; an event is told once or, at a crash, not at all.

    `prepare` makes of an event what observers get; it never fails.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        policy: Policy,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        prepare: Callable[[AnyEvent], Deferred[AnyEvent]] = succeed,
    ) -> None:
        self._observers = observers
        self._prepare = prepare
        self._policy = policy
        self._clock = clock
        self._lanes: dict[str, deque[AnyEvent]] = {}
        self._overflows = Throttle(now)

    def tell(self, conversation: str, event: AnyEvent) -> None:
        """Put `event` on the lane of its conversation."""
        if not self._observers:
            return
        lane = self._lanes.get(conversation)
        if lane is None:
            self._lanes[conversation] = deque([event])
            Deferred.fromCoroutine(self._run(conversation)).addErrback(
                lambda failure: _log.failure("observers of {key}", failure, key=conversation)
            )
        elif len(lane) < self._policy.observer_queue:
            lane.append(event)
        elif self._overflows.admit(conversation) is not None:
            _log.warn("observers of {key} are too slow: events are not shown to them", key=conversation)

    async def _run(self, conversation: str) -> None:
        lane = self._lanes[conversation]
        try:
            while lane:
                event = await self._prepare(lane[0])
                for observer in self._observers:
                    await self._show(observer, event)
                lane.popleft()
        finally:
            del self._lanes[conversation]

    async def _show(self, observer: Observer, event: AnyEvent) -> None:
        try:
            shown: Deferred[Any] = maybeDeferred(observer, event)
            shown.addTimeout(self._policy.observer_deadline, self._clock)
            await shown
        except Exception:
            _log.failure("observer {observer} failed", observer=observer)
