# mypy: allow-untyped-calls
"""
One request and its answer, and what can be said of it for sure when something went wrong.

An `Exchange` stands at both ends of the HTTP client: the client hands the finished request to it (it
is the client's agent), and the answer's body is delivered to it (it is the body's protocol). So it
sees the moment in which a connection is there to be written to, which is what `outcome` turns on:
before it ``not_sent``, after it ``unknown``, and with the last byte of the answer ``answered``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from typing import Protocol as TypingProtocol

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TLSError
from service_identity import CertificateError, VerificationError
from twisted.internet import error
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import Request
from twisted.web.client import URI, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from .model import CallResult
from .secret import redact

# Their texts speak of hosts, ports and certificates, never of a request.
_TELLING = (
    error.ConnectError,
    error.ConnectionClosed,
    error.DNSLookupError,
    TLSError,
    CertificateError,
    VerificationError,
)


class Target:
    """Where a request goes: what the connection wants to know of its URL, and the way there."""

    __slots__ = ("endpoint", "host", "key", "path", "url")

    def __init__(self, url: EncodedURL, endpoint: IStreamClientEndpoint) -> None:
        self.url = _KnownURL(url)
        parsed = URI.fromBytes(self.url.to_text().encode("ascii"))
        self.key = (parsed.scheme, parsed.host, parsed.port)
        self.path = parsed.originForm
        host = f"[{url.host}]" if ":" in url.host else url.host
        usual = url.port == {"http": 80, "https": 443}[url.scheme]
        self.host = (host if usual else f"{host}:{url.port}").encode("ascii")
        self.endpoint = endpoint


class _KnownURL(EncodedURL):
    """A URL that keeps its ASCII form: treq asks for it with each request, and it is costly to make."""

    def __init__(self, url: EncodedURL) -> None:
        super().__init__(
            url.scheme, url.host, url.path, url.query, url.fragment, url.port, url.rooted, url.userinfo
        )
        self._ascii = url.to_text()

    def to_uri(self) -> EncodedURL:
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._ascii


class Body:
    """The bytes of a request, which are in memory."""

    __slots__ = ("content", "length")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)


class _Whole(Request):
    """A request that is written at once: its body, if it has one, is a `Body`."""

    def writeTo(self, transport: Any) -> Deferred[None]:
        """Write all of it, without the apparatus for bodies that are still being made."""
        if self.bodyProducer is None:
            written: Deferred[None] = super().writeTo(transport)
            return written
        self._writeHeaders(transport, b"Content-Length: %d\r\n" % self.bodyProducer.length)
        transport.write(self.bodyProducer.content)
        return succeed(None)


class Sink(TypingProtocol):
    """Takes the body of a good answer piece by piece; what it raises as OSError ends the exchange."""

    most: int
    """Bytes that it takes."""

    def begin(self) -> None:
        """A body begins; what came before is forgotten."""

    def write(self, data: bytes) -> None:
        """The next piece of it."""


@implementer(IAgent)
class Exchange(Protocol):
    """Sends one request to `target` over a connection from `pool`, or a new one.

    `bodiless` are the statuses after whose headers nothing more is read. The body of a good answer
    goes into `sink`, if there is one.
    """

    _connection: Any = None
    _response: Any = None
    _encodings: tuple[bytes, ...] | list[bytes] = ()
    _size = 0
    _over = False

    def __init__(
        self,
        clock: Any,
        pool: HTTPConnectionPool,
        target: Target,
        *,
        connect_timeout: float,
        max_response: int,
        bodiless: frozenset[int] = frozenset(),
        sink: Sink | None = None,
    ) -> None:
        self.clock = clock
        self._pool = pool
        self._target = target
        self._connect_timeout = connect_timeout
        self._max_response = max_response
        self._bodiless = bodiless
        self._chunks: list[bytes] = []
        self._sink = sink
        self._saves = False

    def start(self, send: Callable[..., Deferred[Any]], seconds: float, *args: Any) -> Deferred[CallResult]:
        """Let ``send(self, *args)`` prepare the request; the result comes within `seconds`."""
        self._began = self.clock.seconds()
        self._result: Deferred[CallResult] = Deferred(self._cancelled)
        self._timer = self.clock.callLater(seconds, self._expired, seconds)
        self._requesting = maybeDeferred(send, self, *args)
        self._requesting.addCallback(self._answered).addErrback(self._failed)
        return self._result

    # What the client asks of its agent ------------------------------------------------------------

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[Any]:
        """Send what the client has prepared, but never ask for a compressed answer.

        As Agent does it, but for the URL: it was read when this exchange was made, not with each request.
        """
        assert headers is not None
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        request = _Whole(method, self._target.path, headers, bodyProducer, persistent=self._pool.persistent)
        return self._connect().addCallback(self._write, request).addCallback(self._keep_encoded)

    def _connect(self) -> Deferred[Any]:
        """A connection from the pool, else a new one, TLS included, within the connect timeout."""
        connecting: Deferred[Any] = self._pool.getConnection(self._target.key, self._target.endpoint)
        if not connecting.called:
            connecting.addTimeout(self._connect_timeout, self.clock)
        return connecting

    def _write(self, connection: Any, request: Request) -> Any:
        self._connection = connection
        return connection.request(request)

    def _keep_encoded(self, response: Any) -> Any:
        """Hide from the client that an answer is compressed: a few bytes may unpack to all memory."""
        encodings = response.headers.getRawHeaders(b"Content-Encoding")
        if encodings is not None:
            self._encodings = encodings
            response.headers.removeHeader(b"Content-Encoding")
        return response

    # The answer ----------------------------------------------------------------------------------

    def _answered(self, response: Any) -> None:
        if self._over:
            return
        self._response = response
        if self._sink is not None and 200 <= response.code < 300:
            self._saves, self._max_response = True, self._sink.most
            self._save(self._sink.begin)
        if self._over:
            return
        if response.code in self._bodiless:
            self._end("answered")
        elif response.length is not UNKNOWN_LENGTH and response.length > self._max_response:
            self._too_long()
        else:
            response.deliverBody(self)

    def dataReceived(self, data: bytes) -> None:
        """Another piece of the body."""
        if self._over:
            return
        self._size += len(data)
        if self._size > self._max_response:
            self._too_long()
        elif self._saves and self._sink is not None:
            self._save(self._sink.write, data)
        else:
            self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended, well or not."""
        if self._over:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._end("answered", reusable=self._pool.persistent)
        else:
            self._failed(reason)

    def _save(self, what: Callable[..., None], *pieces: bytes) -> None:
        try:
            what(*pieces)
        except OSError as error:
            self._end("unknown", f"it cannot be saved: {error.strerror or type(error).__name__}")

    # The end -------------------------------------------------------------------------------------

    def _failed(self, failure: Failure) -> None:
        if not self._over:
            self._end(self._doubt(), _brief(failure))

    def _too_long(self) -> None:
        self._end("unknown", f"answer longer than {self._max_response} bytes")

    def _expired(self, seconds: float) -> None:
        self._end(self._doubt(), f"no whole answer within {seconds:g} s")

    def _cancelled(self, result: Deferred[CallResult]) -> None:
        self._stop(reusable=False)

    def _doubt(self) -> Literal["not_sent", "unknown"]:
        return "not_sent" if self._connection is None else "unknown"

    def _end(
        self,
        outcome: Literal["answered", "not_sent", "unknown"],
        error_text: str = "",
        reusable: bool = False,
    ) -> None:
        self._stop(reusable)
        self._result.callback(
            CallResult(
                outcome=outcome,
                status=0 if self._response is None else self._response.code,
                headers=self._headers(),
                body=b"".join(self._chunks),
                elapsed=self.clock.seconds() - self._began,
                error=error_text,
            )
        )

    def _stop(self, reusable: bool) -> None:
        """Nothing more counts. A connection that is not kept is left without a farewell.

        The other side could draw a farewell out for ever.
        """
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        if reusable:
            return
        if self._response is None:
            self._requesting.cancel()
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abortConnection()

    def _headers(self) -> tuple[tuple[str, str], ...]:
        if self._response is None:
            return ()
        found = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in self._response.headers.getAllRawHeaders()
            if name != b"Content-Encoding"
            for value in values
        ]
        found.extend(("Content-Encoding", value.decode("latin-1")) for value in self._encodings)
        return tuple(found)


def _brief(failure: Failure) -> str:
    """One line about a failure; never the URL, nor what the other side wrote (it may be an echo)."""
    cause: Any = failure.value
    while getattr(cause, "reasons", None):
        cause = cause.reasons[0].value
    text = str(cause) if isinstance(cause, _TELLING) else ""
    return redact(f"{type(cause).__name__}: {text}"[:200]).rstrip(": ")
