"""Connections in memory: real protocols on both ends, bytes between them, time on a `task.Clock`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, UserError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITransport, IConsumer, IPushProducer)
class WireEnd:
    """One end of a connection; what is written here arrives at the other end when the clock moves on.

    `alive` tells whether the process at this end still runs: a dead one hears nothing.
    """

    other: WireEnd
    protocol: Any

    def __init__(self, clock: Clock, alive: Callable[[], bool], host: IPv4Address, peer: IPv4Address) -> None:
        self._clock = clock
        self._alive = alive
        self._host = host
        self._peer = peer
        self.disconnecting = False
        self._told = False
        self._paused = False
        self._coming: deque[bytes | None] = deque()

    def write(self, data: bytes) -> None:
        """Send `data`, unless this end has closed."""
        if not self.disconnecting:
            self.other._send(bytes(data))

    def writeSequence(self, data: Any) -> None:
        """Send all of `data`."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close behind what was written."""
        if not self.disconnecting:
            self.disconnecting = True
            self._send(None)
            self.other._send(None)

    abortConnection = stopProducing = loseConnection

    def pauseProducing(self) -> None:
        """Let nothing arrive for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Let arrive what was held back, and all that follows."""
        self._paused = False
        self._clock.callLater(0, self._arrive)

    def _send(self, data: bytes | None) -> None:
        """Put `data`, or the end, on the way to this end."""
        self._coming.append(data)
        self._clock.callLater(0, self._arrive)

    def _arrive(self) -> None:
        while self._coming and not self._paused and self._alive() and not self._told:
            data = self._coming.popleft()
            if data is None:
                self._told = self.disconnecting = True
                self.protocol.connectionLost(Failure(ConnectionDone()))
            else:
                self.protocol.dataReceived(data)

    def getHost(self) -> IPv4Address:
        """The address of this end."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """The address of the other end."""
        return self._peer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nothing is ever held back, so whoever produces may go on."""
        assert streaming, "only push producers are expected here"

    def unregisterProducer(self) -> None:
        """Nothing was done for the producer."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no delay."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing ages."""


def _always() -> bool:
    return True


def join(clock: Clock, near: Any, far: Any, near_alive: Callable[[], bool] = _always) -> WireEnd:
    """Connect two protocols; `near`, whose end it returns, is of a process that may die."""
    addresses = IPv4Address("TCP", "203.0.113.9", 40_000), IPv4Address("TCP", "127.0.0.1", 80)
    one = WireEnd(clock, near_alive, *addresses)
    two = WireEnd(clock, _always, *reversed(addresses))
    one.other, two.other = two, one
    one.protocol, two.protocol = near, far
    far.makeConnection(two)
    near.makeConnection(one)
    return one


class ProcessReactor:
    """What one process has of a reactor: the world's clock, and connections to `listener()`.

    After `die()` nothing of the process happens any more: its timers do not fire, it hears nothing,
    and the other side finds the connection closed. `refuses` makes new connections fail.
    """

    def __init__(self, clock: Clock, listener: Callable[[], Any]) -> None:
        self._clock = clock
        self._listener = listener
        self._ends: list[WireEnd] = []
        self.nameResolver = _NoNames()
        self.alive = True
        self.refuses = False

    def die(self) -> None:
        """End as by SIGKILL."""
        self.alive = False
        for end in self._ends:
            end.loseConnection()

    def seconds(self) -> float:
        """The time."""
        return self._clock.seconds()

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any, **kw: Any) -> IDelayedCall:
        """Call `function` later, if this process lives then."""
        return self._clock.callLater(delay, self._call, function, args, kw)

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Call `function` now: there is one thread only."""
        self._call(function, args, kw)

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]) -> None:
        if self.alive:
            function(*args, **kw)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        """Connect to the listener, whatever `host` and `port` are."""
        connector = _Connector(factory)
        factory.doStart()
        factory.startedConnecting(connector)
        self.callLater(0, self._connect, connector)
        return connector

    def _connect(self, connector: _Connector) -> None:
        if connector.stopped:
            return
        if self.refuses:
            connector.factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            return
        near = connector.factory.buildProtocol(None)
        self.join(near, self._listener().buildProtocol(IPv4Address("TCP", "203.0.113.9", 40_000)))

    def join(self, near: Any, far: Any) -> None:
        """Connect a protocol of this process with one of the world."""
        self._ends.append(join(self._clock, near, far, lambda: self.alive))


class _NoNames:
    """A resolver that knows no name: addresses have to be written as such."""

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *args: Any) -> None:
        """Find nothing."""
        receiver.resolutionBegan(self)
        receiver.resolutionComplete()


class _Connector:
    """A connection attempt."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.stopped = False

    def stopConnecting(self) -> None:
        """Give the attempt up."""
        if not self.stopped:
            self.stopped = True
            self.factory.clientConnectionFailed(self, Failure(UserError()))

    disconnect = stopConnecting


class Asked(Protocol):
    """A client's side of one HTTP request; `status` is None until a whole answer is there."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self.closed = False

    def connectionMade(self) -> None:
        """Write the request."""
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Keep the answer."""
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server closed, or died."""
        self.closed = True

    def hang_up(self) -> None:
        """Go away without waiting for the answer."""
        assert self.transport is not None
        self.transport.loseConnection()

    @property
    def status(self) -> int | None:
        """The status of the answer."""
        whole = self._whole()
        return None if whole is None else int(whole[0].split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        """The body of the answer."""
        whole = self._whole()
        return b"" if whole is None else whole[1]

    @property
    def answer(self) -> bytes:
        """All bytes that came back."""
        return self._received

    def _whole(self) -> tuple[bytes, bytes] | None:
        head, found, body = self._received.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if found and line.startswith(b"content-length:") and len(body) >= int(line[15:]):
                return head, body
        return None
