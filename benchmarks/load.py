"""
A process that sends signed webhooks over keep-alive connections and times the answers.

It prints ``ready`` when all requests are prepared, begins at a line on its standard input, and
prints what it saw as JSON: statuses, latencies in seconds, when each message was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, deque

from wire import Reader, webhook


class Client(asyncio.Protocol):
    """One connection: the next request when the last one is answered."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._reader = Reader()
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def next(self) -> None:
        """Send what is next, when it is its time."""
        wait = self._run.wait()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.send)
        else:
            self.send()

    def send(self) -> None:
        if not self._run.left:
            return
        number, request = self._run.left.popleft()
        self._sent_at = self._run.sent[number] = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for head, _ in self._reader.feed(data):
            self._run.answered(head[9:12].decode(), time.monotonic() - self._sent_at)
            self.next()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.broken()


class Run:
    """All messages of one run, at most `rate` of them a second (0: as fast as they are answered)."""

    def __init__(self, requests: list[tuple[int, bytes]], rate: float) -> None:
        self.left = deque(requests)
        self.sent: dict[int, float] = {}
        self._open = len(requests)
        self._rate = rate
        self._due = 0.0
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []

    def wait(self) -> float:
        if not self._rate:
            return 0.0
        now = time.monotonic()
        self._due = max(self._due + 1 / self._rate, now - 0.1)
        return self._due - now

    async def done(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        made = [
            await loop.create_connection(lambda: Client(self), "127.0.0.1", port) for _ in range(connections)
        ]
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        for _, client in made:
            client.next()
        await self._done

    def answered(self, status: str, seconds: float) -> None:
        self._statuses[status] += 1
        self._latencies.append(seconds)
        self._open -= 1
        if not self._open:
            self._done.set_result(None)

    def broken(self) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError("the server closed a connection"))

    def seen(self) -> dict:
        return {
            "statuses": self._statuses,
            "latencies": self._latencies,
            "sent": self.sent,
        }


def main() -> None:
    options = argparse.ArgumentParser()
    for name, kind in (("port", int), ("first", int), ("count", int), ("people", int)):
        options.add_argument(f"--{name}", type=kind, required=True)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--rate", type=float, default=0.0)
    options.add_argument(
        "--apart", type=int, default=1, help="between the numbers of two people; as many as pages: all on one"
    )
    given = options.parse_args()
    now = time.time()
    numbers = range(given.first, given.first + given.count)
    run = Run(
        [(number, webhook(number, number % given.people * given.apart, now)) for number in numbers],
        given.rate,
    )
    asyncio.run(run.done(given.port, given.connections))
    json.dump(run.seen(), sys.stdout)


if __name__ == "__main__":
    main()
