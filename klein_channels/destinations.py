"""
Where a URL that came from outside may lead: https, and public addresses only.

A URL in a message, an answer or a payload is written by somebody else. Followed blindly, it would
make this process ask the machines of its own network, or the cloud's metadata service, on behalf of
a stranger. So its host is resolved here, every address is looked at, and the connection goes to
exactly these addresses: a second look-up could give another answer (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import msgspec
from hyperlink import EncodedURL, URLParseError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

MAX_URL = 8192
MAX_ADDRESSES = 4
"""How many of a host's addresses are tried; all of them are checked."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})

# What IANA's special-purpose registries hold, the multicast and reserved space, and one public
# address that a cloud answers on from inside: Azure's platform service.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
_NOT_PUBLIC = [
    ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
]
# The only space that IPv6 unicast is given out from. Outside it lie loopback, link-local, unique and
# site-local addresses, multicast, and the forms that carry an IPv4 address (mapped, NAT64).
_IPV6_UNICAST = IPv6Network("2000::/3")

_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))+")
# A name that ends like this is an IPv4 address to some resolvers: 2130706433, 0x7f.1, 0177.0.0.1.
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)$")

# What still goes along when a redirect leads to another origin. Everything else a channel sends
# may be a credential, whatever its name.
_HARMLESS = frozenset({"accept", "accept-language", "range", "user-agent"})


class RefusedDestination(Exception):
    """A URL that is not followed; the text says why and never holds its path or query."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that may be asked, and the checked addresses that its host stands for."""

    url: EncodedURL
    host: str
    port: int
    addresses: tuple[str, ...]


def is_public(address: str) -> bool:
    """Whether `address`, an IPv4 or IPv6 address as text, belongs to the open Internet."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and (parsed not in _IPV6_UNICAST or parsed.scope_id):
        return False
    return parsed.is_global and not any(
        parsed.version == block.version and parsed in block for block in _NOT_PUBLIC
    )


def ascii_url(text: str) -> EncodedURL:
    """The URL `text` in the form in which it travels; raises `RefusedDestination` if there is none."""
    scheme, colon, rest = text.partition(":")
    try:
        url = EncodedURL.from_text(scheme.lower() + colon + rest)
        if not url.host.isascii():
            return url.to_uri()
        # Names with underscores and IPv6 addresses are no IDNA names, and need not be.
        return url.replace(host="").to_uri().replace(host=url.host.lower())
    except (URLParseError, ValueError):
        raise RefusedDestination("the URL cannot be read") from None


def read_url(text: str) -> tuple[EncodedURL, int]:
    """The URL in its ASCII form, and its port; raises `RefusedDestination` if it may not be asked."""
    if len(text) > MAX_URL:
        raise RefusedDestination("the URL is too long")
    url = ascii_url(text)
    if url.scheme != "https":
        raise RefusedDestination("the URL is not https")
    if url.userinfo:
        raise RefusedDestination("the URL carries credentials")
    if not url.port or not 0 < url.port < 65536:
        raise RefusedDestination("the URL has no usable port")
    return url, url.port


def literal_address(host: str) -> str | None:
    """`host` if it is an IP address in its usual form, None if it is a name.

    Raises `RefusedDestination` for what is neither, among it the numbers that some resolvers take
    for an IPv4 address.
    """
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    name = host.lower()
    if _ENDS_IN_NUMBER.search(name) or len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise RefusedDestination("the URL's host is no public name")
    return None


async def find(text: str, resolver: IHostnameResolver) -> Destination:
    """Where the URL `text` leads. Raises `RefusedDestination` if it may not be asked."""
    url, port = read_url(text)
    literal = literal_address(url.host)
    addresses = [literal] if literal else await resolve(resolver, url.host, port)
    if not addresses:
        raise RefusedDestination(f"{url.host} has no address")
    if not all(map(is_public, addresses)):
        raise RefusedDestination(f"{url.host} is not an address of the public Internet")
    return Destination(url=url, host=url.host, port=port, addresses=tuple(addresses[:MAX_ADDRESSES]))


def redirect(base: EncodedURL, location: str) -> str:
    """The URL that `location`, in an answer from `base`, leads to; it is not checked yet."""
    try:
        return base.click(location).to_text(with_password=True)
    except (URLParseError, ValueError, NotImplementedError):
        raise RefusedDestination("the redirect cannot be read") from None


def same_origin(one: EncodedURL, other: EncodedURL) -> bool:
    """Whether what was meant for `one` may be shown to `other`."""
    return (one.scheme, one.host.lower(), one.port) == (other.scheme, other.host.lower(), other.port)


def harmless(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The headers that may be shown to another origin."""
    return tuple((name, value) for name, value in headers if name.lower() in _HARMLESS)


def resolve(resolver: IHostnameResolver, host: str, port: int) -> Deferred[list[str]]:
    """The addresses of `host`, in the resolver's order; none if there is no such name."""
    receiver = _Addresses()
    resolver.resolveHostName(receiver, host, port)
    return receiver.found


@implementer(IResolutionReceiver)
class _Addresses:
    """Gathers what a resolver says about one name."""

    def __init__(self) -> None:
        self.found: Deferred[list[str]] = Deferred()
        self._so_far: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The look-up has begun."""

    def addressResolved(self, address: Any) -> None:
        """One more address."""
        self._so_far.append(address.host)

    def resolutionComplete(self) -> None:
        """There are no more."""
        self.found.callback(self._so_far)
