"""
A process that plays the Graph, as cheaply as can be: every send succeeds after a latency.

It notes when each message was answered; ``GET /answered`` tells how many were, ``GET /times`` when.
Latency in seconds and port come from the command line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from wire import Reader, number_of

ARRIVED: dict[int, float] = {}
REPEATED: list[int] = []


class Graph(asyncio.Protocol):
    """One connection of the server under test."""

    latency = 0.0

    def __init__(self) -> None:
        self._reader = Reader()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for head, body in self._reader.feed(data):
            if head.startswith(b"POST"):
                self._take(body)
            else:
                told = {"answered": len(ARRIVED), "repeated": len(REPEATED)}
                self._answer(json.dumps(ARRIVED if b"/times" in head else told).encode())

    def _take(self, body: bytes) -> None:
        asked = json.loads(body)
        answer = b'{"recipient_id":"%s","message_id":"m_reply"}' % asked["recipient"]["id"].encode()
        if "message" in asked:
            number = number_of(asked["message"]["text"])
            if number in ARRIVED:
                REPEATED.append(number)
            ARRIVED[number] = time.monotonic()
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self._answer, answer)
        else:
            self._answer(answer)

    def _answer(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Graph, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    Graph.latency = float(sys.argv[2])
    asyncio.run(serve(int(sys.argv[1])))
