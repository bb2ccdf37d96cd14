"""Work in lanes: one piece at a time in each, many lanes at once, and no lane before its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from .waiting import all_fired

Work: TypeAlias = Callable[[str], Coroutine[Any, Any, bool]]
"""Does the next piece of a lane; whether there may be more."""


class Line(Protocol):
    """The lanes that wait for work, in an order of its own; no lane is in it twice."""

    ready: Callable[[], None]
    """What is called when one that had to wait may begin; `Lanes` sets it."""

    def add(self, lane: str) -> bool:
        """Let `lane` wait; False if it is not taken in, now that there are too many."""

    def next(self) -> str | None:
        """Take out the lane whose turn it is; None if none may begin now."""

    def would_begin(self, lane: str) -> bool:
        """Whether `lane` would be the next if it came now."""

    def ended(self, lane: str) -> None:
        """The work of a lane that was taken out has ended."""

    def clear(self) -> None:
        """Forget all of them."""

    def __contains__(self, lane: object) -> bool: ...


class FirstCome:
    """Who comes first begins first."""

    def __init__(self) -> None:
        self.ready: Callable[[], None] = lambda: None
        self._lanes: deque[str] = deque()
        self._known: set[str] = set()

    def add(self, lane: str) -> bool:
        """Put it at the end."""
        self._lanes.append(lane)
        self._known.add(lane)
        return True

    def next(self) -> str | None:
        """The one that waits longest."""
        if not self._lanes:
            return None
        lane = self._lanes.popleft()
        self._known.discard(lane)
        return lane

    def would_begin(self, lane: str) -> bool:
        """If nobody waits."""
        return not self._lanes

    def ended(self, lane: str) -> None:
        """Nothing depends on it."""

    def clear(self) -> None:
        """Forget all of them."""
        self._lanes.clear()
        self._known.clear()

    def __contains__(self, lane: object) -> bool:
        return lane in self._known


class Lanes:
    """Runs `work` in every lane that is woken, in `most` lanes at once, in the order of `line`.

    A lane that is woken while it is at work goes on afterwards, behind those that wait. `stumbled` is
    told of work that failed; who wants it tried again wakes the lane.
    """

    def __init__(
        self, work: Work, most: int, stumbled: Callable[[str, Failure], None], line: Line | None = None
    ) -> None:
        self.most = most
        self.stopped = False
        self._work = work
        self._stumbled = stumbled
        self._line: Line = FirstCome() if line is None else line
        self._line.ready = self._pump
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
        if self.stopped or lane in self._line:
            return
        if lane in self._working:
            self._woken.add(lane)
            return
        if self._line.add(lane) and self._seconds is not None:
            self._waiting_since[lane] = self._seconds()
        self._pump()

    def is_busy(self, lane: str) -> bool:
        """Whether this lane is at work, or about to be."""
        return lane in self._working or lane in self._line

    def would_begin(self, lane: str) -> bool:
        """Whether work in this lane would begin as soon as it is woken."""
        full = self.stopped or len(self._working) >= self.most
        return not (full or self.is_busy(lane)) and self._line.would_begin(lane)

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what is at work has ended."""
        self.stopped = True
        self._line.clear()
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
            while len(self._working) < self.most:
                lane = self._line.next()
                if lane is None:
                    break
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
        self._line.ended(lane)
        if isinstance(more, Failure):
            if not more.check(CancelledError):
                self._stumbled(lane, more)
            more = False
        woken = lane in self._woken
        self._woken.discard(lane)
        if more or woken:
            self.wake(lane)
        self._pump()
