# mypy: allow-untyped-calls
"""
The pages on which an account joins: one that leads to the platform, and one to come back to.

Pages are plain words, and say nothing that came with the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..channel import Channel
from ..errors import InstallError
from ..installing import Departure, joins
from ..model import WebhookResponse
from .translate import client_is_gone, frame
from .webhooks import Webhooks

COOKIE = b"klein_channels_install"
COOKIE_LASTS = 600
_QUIETLY = (
    (b"Cache-Control", b"no-store"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_log = Logger()


class Joins(Protocol):
    """What lets accounts join."""

    def begin(self, channel: str) -> Departure:
        """Where to send somebody; raises `InstallError`."""

    def finish(self, channel: str, code: str, state: str, cookie: str) -> Deferred[str]:
        """The account that joined; fails with `InstallError`."""


class InstallPages:
    """The two pages of each channel that accounts can join, under ``<prefix>/<channel>/``."""

    def __init__(self, joining: Callable[[], Joins], prefix: str) -> None:
        self._joining = joining
        self._prefix = prefix

    def add_to(self, webhooks: Webhooks, channels: Iterable[Channel]) -> None:
        """Serve the pages of those of `channels` that accounts can join."""
        for channel in filter(joins, channels):
            base = f"{self._prefix}/{channel.name}"
            for path, page in (("install", self._leave), ("installed", self._return)):
                url = f"{base}/{path}"
                webhooks.app.route(url, methods=("GET",), endpoint=url)(_served(page, channel.name))

    def _leave(self, channel: str, request: Any) -> bytes:
        try:
            url, cookie = self._joining().begin(channel)
        except InstallError as error:
            return frame(request, _page(503, str(error)))
        path = f"{self._prefix}/{channel}/".encode()
        kept = b"%s=%s; Path=%s; Max-Age=%d; HttpOnly; Secure; SameSite=Lax" % (
            *(COOKIE, cookie.encode(), path, COOKIE_LASTS),
        )
        sent = (b"Location", url.encode("ascii", "replace")), (b"Set-Cookie", kept)
        return frame(request, WebhookResponse(status=302, headers=(*_QUIETLY, *sent)))

    def _return(self, channel: str, request: Any) -> Deferred[bytes] | bytes:
        code, state, error = (_only(request, name) for name in (b"code", b"state", b"error"))
        if error:
            return frame(request, _page(400, "Nothing was installed: it was not allowed."))
        if not code or not state:
            return frame(request, _page(400, f"Please begin at {self._prefix}/{channel}/install."))
        cookie = (request.getCookie(COOKIE) or b"").decode("latin-1")
        joined = self._joining().finish(channel, code, state, cookie)
        return joined.addCallback(self._joined, request).addErrback(self._failed, request)

    def _joined(self, account: str, request: Any) -> bytes:
        return frame(request, _page(200, "Installed. You can close this page."))

    def _failed(self, failure: Failure, request: Any) -> bytes:
        if failure.check(CancelledError) and client_is_gone(request):
            failure.raiseException()
        if failure.check(InstallError):
            return frame(request, _page(400, failure.getErrorMessage()))
        _log.failure("An account could not join", failure)
        return frame(request, _page(503, "This did not work. Please begin anew in a minute."))


def _served(page: Callable[[str, Any], Any], channel: str) -> Callable[[Any], Any]:
    return lambda request: page(channel, request)


def _only(request: Any, name: bytes) -> str:
    """The parameter of that name, if it came once and is of a sane length."""
    values = request.args.get(name, [])
    return values[0].decode("utf-8", "replace") if len(values) == 1 and len(values[0]) <= 2048 else ""


def _page(status: int, words: str) -> WebhookResponse:
    return WebhookResponse(
        status=status, body=f"{words}\n".encode(), content_type="text/plain; charset=utf-8", headers=_QUIETLY
    )
