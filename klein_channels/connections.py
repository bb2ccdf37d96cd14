"""
How a connection comes about: to a name or to an address, and through a finished TLS handshake.

Twisted's own TLS endpoint is connected before the handshake has begun. Here a connection is one only
when the other side's certificate was accepted: until then nothing of a request is on its way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cryptography.x509 import Certificate
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from .destinations import resolve

AddressEndpoint: TypeAlias = Callable[[Any, str, int, float], IStreamClientEndpoint]
"""(reactor, address, port, timeout in seconds) -> the way there."""


def address_endpoint(reactor: Any, address: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """Plain TCP to exactly this address."""
    kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    return kind(reactor, address, port, timeout=timeout)


def name_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """Plain TCP to whatever addresses the reactor finds for `host`."""
    if isIPAddress(host) or isIPv6Address(host):
        return address_endpoint(reactor, host, port, timeout)
    if "_" in host:
        return _UnderscoredName(reactor, host, port, timeout)
    return HostnameEndpoint(reactor, host, port, timeout=timeout)


@implementer(IStreamClientEndpoint)
class SecureEndpoint:
    """TLS over another endpoint: connected when the certificate was accepted and is for `host`.

    `limit` is how many decrypted bytes one connection may bring before it is dropped.
    """

    def __init__(
        self,
        clock: Any,
        tcp: IStreamClientEndpoint,
        creator: IOpenSSLClientConnectionCreator,
        host: str,
        limit: float = math.inf,
    ) -> None:
        self._clock = clock
        self._tcp = tcp
        self._creator = creator
        self._host = host
        self._limit = limit

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, shake hands, and only then let the protocol know."""
        handshakes = _HandshakeFactory(protocolFactory, self._host, self._limit)
        tls = TLSMemoryBIOFactory(self._creator, True, handshakes, self._clock)
        connecting: Deferred[Any] = self._tcp.connect(tls)
        return connecting.addCallback(_secured)


def _secured(tls: Any) -> Deferred[IProtocol]:
    secured: Deferred[IProtocol] = tls.wrappedProtocol.secured
    return secured


class _HandshakeFactory(Factory):
    noisy = False

    def __init__(self, inner: IProtocolFactory, host: str, limit: float) -> None:
        self._inner = inner
        self._host = host
        self._limit = limit

    def buildProtocol(self, addr: Any) -> _Handshake | None:
        inner = self._inner.buildProtocol(addr)
        return None if inner is None else _Handshake(inner, self._host, self._limit)


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Keeps a protocol waiting until TLS is established, then passes everything on."""

    def __init__(self, inner: Any, host: str, limit: float) -> None:
        self._inner = inner
        self._host = host
        self._left = limit
        self._established = False
        self.secured: Deferred[IProtocol] = Deferred(self._cancelled)

    def handshakeCompleted(self) -> None:
        """TLS stands; the other side is who it should be, or nothing is said to it.

        Twisted checks the name too, but lets a certificate pass that names nobody (26.10, where
        `CertificateError` is logged and forgotten).
        """
        transport: Any = self.transport
        try:
            _check_name(transport.getHandle().get_peer_certificate(as_cryptography=True), self._host)
        except Exception:
            self.secured.errback(Failure())
            transport.abortConnection()
            return
        self._established = True
        self._inner.makeConnection(self.transport)
        self.secured.callback(self._inner)

    def dataReceived(self, data: bytes) -> None:
        """Decrypted bytes."""
        self._left -= len(data)
        if self._left < 0:
            transport: Any = self.transport
            transport.abortConnection()
        else:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, established or not."""
        if self._established:
            self._inner.connectionLost(reason)
        elif not self.secured.called:
            self.secured.errback(reason)

    def _cancelled(self, secured: Deferred[IProtocol]) -> None:
        transport: Any = self.transport
        transport.abortConnection()


def _check_name(certificate: Certificate, host: str) -> None:
    if isIPAddress(host) or isIPv6Address(host):
        verify_certificate_ip_address(certificate, host)
    else:
        verify_certificate_hostname(certificate, host)


@implementer(IStreamClientEndpoint)
class _UnderscoredName:
    """A host like ``action_server``, as containers are named: no IDNA name, so not Twisted's business."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Resolve the name and connect to the first of its addresses that lets us."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, protocolFactory: IProtocolFactory) -> IProtocol:
        addresses = await resolve(self._reactor.nameResolver, self._host, self._port)
        if not addresses:
            raise DNSLookupError(f"no results for hostname lookup: {self._host}")
        endpoints = [address_endpoint(self._reactor, a, self._port, self._timeout) for a in addresses]
        return await FirstReachable(endpoints).connect(protocolFactory)


@implementer(IStreamClientEndpoint)
class FirstReachable:
    """Several endpoints of one host, tried in their order."""

    def __init__(self, endpoints: Sequence[IStreamClientEndpoint]) -> None:
        self._endpoints = endpoints

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the first that lets us; the last one's failure if none does."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, protocolFactory: IProtocolFactory) -> IProtocol:
        *others, last = self._endpoints
        for endpoint in others:
            try:
                return await endpoint.connect(protocolFactory)
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception:  # noqa: S112 - the next address is the answer to it
                continue
        return await last.connect(protocolFactory)
