"""Work in lanes: one piece at a time in each, many lanes at once, and no lane before its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from .waiting import all_fired

Work: TypeAlias = Callable[[str], Coroutine[Any, Any, bool]]
"""Does the next piece of a lane; whether there may be more."""


class Lanes:
    """Runs `work` in every lane that is woken, in `most` lanes at once.

    A lane that is woken while it is at work goes on afterwards, behind those that wait. `stumbled` is
    told of work that failed; who wants it tried again wakes the lane.
    """

    def __init__(self, work: Work, most: int, stumbled: Callable[[str, Failure], None]) -> None:
        self.most = most
        self.stopped = False
        self._work = work
        self._stumbled = stumbled
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._working: dict[str, Deferred[Any]] = {}
        self._woken: set[str] = set()
        self._pumping = False
        self._seconds: Callable[[], float] | None = None
        self._waiting_since: dict[str, float] = {}

    def time_waits(self, seconds: Callable[[], float], waited: Callable[[str, float], None]) -> None:
        """Tell `waited` how long each lane had to wait before it was at work."""
        self._seconds = seconds
        self._waited = waited

    def wake(self, lane: str) -> None:
        """There may be work in this lane."""
        if self.stopped or lane in self._queued:
            return
        if lane in self._working:
            self._woken.add(lane)
            return
        self._queue.append(lane)
        self._queued.add(lane)
        if self._seconds is not None:
            self._waiting_since[lane] = self._seconds()
        self._pump()

    def is_busy(self, lane: str) -> bool:
        """Whether this lane is at work, or about to be."""
        return lane in self._working or lane in self._queued

    def would_begin(self, lane: str) -> bool:
        """Whether work in this lane would begin as soon as it is woken."""
        return not (self.stopped or self._queue or len(self._working) >= self.most or self.is_busy(lane))

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what is at work has ended."""
        self.stopped = True
        self._queue.clear()
        self._queued.clear()
        self._waiting_since.clear()
        return all_fired(self._working.values())

    def give_up(self) -> None:
        """Cancel what is at work."""
        for work in list(self._working.values()):
            work.cancel()

    def _pump(self) -> None:
        if self._pumping:
            # Called from work that began or ended at once: the loop below it goes on.
            return
        self._pumping = True
        try:
            while self._queue and len(self._working) < self.most:
                lane = self._queue.popleft()
                self._queued.discard(lane)
                if self._seconds is not None and lane in self._waiting_since:
                    self._waited(lane, self._seconds() - self._waiting_since.pop(lane))
                begin: Deferred[None] = Deferred()
                working = Deferred.fromCoroutine(self._begin(lane, begin))
                # It counts as working before it does anything, so that nothing it does starts it twice.
                self._working[lane] = working
                working.addBoth(self._worked, lane)
                begin.callback(None)
        finally:
            self._pumping = False

    async def _begin(self, lane: str, begin: Deferred[None]) -> bool:
        await begin
        return await self._work(lane)

    def _worked(self, more: bool | Failure, lane: str) -> None:
        self._working.pop(lane, None)
        if isinstance(more, Failure):
            if not more.check(CancelledError):
                self._stumbled(lane, more)
            more = False
        woken = lane in self._woken
        self._woken.discard(lane)
        if more or woken:
            self.wake(lane)
        self._pump()
