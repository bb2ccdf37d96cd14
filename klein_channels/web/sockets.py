# mypy: allow-untyped-calls
"""
The door for web sockets: who may come in is decided before the upgrade, and how much they may bring after.

twisted.web.websocket keeps a message in memory until it is whole, sends no pings, and raises when it is
used behind the end; all of that is bounded here. A socket stays counted as the connection that it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from ..channel import Channel
from ..model import WebhookRequest, WebhookResponse
from ..policy import Policy
from .translate import frame, read_request

_log = Logger()
TOO_BIG, TOO_SLOW = 1009, 1008
ONE_READ = 1 << 16
"""Bytes that may come at once, of several messages or one."""
_NO_SOCKET = WebhookResponse(
    status=426, body=b"Upgrade Required", headers=((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
)


class Opened(Protocol):
    """What a socket tells of itself."""

    def received(self, frame: str | bytes) -> None:
        """A message is here."""

    def lost(self) -> None:
        """It is closed."""


class OpensSockets(Protocol):
    """What decides about handshakes, and takes the sockets."""

    def refusal(self, channel: Channel, request: WebhookRequest) -> WebhookResponse | None:
        """The answer to a handshake that is not let in."""

    def opened(self, channel: Channel, request: WebhookRequest, name: str, wire: Any) -> Opened:
        """A handshake was let in."""


class SocketDoor(Resource):
    """The URL of one channel's sockets."""

    isLeaf = True

    def __init__(
        self,
        opens: OpensSockets,
        channel: Channel,
        *,
        public_url: str,
        policy: Policy,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._opens = opens
        self._channel = channel
        # What a handshake is signed over: https is wss, http is ws.
        self._public_url = public_url.replace("http", "ws", 1)
        self._policy = policy
        self._clock = clock
        self._now = now

    def render_GET(self, request: Any) -> bytes | int:
        """Let a socket in, or answer why not."""
        if (request.getHeader(b"upgrade") or b"").lower() != b"websocket":
            return frame(request, _NO_SOCKET)
        value = read_request(request, self._public_url, self._now())
        refusal = self._opens.refusal(self._channel, value)
        if refusal is not None:
            return frame(request, refusal)
        connection = request.channel
        socket = _Socket(connection, self._policy, self._clock)
        result: bytes | int = WebSocketResource(_Once(socket)).render_GET(request)
        if socket.upgraded:
            connection.dataReceived = socket.guarded(connection.dataReceived)
            name = uuid.uuid4().hex
            socket.opened = self._opens.opened(self._channel, value, name, socket)
        return result


class _Once:
    """The factory of one socket, as twisted.web.websocket wants one."""

    def __init__(self, socket: _Socket) -> None:
        self._socket = socket

    def buildProtocol(self, request: Any) -> _Socket:
        return self._socket


class _Socket:
    """One socket: a `twisted.web.websocket.WebSocketProtocol`, and the `Wire` of what it belongs to."""

    opened: Opened | None = None
    upgraded = False
    _transport: Any

    def __init__(self, connection: Any, policy: Policy, clock: IReactorTime) -> None:
        self._connection = connection
        self._policy = policy
        self._clock = clock
        self._over = False
        self._unread = 0
        self._unsent = 0
        self._last = clock.seconds()
        self._ping: IDelayedCall | None = None

    # What twisted.web.websocket calls

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """The upgrade has begun."""
        self._transport = transport

    def negotiationFinished(self) -> None:
        """The upgrade is done."""
        self.upgraded = True
        self._ping = self._clock.callLater(self._policy.socket_ping, self._check)

    def textMessageReceived(self, message: str) -> None:
        """A message of text is whole."""
        self._received(message, len(message.encode("utf-8", "surrogatepass")))

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """A message of bytes is whole."""
        self._received(bytes(data), len(data))

    def pongReceived(self, payload: bytes) -> None:
        """The other side is there."""
        self._unread = 0

    def connectionLost(self, reason: Failure) -> None:
        """It is closed."""
        self._over = True
        if self._ping is not None and self._ping.active():
            self._ping.cancel()
        if self.opened is not None:
            self.opened.lost()

    # Limits

    def guarded(self, receive: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """`receive` within bounds: nothing comes in after the end, and no message without one."""

        def received(data: bytes) -> None:
            if self._over:
                return
            self._last = self._clock.seconds()
            self._unread += len(data)
            if self._unread > self._policy.socket_message + ONE_READ:
                self.close(TOO_BIG)
                return
            try:
                receive(data)
            except Exception as error:
                # The other side breaks the protocol, which the library does not always bear.
                _log.info("a socket was torn down: {error}", error=type(error).__name__)
                self._tear_down()

        return received

    def _received(self, message: str | bytes, size: int) -> None:
        self._unread = 0
        if self._over:
            return
        if size > self._policy.socket_message:
            self.close(TOO_BIG)
        elif self.opened is not None:
            self.opened.received(message)

    def _check(self) -> None:
        """Ping, unless nothing was heard for too long."""
        if self._over:
            return
        if self._clock.seconds() - self._last >= self._policy.socket_idle:
            self._tear_down()
            return
        self._guard(self._transport.ping)
        self._ping = self._clock.callLater(self._policy.socket_ping, self._check)

    # The wire

    def send(self, message: str | bytes) -> None:
        """Send it; a socket that owes too much is closed."""
        if self._over:
            return
        self._unsent = self._unsent + len(message) if getattr(self._connection, "blocked", False) else 0
        if self._unsent > self._policy.socket_queue:
            _log.info("a socket was torn down: its other side takes too little")
            self._tear_down()
        elif isinstance(message, str):
            self._guard(self._transport.sendTextMessage, message)
        else:
            self._guard(self._transport.sendBytesMessage, message)

    def close(self, code: int) -> None:
        """Close it behind what was sent; one that does not go is torn down by the site."""
        if self._over:
            return
        self._over = True
        self._guard(self._transport.loseConnection, code)
        farewell = getattr(self._connection, "farewell", None)
        if farewell is not None:
            farewell()

    def _guard(self, call: Callable[..., None], *args: Any) -> None:
        """Call what raises when the other side has closed meanwhile."""
        try:
            call(*args)
        except Exception:
            self._tear_down()

    def _tear_down(self) -> None:
        self._over = True
        self._connection.transport.abortConnection()
