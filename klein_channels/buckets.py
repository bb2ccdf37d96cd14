"""
Token buckets: how often something may happen, with few of them remembered.

A bucket is one number, the time at which it will be full again. One that is full is forgotten, which
changes nothing; so only those are remembered that were used lately. Times are seconds.
"""

from __future__ import annotations

REMEMBERED = 20_000
"""Buckets of one kind that are remembered at most; of more, those with the most tokens are forgotten."""


class Buckets:
    """Buckets of `burst` tokens each, refilled by `rate` tokens a second; any hashable is the name of one.

    A rate of 0 is no limit at all.
    """

    def __init__(self, burst: float, rate: float, *, remembered: int = REMEMBERED) -> None:
        self._each = 1.0 / rate if rate else 0.0
        self._burst = burst
        self._span = burst * self._each
        self._remembered = remembered
        self._full_at: dict[object, float] = {}
        self._latest = float("-inf")

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, name: object, now: float, *, need: float = 1.0, pace: float = 1.0) -> float:
        """The seconds until there are `need` tokens, at `pace` times the rate (over 0, up to 1)."""
        self._look_at(now)
        full_at = self._full_at.get(name)
        if full_at is None:
            return 0.0
        each = self._each / pace
        # What was taken at another pace takes no longer than all of the bucket does at this one.
        full_at = self._full_at[name] = min(full_at, now + (self._burst + 1) * each)
        return max(full_at - now - (self._burst - min(need, self._burst)) * each, 0.0)

    def take(self, name: object, now: float, *, pace: float = 1.0) -> float:
        """Take a token, which may not be there yet: the seconds until it is."""
        if not self._each:
            return 0.0
        self._look_at(now)
        full_at = self._full_at.get(name)
        if full_at is None:
            if len(self._full_at) >= self._remembered:
                self._forget(now)
            full_at = now
        full_at = max(full_at, now) + self._each / pace
        self._full_at[name] = full_at
        return max(full_at - now - self._span, 0.0)

    def give_back(self, name: object, *, pace: float = 1.0) -> None:
        """What a token was taken for did not happen."""
        if name in self._full_at:
            self._full_at[name] -= self._each / pace

    def _look_at(self, now: float) -> None:
        if now < self._latest:
            # The clock was set back: nobody waits for a time that was never meant.
            self._full_at.clear()
        self._latest = now

    def refill(self, name: object) -> None:
        """Let a bucket be full."""
        self._full_at.pop(name, None)

    def _forget(self, now: float) -> None:
        """Forget full buckets and, where these are few, the fuller half of the others."""
        used = sorted(
            ((full_at, name) for name, full_at in self._full_at.items() if full_at > now),
            key=lambda one: one[0],
        )
        if len(used) > self._remembered // 2:
            used = used[len(used) // 2 :]
        self._full_at = {name: full_at for full_at, name in used}
