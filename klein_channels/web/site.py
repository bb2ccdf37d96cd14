# mypy: allow-untyped-calls
"""
The `Site` that counts connections, ends what is overdue, and knows the short way to hot resources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.web import server
from twisted.web.http import combinedLogFormatter
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.resource import IResource
from zope.interface import provider

from ..model import WebhookResponse
from ..policy import Policy
from ..secret import redact
from .limits import Connection, Phase, Request
from .posts import Post, answer_to_post

SWEEP = 1.0
"""Seconds between two looks at the deadlines of all connections."""
COMPLAINT = 60.0
"""Seconds between two lines in the log about addresses with too many connections."""


Write: TypeAlias = Callable[[WebhookResponse], bytes]


class Hot(Protocol):
    """A resource for POSTs to one path, which also takes those that were read at a glance."""

    def render(self, request: Any) -> Any:
        """Answer a request that twisted.web has read."""

    def take(self, post: Post, client: str, write: Write) -> Deferred[bytes]:
        """The answer to `post`, as `write` writes it; never fails."""


class Site(server.Site):
    """A web site with limits; all its state is its own, so that a process may have several.

    `hot` maps exact paths to what answers POSTs there without a walk through `resource`; those that
    come in one piece are read at a glance, unless there is an access log. `body_limits` maps exact
    paths to bytes; other paths have `policy.max_body`. `trusted_proxies` are addresses and networks
    whose connections are not counted. `body_refused` is told the path of a body that was too long.
    """

    protocol = Connection  # type: ignore[assignment]

    def __init__(
        self,
        resource: IResource,
        *,
        clock: IReactorTime,
        policy: Policy,
        now: Callable[[], float],
        hot: Mapping[bytes, Hot] | None = None,
        body_limits: Mapping[bytes, int] | None = None,
        trusted_proxies: Iterable[str] = (),
        access_log: bool = False,
        body_refused: Callable[[bytes], None] = lambda path: None,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=Request,
            timeout=None,
            reactor=clock,
            logFormatter=_redacted_line,
            parsePOSTFormSubmission=False,
        )
        self.policy = policy
        self.draining = False
        self._now = now
        self._hot = dict(hot or {})
        self._body_limits = dict(body_limits or {})
        self._trusted = [ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._access_log = access_log
        self.body_refused = body_refused
        self._open: dict[Connection, str | None] = {}
        self._per_address: Counter[str] = Counter()
        self._sweeping: IDelayedCall | None = None
        self._complaint = _Complaint(policy.max_connections_per_address)

    # Resources

    def getResourceFor(self, request: Any) -> Any:
        """The resource for `request`: on the short way where there is one."""
        if request.method == b"POST":
            hot = self._hot.get(request.path)
            if hot is not None:
                return hot
        return super().getResourceFor(request)

    def hot_limit(self, path: bytes) -> int | None:
        """How many bytes a body for a hot path may have; None for paths that are not, or to be logged."""
        if path not in self._hot or self._access_log:
            return None
        return self.body_limit(path)

    def take(self, post: Post, client: str) -> Deferred[bytes]:
        """The answer to a POST for a hot path; never fails."""
        return self._hot[post.path].take(post, client, self._written)

    def _written(self, response: WebhookResponse) -> bytes:
        return answer_to_post(response, self._now(), last=self.draining)

    def body_limit(self, path: bytes) -> int:
        """How many bytes a body for `path` may have."""
        return self._body_limits.get(path, self.policy.max_body)

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: the limits are those of `Connection`."""
        return [b"http/1.1"]

    # The access log

    def startFactory(self) -> None:
        """Open the access log if one is wanted."""
        if self._access_log:
            super().startFactory()

    def log(self, request: Any) -> None:
        """Write a line into the access log if one is wanted."""
        if self._access_log:
            super().log(request)

    # Connections

    def opened(self, connection: Connection) -> bool:
        """Count `connection`; whether its address may have one more."""
        if self._sweeping is None:
            self._sweeping = self.reactor.callLater(SWEEP, self._sweep)
        self._open[connection] = None
        return self._count(connection)

    def peer_is_known(self, connection: Connection) -> bool:
        """Count `connection` for the address that a PROXY header named, if one did."""
        counted = self._open.get(connection)
        if counted is None or counted == _host_of(connection):
            return True
        self._uncount(counted)
        return self._count(connection)

    def closed(self, connection: Connection) -> None:
        """Forget `connection`."""
        host = self._open.pop(connection, None)
        if host is not None:
            self._uncount(host)
        if self._sweeping is not None and not self._open:
            self._sweeping.cancel()
            self._sweeping = None

    def drain(self) -> None:
        """Close the connections that wait, and every other one after its answer."""
        self.draining = True
        for connection in list(self._open):
            if connection.phase is Phase.WAITING:
                connection.close()

    def abort(self) -> None:
        """Tear down all connections."""
        for connection in list(self._open):
            connection.drop()

    def _count(self, connection: Connection) -> bool:
        host = _host_of(connection)
        if host is None or self._is_trusted(host):
            return True
        if self._per_address[host] >= self.policy.max_connections_per_address:
            self._open[connection] = None
            self._complaint.add(self.reactor.seconds())
            return False
        self._per_address[host] += 1
        self._open[connection] = host
        return True

    def _uncount(self, host: str) -> None:
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]

    def _is_trusted(self, host: str) -> bool:
        if not self._trusted:
            return False
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def _sweep(self) -> None:
        """End what is overdue, and look again in a second; `closed` ends this with the last connection."""
        self._sweeping = self.reactor.callLater(SWEEP, self._sweep)
        now = self.reactor.seconds()
        for connection in [one for one in self._open if one.deadline <= now]:
            connection.overdue()


class _Complaint:
    """Says that connections were refused, once a minute at most, since anybody can cause it."""

    _log = Logger()

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._refused = 0
        self._quiet_until = 0.0

    def add(self, now: float) -> None:
        self._refused += 1
        if now >= self._quiet_until:
            self._log.warn(
                "{refused} connections were refused: their address had {limit} open",
                refused=self._refused,
                limit=self._limit,
            )
            self._refused = 0
            self._quiet_until = now + COMPLAINT


def _host_of(connection: Connection) -> str | None:
    """The address of the other side; None for a local socket."""
    return getattr(connection.transport.getPeer(), "host", None)


@provider(IAccessLogFormatter)
def _redacted_line(timestamp: str, request: Any) -> str:
    """A line of the access log, with its secrets hidden: some platforms put them into the path."""
    return redact(str(combinedLogFormatter(timestamp, request)))
