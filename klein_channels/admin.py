"""Where operators are let in: the settings of the admin endpoint, and what is refused about them."""

from __future__ import annotations

import re

import msgspec

from .errors import ConfigError
from .secret import Secret

SHORTEST_TOKEN = 16
"""Characters; a token that can be tried through is none."""
LOOPBACK = "127.0.0.1"
_INTERFACE = re.compile(r"(?:^|:)interface=((?:\\.|[^:\\])*)")
_OF_THIS_MACHINE = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The endpoint for operators; there is none unless it is configured.

    `port` is a number, then only this machine is served, or an endpoint string. One that others could
    reach is refused unless `remote` says that this is meant. With None nothing is listened to, and
    `ChannelService.admin_site()` is served by somebody else.
    """

    token: Secret
    """What every request proves itself with."""
    port: str | None = "5005"
    remote: bool = False
    hosts: tuple[str, ...] = ()
    """Names beside the loopback's under which it may be asked; a browser that was led here names another."""
    metrics: bool = False
    """Whether ``/metrics`` is there for Prometheus, which takes the extra ``[metrics]``."""


def checked_endpoint(settings: AdminSettings) -> str | None:
    """The endpoint string to listen to, if any; raises `ConfigError` for a weak token or an open address."""
    if len(settings.token.reveal()) < SHORTEST_TOKEN:
        raise ConfigError(f"admin: token: it needs {SHORTEST_TOKEN} characters or more, made at random")
    port = settings.port
    if port is None:
        return None
    if port.isdigit():
        if int(port) > 65535:
            raise ConfigError(f"admin: port {port}: there are 65535")
        return f"tcp:{port}:interface={LOOPBACK}"
    if not settings.remote and not is_of_this_machine(port):
        raise ConfigError(
            f"admin: port {port!r} could be reached from other machines: add interface={LOOPBACK}, or say"
            " remote: true if that is meant, behind TLS and a firewall"
        )
    return port


def is_of_this_machine(endpoint: str) -> bool:
    """Whether an endpoint string is known to be reachable from this machine only."""
    if endpoint.startswith("unix:"):
        return True
    interfaces = _INTERFACE.findall(endpoint)
    return len(interfaces) == 1 and bool(_OF_THIS_MACHINE.fullmatch(re.sub(r"\\(.)", r"\1", interfaces[0])))
