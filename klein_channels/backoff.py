"""When a send is tried again: doubling waits with jitter, the platform's word, and an end."""

from __future__ import annotations

from .model import Value

_MOST_DOUBLINGS = 1023
"""2.0 ** 1024 is no float any more."""


class Backoff(Value, frozen=True, kw_only=True):
    """The patience with one kind of failure; knows no clock and no chance. All in seconds.

    Waits double from `first` to `longest`; nothing is tried later than `patience` after the first try.
    """

    first: float = 1.0
    longest: float = 300.0
    patience: float = 86_400.0

    def next_attempt(
        self, attempt: int, *, first_at: float, now: float, retry_at: float | None = None, jitter: float = 0.0
    ) -> float | None:
        """The time of the try after number `attempt` (from 1), which failed at `now`; None to give up.

        `first_at` is the time of the first try, `retry_at` the earliest that the platform allows.
        `jitter`, from 0 up to 1, shortens the wait to as little as half: those who failed together
        shall not come back together.
        """
        doublings = min(max(attempt - 1, 0), _MOST_DOUBLINGS)
        wait = min(self.first * 2.0**doublings, self.longest) * (1.0 - jitter / 2)
        at = now + wait if retry_at is None else max(now + wait, retry_at)
        return at if at <= first_at + self.patience else None
