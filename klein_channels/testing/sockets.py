"""The other side of a web socket, in memory: shakes hands, sends messages, keeps what comes."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

__all__ = ["SocketClient"]


class SocketClient(Protocol):
    """A client of one socket.

    `status` is that of the answer to its handshake; `messages` are those that came; `closed` is the code
    of the close, or 1006 where there was none.
    """

    def __init__(self, target: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._target = target
        self._headers = headers
        self._head = b""
        self._socket = Connection(ConnectionType.CLIENT)
        self.status: int | None = None
        self.messages: list[str | bytes] = []
        self.closed: int | None = None
        self.pings = 0
        self.answers_pings = True

    def connectionMade(self) -> None:
        """Ask for a socket."""
        lines = [b"GET %s HTTP/1.1" % self._target.encode(), b"Host: bot.example", b"Upgrade: websocket"]
        lines += [b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"]
        lines += [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += [name + b": " + value for name, value in self._headers]
        self._write(b"\r\n".join([*lines, b"", b""]))

    def dataReceived(self, data: bytes) -> None:
        """Read the answer to the handshake, then messages."""
        if self.status is None:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self.status = int(head.split(b" ", 2)[1])
        if self.status == 101 and data:
            self._socket.receive_data(data)
            for event in self._socket.events():
                self._happened(event)

    def _happened(self, event: object) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            self.messages.append(event.data if isinstance(event.data, str) else bytes(event.data))
        elif isinstance(event, Ping):
            self.pings += 1
            if self.answers_pings:
                self._write(self._socket.send(event.response()))
        elif isinstance(event, CloseConnection):
            self.closed = self.closed or event.code
            if self._socket.state is not ConnectionState.CLOSED:
                self._write(self._socket.send(event.response()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.closed = self.closed or 1006

    def send(self, message: str | bytes, *, whole: bool = True) -> None:
        """Send a message, or a piece of one."""
        if isinstance(message, str):
            self._write(self._socket.send(TextMessage(message, message_finished=whole)))
        else:
            self._write(self._socket.send(BytesMessage(message, message_finished=whole)))

    def pong(self) -> None:
        """Send a sign of life that nobody asked for."""
        self._write(self._socket.send(Pong()))

    def raw(self, data: bytes) -> None:
        """Send bytes that may be no frame at all."""
        self._write(data)

    def hang_up(self, code: int | None = None) -> None:
        """Close, with a word or without one."""
        if code is not None:
            self._write(self._socket.send(CloseConnection(code)))
        elif self.transport is not None:
            self.transport.loseConnection()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)
