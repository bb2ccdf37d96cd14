# mypy: allow-untyped-calls
"""Who may speak to the admin endpoint: the right name, no strange page, the token. Before any route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.logger import Logger
from twisted.web.resource import IResource, Resource

from ..admin import AdminSettings
from ..logs import Throttle
from ..model import WebhookResponse
from .limits import reason
from .translate import frame

NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_BEARER = b"bearer "


class Doorkeeper(Resource):
    """Lets requests through to `inside` that may be answered; all others learn a status and nothing else.

    A page that a browser was led to can send requests here: it names another host (DNS rebinding), or
    itself as their origin. Neither gets as far as the token, which is compared in constant time.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, inside: IResource, settings: AdminSettings, now: Callable[[], float]) -> None:
        super().__init__()
        self._inside = inside
        self._token = settings.token
        self._names = NAMES | set(settings.hosts)
        self._refusals = Throttle(now)

    def render(self, request: Any) -> Any:
        """Route `request`, or refuse it."""
        refused = self._refusal(request)
        if refused is None:
            return self._inside.render(request)
        status, why = refused
        kept_back = self._refusals.admit(why)
        if kept_back is not None:
            self._log.warn(
                "admin: refused a request with {status}: {reason} ({kept_back} more)",
                status=status,
                reason=why,
                kept_back=kept_back,
            )
        headers = ((b"WWW-Authenticate", b"Bearer"),) if status == 401 else ()
        return frame(request, WebhookResponse(status=status, body=reason(status), headers=headers))

    def _refusal(self, request: Any) -> tuple[int, str] | None:
        headers = request.requestHeaders
        hosts = headers.getRawHeaders(b"host", [])
        if len(hosts) != 1 or _name(b"//" + hosts[0]) not in self._names:
            return 403, "it names a host that is not ours"
        origins = headers.getRawHeaders(b"origin", [])
        if any(_name(origin) not in self._names for origin in origins):
            return 403, "it comes from a page of somebody else's"
        given = headers.getRawHeaders(b"authorization", [])
        token = given[0][len(_BEARER) :].strip() if len(given) == 1 else b""
        # Compared whatever was given: how long this takes says nothing.
        matches = self._token.matches(token)
        if len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER or not matches:
            return 401, "it does not know the token"
        types = headers.getRawHeaders(b"content-type", [])
        if request.method != b"GET" and [one.split(b";")[0].strip().lower() for one in types] != [
            b"application/json"
        ]:
            return 415, "its body is no JSON"
        return None


def _name(url: bytes) -> str | None:
    """The host in an origin, or in ``//`` and a Host header."""
    try:
        return urlsplit(url.decode("ascii")).hostname
    except ValueError:
        return None
