"""What the tests of `klein_channels.web` share: an intake that keeps what it gets, and a wire."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Capabilities, ChannelOptions
from klein_channels.model import WebhookRequest, WebhookResponse
from klein_channels.policy import Policy
from klein_channels.web import Webhooks

FOUND = b"EVENT_RECEIVED"


class NamedChannel:
    """All that the web wants from a channel: its name and how long its bodies may be."""

    def __init__(self, name: str, max_body: int | None = None) -> None:
        self.name = name
        self.options = ChannelOptions()
        self.capabilities = Capabilities(max_body=max_body)


class RecordingIntake:
    """Answers at once with `answer`, or later where `waits`; keeps what it was given."""

    def __init__(self, waits: bool = False) -> None:
        self.waits = waits
        self.answer: Any = WebhookResponse(body=FOUND)
        self.taken: list[tuple[str, WebhookRequest]] = []
        self.pending: list[Deferred[WebhookResponse]] = []
        self.cancelled = 0

    def receive(self, channel: Any, request: WebhookRequest) -> Deferred[WebhookResponse]:
        self.taken.append((channel.name, request))
        if self.waits:
            self.pending.append(Deferred(self._count_cancelled))
            return self.pending[-1]
        if isinstance(self.answer, Exception):
            raise self.answer
        return succeed(self.answer)

    def _count_cancelled(self, _: Deferred[WebhookResponse]) -> None:
        self.cancelled += 1

    @property
    def requests(self) -> list[WebhookRequest]:
        return [request for _, request in self.taken]

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]


class Wire:
    """One connection to a site, fed by hand; what it answers is in `sent`."""

    def __init__(self, site: Any, peer: str = "203.0.113.9") -> None:
        address = IPv4Address("TCP", peer, 40_000)
        self.transport = StringTransport(peerAddress=address, lenient=True)
        self.protocol = site.buildProtocol(address)
        self.protocol.makeConnection(self.transport)
        self.lost = False

    def feed(self, data: bytes) -> bytes:
        """Give `data` to the site, unless it has closed; the answer to it."""
        if not self.transport.disconnecting:
            self.protocol.dataReceived(data)
        return self.take()

    def take(self) -> bytes:
        sent = self.transport.value()
        self.transport.clear()
        return sent

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    @property
    def aborted(self) -> bool:
        return self.transport.disconnected

    def hang_up(self) -> None:
        self.transport.disconnecting = self.transport.disconnected = True
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Served:
    """A service's web side on a clock that only the test moves."""

    def __init__(
        self,
        *channels: Any,
        waits: bool = False,
        policy: Policy | None = None,
        ready: Any = tuple,
        site: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.intake = RecordingIntake(waits)
        self.web = Webhooks(
            self.intake,
            channels or (NamedChannel("facebook"),),
            now=self.clock.seconds,
            policy=policy or Policy(),
            ready=ready,
            **{"default": "facebook", "public_url": "https://bot.example", **settings},
        )
        self.site = self.web.site(self.clock, **(site or {}))
        self._wires: list[Wire] = []

    def wire(self, peer: str = "203.0.113.9", site: Any = None) -> Wire:
        self._wires.append(Wire(site or self.site, peer))
        return self._wires[-1]

    def end(self) -> None:
        """Hang up everywhere."""
        for wire in self._wires:
            wire.hang_up()

    def ask(self, data: bytes) -> bytes:
        """The answer to `data` on a connection of its own."""
        return self.wire().feed(data)

    def pass_time(self, seconds: float) -> None:
        """Move the clock, a second at a time as a reactor would."""
        for _ in range(int(seconds)):
            self.clock.advance(1)


class WebTestCase(SynchronousTestCase):
    """A test of services whose connections end with it."""

    def serve(self, *channels: Any, **settings: Any) -> Served:
        served = Served(*channels, **settings)
        self.addCleanup(served.end)
        return served


def post(body: bytes = b"{}", path: str = "/app/webhook", headers: str = "") -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: anybody.example\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def request(line: str, headers: str = "Host: anybody.example\r\n") -> bytes:
    """The bytes of a request without a body."""
    return f"{line} HTTP/1.1\r\n{headers}\r\n".encode("latin-1")


def status_of(answer: bytes) -> int:
    """The status of the first answer in `answer`."""
    return int(answer.split(b" ", 2)[1])


def answers_in(data: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """All answers in `data`: status, headers in lower case, body; each must tell its length."""
    found = []
    while data:
        head, data = data.split(b"\r\n\r\n", 1)
        first, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
        length = int(headers[b"content-length"])
        found.append((int(first.split(b" ")[1]), headers, data[:length]))
        data = data[length:]
    return found
