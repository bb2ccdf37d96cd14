"""
What counting costs: CPU per webhook with the meter of Prometheus, and with none.

    python benchmarks/counting.py

Each round makes the calls of one message from its webhook to its reply, as `service`, `intake`,
`conversation` and `metered` make them, and nothing else; the best of several rounds counts, since
others use the machine as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from klein_channels.meter import UNCOUNTED, Meter
from klein_channels.prometheus import Prometheus

MESSAGES = 20_000
ROUNDS = 7


def one_message(meter: Meter, number: int) -> None:
    """The calls for one message and its one reply."""
    meter.received("facebook", "1234567890", "message")
    meter.acknowledged("facebook", 0.002)
    meter.waited("agent", "facebook", 0.0)
    meter.turn_began("facebook", number)
    meter.turn_ended("facebook", number, "done")
    meter.waited("rate_limit", "facebook", 0.0)
    meter.sent("facebook", "1234567890", "text", 0.1)


def cpu_per_message(meter: Meter) -> float:
    """Microseconds of CPU for one message: the best round."""

    def once(work: Callable[[Meter, int], None]) -> float:
        began = time.process_time()
        for number in range(MESSAGES):
            work(meter, number)
        return (time.process_time() - began) / MESSAGES * 1e6

    return min(once(one_message) for _ in range(ROUNDS))


def main() -> None:
    """Print both."""
    counted = cpu_per_message(Prometheus(time.perf_counter, ["facebook"]))
    print(f"counted: {counted:.2f} us of CPU per message; not counted: {cpu_per_message(UNCOUNTED):.2f} us")


if __name__ == "__main__":
    main()
