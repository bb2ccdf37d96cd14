"""Long lists are done in slices, so that what comes beside them waits for a slice and not for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()
T = TypeVar("T")
AT_ONCE = 100
"""Things that are few: all are done at once."""
SLICE, PAUSE = 5, 0.005
"""Of more, so many between pauses of so many seconds: 1,000 a second. Each begins work elsewhere, in the
store's thread and in agents; without a pause that work would pile up before what comes beside it."""


class Slices(Generic[T]):
    """Does `work` with each thing in the order in which they were taken; `AT_ONCE` of them at once.

    What fails is logged and holds up nothing.
    """

    def __init__(self, work: Callable[[T], None], *, clock: IReactorTime) -> None:
        self._work = work
        self._clock = clock
        self._waiting: deque[T] = deque()
        self._next: IDelayedCall | None = None

    def take(self, things: Sequence[T]) -> None:
        """Do `work` with all of `things`, those that wait already first."""
        idle = not self._waiting
        self._waiting.extend(things)
        if idle:
            self._slice(AT_ONCE if len(things) <= AT_ONCE else SLICE)

    def _slice(self, most: int = SLICE) -> None:
        for _ in range(min(most, len(self._waiting))):
            self._do(self._waiting[0])
            # Taken away when it is done: what is taken meanwhile queues behind it.
            self._waiting.popleft()
        if self._waiting:
            self._next = self._clock.callLater(PAUSE, self._slice)

    def finish(self) -> None:
        """Do the rest at once: there is no later."""
        if self._next is not None and self._next.active():
            self._next.cancel()
            self._slice(len(self._waiting))

    def _do(self, thing: T) -> None:
        try:
            self._work(thing)
        except Exception:
            _log.failure("what follows a commit failed; it starts from the store as well")
