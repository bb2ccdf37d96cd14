# mypy: allow-untyped-calls
"""
What bounds a request before anybody looks at it: the size of its body, and time.

`Request` refuses long bodies and works under any `twisted.web.server.Site`. `Connection` adds the
deadlines. It keeps one time, by when the client must have done its part; the site looks at all
connections once a second, which costs a request nothing, where a pair of delayed calls would.
"""

from __future__ import annotations

import math
from enum import Enum
from http import HTTPStatus
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from ..policy import Policy
from .posts import Post, read_post

IN_MEMORY = 100_000
"""Bytes of a body that are kept in memory; what is longer goes to a temporary file."""
LINGER = 2.0
"""Seconds in which a client that is still sending may read why it was refused."""
GRACE = 15.0
"""Seconds after which a connection that does not close in peace is torn down."""
_REASONS = {413: "Content Too Large"}


class Phase(Enum):
    """Whose turn it is on a connection."""

    WAITING = "no byte of a request is here"
    HEADERS = "a request has begun"
    BODY = "its headers are complete"
    HANDLING = "it is ours to answer"
    CLOSING = "nothing that still comes is read"


class Request(server.Request):
    """A request whose body is refused with 413 as soon as it is, or says it is, too long.

    Under a Site of ours the limit is that of the path, elsewhere it is `max_body` (bytes).
    """

    content: Any
    max_body = Policy().max_body
    refused = False
    _limit = 0

    def gotLength(self, length: int | None) -> None:
        """Choose where the body goes; `length` is None where it comes in chunks."""
        self._limit = getattr(self.channel, "body_limit", self.max_body)
        self.content = _room_for(length)
        if length is not None and length > self._limit:
            self.refuse(413)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.refused:
            return
        if self.content.tell() + len(data) > self._limit:
            self.refuse(413)
        else:
            self.content.write(data)

    def process(self) -> None:
        """Look for the resource, unless this request has its answer."""
        if not self.refused:
            super().process()

    def refuse(self, status: int) -> None:
        """Answer now, whatever else would come, and close the connection."""
        self.refused = True
        if isinstance(self.channel, Connection):
            self.channel.body_refused()
        self.content.close()
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"Expect")  # or the channel would still say "100 Continue"
        self.clientproto = b"HTTP/1.1"
        body = reason(status)
        self.setResponseCode(status, body)
        self.setHeader(b"Connection", b"close")
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        linger = getattr(self.channel, "linger", self.channel.loseConnection)
        linger()


class Limiting(Protocol):
    """What a connection asks of the site that it came to."""

    policy: Policy
    draining: bool
    reactor: Any

    def opened(self, connection: Connection) -> bool:
        """Count it in; False if it is one too many."""

    def closed(self, connection: Connection) -> None:
        """Count it out."""

    def peer_is_known(self, connection: Connection) -> bool:
        """Count it under the address that is known by now; False if it is one too many there."""

    def body_limit(self, path: bytes) -> int:
        """Bytes that a body for `path` may have."""

    def body_refused(self, path: bytes) -> None:
        """Learn that a body for `path` had more."""

    def hot_limit(self, path: bytes) -> int | None:
        """The same for a path whose POSTs go the short way, None for all others."""

    def take(self, post: Post, client: str) -> Deferred[bytes]:
        """The answer to a POST that goes the short way; never fails."""


class Taken:
    """A request that went the short way, in the place of a `Request` among those of its connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    def connectionLost(self, reason: Failure) -> None:
        """Nobody is left to answer."""
        self._connection = None

    def answer(self, answer: bytes) -> None:
        """Answer, if the client is still there, and let the connection go on."""
        if self._connection is not None:
            self._connection.transport.write(answer)
            self._connection.requestDone(self)


class Connection(HTTPChannel):
    """One connection to a `Site` of ours, with a time by which the client must have done its part."""

    site: Limiting
    transport: Any
    phase = Phase.WAITING
    deadline = math.inf
    body_limit = 0
    blocked = False
    _peer_may_change = True
    _host: Any = None
    _client: str | None = None
    _taking = False

    def connectionMade(self) -> None:
        """Begin to count; a connection too many is torn down."""
        super().connectionMade()
        self.enter(Phase.WAITING, self.site.policy.header_deadline)
        if not self.site.opened(self):
            self.drop()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Forget the connection, and tell its requests."""
        self.site.closed(self)
        super().connectionLost(reason)

    def getHost(self) -> Any:
        """Where the client has connected to; asked of the kernel once, not with every request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def enter(self, phase: Phase, seconds: float) -> None:
        """Begin `phase`, which the client must end within `seconds`."""
        self.phase = phase
        self.deadline = self.site.reactor.seconds() + seconds

    def dataReceived(self, data: bytes) -> None:
        """Parse; a client that was told to go is not heard any more."""
        if self._peer_may_change:
            self._peer_may_change = False
            if not self.site.peer_is_known(self):
                self.drop()
        if self.phase is Phase.CLOSING:
            return
        if self.phase is Phase.WAITING and not self._taking and self._take(data):
            return
        try:
            super().dataReceived(data)
        except ValueError:  # a number with thousands of digits, for example
            self.turn_away(400)
        if self.phase is Phase.WAITING and (self._buffer or self.requests):
            self.enter(Phase.HEADERS, self.site.policy.header_deadline)

    def _take(self, data: bytes) -> bool:
        """Let a whole POST for a hot path go the short way; False, and nothing, for anything else."""
        post = read_post(data, self.site.hot_limit)
        if post is None:
            return False
        if self._client is None:
            self._client = getattr(self.transport.getPeer(), "host", "")
        self.phase = Phase.HANDLING
        self.deadline = math.inf
        # As the parser does behind a request: what comes before the answer waits.
        self._handlingRequest = True
        self.setRawMode()
        if post.rest:
            self._dataBuffer.append(post.rest)
        taken = Taken(self)
        self.requests.append(taken)
        # Of several in one piece, the parser takes the others: it does not go deeper with each.
        self._taking = True
        try:
            self.site.take(post, self._client).addCallback(taken.answer)
        finally:
            self._taking = False
        return True

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header line that is too long."""
        self.turn_away(431)

    def allHeadersReceived(self) -> None:
        """Give the body its limit and its time."""
        if self.length != 0:
            self.body_limit = self.site.body_limit(self._path.split(b"?", 1)[0])
            self.enter(Phase.BODY, self.site.policy.body_deadline)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Hand the request over; from here the time is ours."""
        if self.phase is not Phase.CLOSING:
            self.phase = Phase.HANDLING
            self.deadline = math.inf
            super().allContentReceived()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer; the last one of a connection says that it is."""
        if self.site.draining:
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def requestDone(self, request: Request | Taken) -> None:
        """Wait for the next request, or close."""
        if self.persistent and not self.site.draining:
            self.enter(Phase.WAITING, self.site.policy.idle_timeout)
        else:
            self.persistent = 0
            self.enter(Phase.CLOSING, GRACE)
        super().requestDone(request)

    def body_refused(self) -> None:
        """Tell the site of a body that is too long."""
        self.site.body_refused(self._path.split(b"?", 1)[0])

    def overdue(self) -> None:
        """End what the client did not end in time."""
        if self.phase is Phase.CLOSING:
            self.drop()
        elif self.phase is Phase.WAITING:
            self.close()
        else:
            self.turn_away(408)

    def turn_away(self, status: int) -> None:
        """Say why, and close."""
        if self.phase is not Phase.CLOSING:
            self.transport.write(refusal(status))
            self.close()

    def close(self) -> None:
        """Close when what was written is sent."""
        self.enter(Phase.CLOSING, GRACE)
        self.loseConnection()

    def drop(self) -> None:
        """Tear the connection down."""
        self.phase = Phase.CLOSING
        self.deadline = math.inf
        self.transport.abortConnection()

    def farewell(self) -> None:
        """Tear down a socket that was closed and does not go."""
        self.enter(Phase.CLOSING, GRACE)

    def pauseProducing(self) -> None:
        """The other side takes nothing for now; who writes on looks at `blocked`."""
        self.blocked = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """What was written is sent."""
        self.blocked = False
        super().resumeProducing()

    def linger(self) -> None:
        """Discard what comes for a while.

        Closing at once would reset the connection of a client that is still sending, and the
        reset may overtake the answer.
        """
        self.persistent = 0
        self.enter(Phase.CLOSING, LINGER)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.turn_away(400)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        """Leave the bytes to `protocol`; the connection is still counted until it is lost."""
        super()._protocolUpgradeForWebsockets(protocol)

        def connection_lost(reason: Failure) -> None:
            self.site.closed(self)
            protocol.connectionLost(reason)

        self.connectionLost = connection_lost  # type: ignore[method-assign]


def reason(status: int) -> bytes:
    """The words for `status`."""
    return (_REASONS.get(status) or HTTPStatus(status).phrase).encode()


def refusal(status: int) -> bytes:
    """A whole answer, for a client whose request was not read to its end."""
    words = reason(status)
    return (
        b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status, words, len(words), words)
    )


def _room_for(length: int | None) -> IO[bytes]:
    if length is not None and length <= IN_MEMORY:
        return BytesIO()
    return SpooledTemporaryFile(max_size=IN_MEMORY)
