"""
The least that can hold the calls of ``live.py``: a bare twisted.web.websocket server that speaks tokens.

It believes everybody, stores nothing, asks no agent and knows no conversation: what is slow here is the
machine. The port comes from the command line.
"""

from __future__ import annotations

import json
import sys
import time

from answers import EVERY, TOKENS
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.websocket import WebSocketResource


class Call:
    """One socket."""

    timer = None

    def negotiationStarted(self, transport) -> None:
        self._transport = transport

    def negotiationFinished(self) -> None:
        """Wait for the caller's words."""

    def textMessageReceived(self, message: str) -> None:
        frame = json.loads(message)
        if frame["type"] == "interrupt":
            self._stop()
        elif frame["type"] == "prompt":
            self._stop()
            self._speak(TOKENS)

    def _speak(self, left: int) -> None:
        if left:
            self._send(f" {time.monotonic_ns()}", last=False)
            self.timer = reactor.callLater(EVERY, self._speak, left - 1)
        else:
            self._send("", last=True)

    def _send(self, token: str, *, last: bool) -> None:
        self._transport.sendTextMessage(json.dumps({"type": "text", "token": token, "last": last}))

    def _stop(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()

    def bytesMessageReceived(self, data: bytes) -> None:
        """Nobody sends bytes."""

    def pongReceived(self, payload: bytes) -> None:
        """Nobody pings."""

    def connectionLost(self, reason) -> None:
        self._stop()


class Calls:
    """The factory of the sockets."""

    def buildProtocol(self, request) -> Call:
        return Call()


class Everywhere(Resource):
    """Any address leads to the sockets."""

    def getChild(self, path: bytes, request):
        return self

    def render_GET(self, request):
        return WebSocketResource(Calls()).render_GET(request)


if __name__ == "__main__":
    reactor.listenTCP(int(sys.argv[1]), Site(Everywhere()), interface="127.0.0.1")
    reactor.run()
