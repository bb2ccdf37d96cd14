"""
Numbers that grow where things happen, kept as plainly as can be: one thread, no locks, no names.

The hot path pays a look into a dictionary and an addition; who reads them makes of them what it likes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

Labels = tuple[str, ...]


class Tally:
    """Counts, by labels."""

    def __init__(self) -> None:
        self._counts: dict[Labels, float] = {}

    def add(self, *labels: str) -> None:
        """One more."""
        self._counts[labels] = self._counts.get(labels, 0.0) + 1.0

    def show(self, *labels: str) -> None:
        """Let it be there, though nothing was counted: its first rise is seen then."""
        self._counts.setdefault(labels, 0.0)

    def __iter__(self) -> Iterator[tuple[Labels, float]]:
        return iter(list(self._counts.items()))


class Spread:
    """How long things took: counts per upper bound, and the sum (seconds), by labels."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts: dict[Labels, list[float]] = {}

    def add(self, seconds: float, *labels: str) -> None:
        """One more, that took so long."""
        counts = self._counts.get(labels)
        if counts is None:
            # One for each bound, one for what is longer, and the sum.
            counts = self._counts[labels] = [0.0] * (len(self.bounds) + 2)
        counts[bisect_left(self.bounds, seconds)] += 1.0
        counts[-1] += seconds

    def __iter__(self) -> Iterator[tuple[Labels, list[tuple[str, float]], float]]:
        """Labels, the counts up to each bound as Prometheus names them, and the sum."""
        for labels, counts in list(self._counts.items()):
            total = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(_named, self.bounds), "+Inf"), counts[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            yield labels, buckets, counts[-1]


def _named(bound: float) -> str:
    return repr(float(bound))
