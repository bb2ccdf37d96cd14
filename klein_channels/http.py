"""
Makes the calls that channels ask for: the only way out of this process over HTTP.

`Http.call` makes one `Call`, `Http.run` drives the `Steps` of a channel. Both answer with what
happened and never raise for what the network does: `outcome` says ``not_sent`` as long as no
connection was there to write to, ``answered`` when a whole answer came, ``unknown`` for all between.

Calls to configured hosts share a pool of connections and follow no redirects. All other URLs were
written by a stranger: see `destinations` for where they may lead.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import (
    IHostnameResolver,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS

from . import destinations
from .channel import Steps
from .connections import AddressEndpoint, FirstReachable, SecureEndpoint, address_endpoint, name_endpoint
from .destinations import Destination, RefusedDestination
from .exchange import Body, Exchange, Sink, Target
from .model import Call, CallResult

T = TypeVar("T")
MAX_REDIRECTS = 5
MAX_CALLS_WITHOUT_TIME = 100
"""Calls that steps may still ask for when their time is over, before they are stopped."""
IDLE_SECONDS = 20
"""How long an unused connection is kept; load balancers commonly close theirs after 60."""
CLOSE_SECONDS = 5.0
KEPT = 1024
"""URLs, and hosts, whose prepared forms are kept."""
TLS_CONTEXTS = 64
HEADER_ALLOWANCE = 1 << 16


class Http:
    """Makes calls with one pool of connections for configured hosts, and none for all others.

    `resolver` resolves the hosts of URLs with trust ``content`` (default: the reactor's) and
    `endpoint_for` connects to the addresses found; `https_policy` says whom TLS trusts.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        resolver: IHostnameResolver | None = None,
        https_policy: IPolicyForHTTPS | None = None,
        endpoint_for: AddressEndpoint = address_endpoint,
        max_per_host: int = 256,
        connect_timeout: float = 10.0,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._policy = HostnameCachingHTTPSPolicy(https_policy or BrowserLikePolicyForHTTPS(), TLS_CONTEXTS)
        self._endpoint_for = endpoint_for
        self._connect_timeout = connect_timeout
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = max_per_host
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        # Whether a request may be repeated is decided by those who know what it does.
        self._pool.retryAutomatically = False
        self._no_pool = HTTPConnectionPool(reactor, persistent=False)
        self._targets: dict[str, Target] = {}
        self._endpoints: dict[tuple[str, str, int], IStreamClientEndpoint] = {}

    def run(self, steps: Steps[T], deadline: float, sink: Sink | None = None) -> Deferred[T]:
        """Drive `steps` to their end, with at most `deadline` seconds for all of their calls.

        When the time is over, the call in flight ends as ``not_sent`` or ``unknown`` and later ones
        are ``not_sent``: the steps come to their own end. What they raise is raised here; those that
        never stop asking are stopped, with TimeoutError. Cancelling drops the call in flight and
        closes the steps. The file of a call that says `save` goes into `sink`.
        """
        return Deferred.fromCoroutine(self._run(steps, deadline, sink))

    def call(self, call: Call) -> Deferred[CallResult]:
        """Make one call. The result fails only when it is cancelled."""
        return self._make(call, call.deadline)

    def close(self) -> Deferred[None]:
        """Close the connections that nobody uses; those in use are the business of their calls."""
        closed: Deferred[None] = Deferred()
        # A TLS peer may never say goodbye.
        closed.addTimeout(CLOSE_SECONDS, self._reactor).addErrback(_ignore_timeout)
        self._pool.closeCachedConnections().addBoth(_tell, closed)
        return closed

    async def _run(self, steps: Steps[T], deadline: float, sink: Sink | None = None) -> T:
        ends = self._reactor.seconds() + deadline
        late_calls = 0
        try:
            call = next(steps)
            while late_calls < MAX_CALLS_WITHOUT_TIME:
                left = ends - self._reactor.seconds()
                late_calls += left <= 0
                into = sink if call.save else None
                call = steps.send(await self._make(call, min(call.deadline, left), into))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()
        raise TimeoutError(deadline, "steps went on asking when their time was over")

    def _make(self, call: Call, seconds: float, sink: Sink | None = None) -> Deferred[CallResult]:
        if seconds <= 0:
            return succeed(CallResult(outcome="not_sent", error="no time was left"))
        if call.trust != "configured":
            return Deferred.fromCoroutine(self._follow(call, seconds, sink))
        try:
            target = self._targets.get(call.url) or self._add_target(call.url)
        except RefusedDestination as refused:
            return succeed(CallResult(outcome="not_sent", error=str(refused)))
        exchange = self._exchange(call, self._pool, target, sink)
        return exchange.start(_send, seconds, call, target)

    def _exchange(
        self,
        call: Call,
        pool: HTTPConnectionPool,
        target: Target,
        sink: Sink | None,
        bodiless: frozenset[int] = frozenset(),
    ) -> Exchange:
        return Exchange(
            self._reactor,
            pool,
            target,
            connect_timeout=self._connect_timeout,
            max_response=call.max_response,
            bodiless=bodiless,
            sink=sink,
        )

    # URLs of the configuration -------------------------------------------------------------------

    def _add_target(self, text: str) -> Target:
        url = destinations.ascii_url(text)
        if url.scheme not in ("http", "https") or not url.host or not url.port:
            raise RefusedDestination("the URL is not one of http or https")
        if url.userinfo:
            raise RefusedDestination("the URL carries credentials, which belong into a header")
        target = Target(url, self._endpoint((url.scheme, url.host, url.port)))
        _keep(self._targets, text, target)
        return target

    def _endpoint(self, key: tuple[str, str, int]) -> IStreamClientEndpoint:
        if key not in self._endpoints:
            scheme, host, port = key
            endpoint = name_endpoint(self._reactor, host, port, self._connect_timeout)
            if scheme == "https":
                endpoint = SecureEndpoint(self._reactor, endpoint, self._verifier(host, port), host)
            _keep(self._endpoints, key, endpoint)
        return self._endpoints[key]

    def _verifier(self, host: str, port: int) -> IOpenSSLClientConnectionCreator:
        try:
            return self._policy.creatorForNetloc(host.encode("ascii"), port)
        except ValueError:
            raise RefusedDestination("no certificate can be for a host of that name") from None

    # URLs of strangers ---------------------------------------------------------------------------

    async def _follow(self, call: Call, seconds: float, sink: Sink | None) -> CallResult:
        began = self._reactor.seconds()
        try:
            result = await self._follow_redirects(call, began + seconds, sink)
        except RefusedDestination as refused:
            result = CallResult(outcome="not_sent", error=str(refused))
        return msgspec.structs.replace(result, elapsed=self._reactor.seconds() - began)

    async def _follow_redirects(self, call: Call, ends: float, sink: Sink | None) -> CallResult:
        hops_left = MAX_REDIRECTS if call.method.upper() in ("GET", "HEAD") else 0
        while True:
            found = await self._find(call.url, ends)
            bodiless = destinations.REDIRECTS if hops_left else frozenset()
            most = call.max_response if sink is None else max(call.max_response, sink.most)
            target = Target(found.url, self._pinned(found, most))
            exchange = self._exchange(call, self._no_pool, target, sink, bodiless)
            result = await exchange.start(_send, max(0.0, ends - self._reactor.seconds()), call, target)
            location = result.header("Location")
            if result.outcome != "answered" or result.status not in bodiless or location is None:
                return result
            hops_left -= 1
            call = _redirected(call, found.url, location)

    async def _find(self, url: str, ends: float) -> Destination:
        resolver = self._resolver or self._reactor.nameResolver
        finding = Deferred.fromCoroutine(destinations.find(url, resolver))
        finding.addTimeout(max(0.0, ends - self._reactor.seconds()), self._reactor)
        try:
            return await finding
        except (CancelledError, RefusedDestination):
            raise
        except TimeoutError:
            raise RefusedDestination("no address was found in time") from None
        except Exception as problem:
            raise RefusedDestination(f"no address was found: {type(problem).__name__}") from None

    def _pinned(self, found: Destination, max_response: int) -> IStreamClientEndpoint:
        """The way to the checked addresses, with TLS for the name they were found under."""
        creator = self._verifier(found.host, found.port)
        timeout = self._connect_timeout / len(found.addresses)
        # A chunked body takes more bytes than it holds; headers without end would take all memory.
        limit = 2 * max_response + HEADER_ALLOWANCE
        endpoints = [self._endpoint_for(self._reactor, a, found.port, timeout) for a in found.addresses]
        return FirstReachable(
            [SecureEndpoint(self._reactor, e, creator, found.host, limit) for e in endpoints]
        )


class _NoCookies(IndexableCookieJar):
    """No platform's cookies are kept or sent."""

    def add_cookie_header(self, request: object) -> None:
        """Add none."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Keep none."""


_NO_COOKIES = _NoCookies()
_AS_BODY: Any = Body
"""What treq makes of the bytes of a request; the exchange writes them, so it is no producer."""


def _send(exchange: Exchange, call: Call, target: Target) -> Deferred[Any]:
    """Have treq make the request of `call`, through `exchange`."""
    headers = Headers()
    for name, value in call.headers:
        headers.addRawHeader(name, value)
    headers.setRawHeaders(b"Host", [target.host])
    sending: Deferred[Any] = HTTPClient(exchange, _NO_COOKIES, _AS_BODY).request(
        call.method,
        target.url,
        headers=headers,
        data=call.body or None,
        cookies=_NO_COOKIES,
        allow_redirects=False,
        unbuffered=True,
        reactor=exchange.clock,
    )
    return sending


def _redirected(call: Call, base: EncodedURL, location: str) -> Call:
    url = destinations.redirect(base, location.encode("latin-1").decode("utf-8", "replace"))
    same = destinations.same_origin(base, destinations.read_url(url)[0])
    headers = call.headers if same else destinations.harmless(call.headers)
    return msgspec.structs.replace(call, url=url, headers=headers)


def _tell(result: object, waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


def _ignore_timeout(failure: Failure) -> None:
    failure.trap(TimeoutError)


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep `value`, and forget the oldest if there are too many."""
    if len(kept) >= KEPT:
        del kept[next(iter(kept))]
    kept[key] = value
