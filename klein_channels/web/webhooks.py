# mypy: allow-untyped-calls
"""
Which URL does what: webhooks of all channels, and health.

`Webhooks` holds a Klein application. Its table of webhook URLs is also what the short way of
`Site` is made of, so a hot POST reaches the same handler without Klein's routing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import BadHost, BadRequest, HTTPException, MethodNotAllowed

from ..channel import Answers, Channel, Sockets
from ..errors import ConfigError
from ..meter import UNCOUNTED, Meter
from ..model import WebhookRequest, WebhookResponse
from ..policy import Policy
from ..secret import redact
from .limits import Request, reason
from .posts import Post
from .site import Site, Write
from .sockets import OpensSockets, SocketDoor
from .translate import as_request, client_is_gone, frame, read_request

_CHANNEL_NAME = re.compile(r"[a-z0-9_-]+")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_FAILED = WebhookResponse(status=500, body=b"Internal Server Error")
_UNAVAILABLE = WebhookResponse(status=503, body=b"Service Unavailable", headers=((b"Retry-After", b"5"),))


class Receives(Protocol):
    """What takes a webhook in: it answers when what the webhook brought is safe."""

    def receive(self, channel: Channel, request: WebhookRequest) -> Deferred[WebhookResponse]:
        """The answer to `request`; cancelling the Deferred does not undo anything."""


class Webhooks:
    """The HTTP side of one service.

    Served are ``<prefix>/<channel>/webhook`` and ``/webhooks/<channel>/webhook`` of every channel,
    ``<prefix>/webhook`` of the channel named `default`, beside each of them ``…/socket`` where `take_sockets`
    was asked to and the channel has sockets, and health: ``<prefix>/``,
    ``/webhooks/<channel>/``, ``health/live`` and ``health/ready`` under the prefix and at the root.
    `ready` returns the reasons why the service cannot work, if any, `paused` what operators paused.
    `public_url` is what platforms put before our paths. Raises `ConfigError` for names and
    prefixes that make no URL.

    `app` is an ordinary Klein application: more routes may be added to it.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913  (what the service joins)
        self,
        receives: Receives,
        channels: Sequence[Channel],
        *,
        now: Callable[[], float],
        default: str | None = None,
        prefix: str = "/app",
        public_url: str = "",
        policy: Policy | None = None,
        ready: Callable[[], Sequence[str]] = tuple,
        meter: Meter = UNCOUNTED,
        paused: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._receives = receives
        self._now = now
        self._public_url = public_url.rstrip("/")
        self._policy = policy or Policy()
        self._ready = ready
        self._meter = meter
        self._paused = paused
        self.prefix = checked_prefix(prefix)
        self.webhook_urls = webhook_urls(channels, self.prefix, default)
        """Path -> channel: all webhook URLs there are."""
        self.app = Klein()
        self._route_errors()
        self._route_webhooks()
        self._route_health(channels)

    def resource(self) -> IResource:
        """The resource to put anywhere into a tree of twisted.web; a new one at each call."""
        return _Entrance(self.app)

    def site(
        self,
        clock: IReactorTime,
        *,
        root: IResource | None = None,
        trusted_proxies: Iterable[str] = (),
        access_log: bool = False,
    ) -> Site:
        """A site with all limits of the policy and the short way for webhooks.

        `root` is served in place of `resource()`, for a tree that has it mounted at its own root.
        """
        paths = {url.encode(): channel for url, channel in self.webhook_urls.items()}
        return Site(
            root or self.resource(),
            clock=clock,
            now=self._now,
            policy=self._policy,
            hot={
                path: _ShortWay(self, channel)
                for path, channel in paths.items()
                # One that waits for replies must learn when its client hangs up: Klein tells it.
                if not isinstance(channel, Answers)
            },
            body_limits={
                path: channel.capabilities.max_body or self._policy.max_body
                for path, channel in paths.items()
            },
            trusted_proxies=trusted_proxies,
            access_log=access_log,
            body_refused=self._body_refused,
        )

    def receive(self, channel: Channel, request: Any) -> Deferred[bytes]:
        """Take in one webhook; fires with the body of the answer, whose headers are set by then.

        This is the one handler behind both ways. It fails only with `CancelledError`, where the
        client is gone.
        """
        try:
            value = read_request(request, self._public_url, self._now())
            answer = self._receives.receive(channel, value)
        except Exception:
            answer = fail()
        return answer.addCallback(_framed, request).addErrback(self._failed, request)

    def take(self, channel: Channel, post: Post, client: str, write: Write) -> Deferred[bytes]:
        """Take in one webhook that was read at a glance; the answer never fails."""
        try:
            value = as_request(post, self._public_url, client, self._now())
            answer = self._receives.receive(channel, value)
        except Exception:
            answer = fail()
        return answer.addCallback(write).addErrback(lambda failure: write(self._excuse(failure)))

    def _failed(self, failure: Failure, request: Any) -> bytes:
        if failure.check(CancelledError) and client_is_gone(request):
            failure.raiseException()
        return frame(request, self._excuse(failure))

    def _excuse(self, failure: Failure) -> WebhookResponse:
        """What is answered where there is no answer."""
        if failure.check(CancelledError):
            return _UNAVAILABLE
        self._log.failure("A request could not be answered", failure)
        return _FAILED

    def _body_refused(self, path: bytes) -> None:
        channel = self.webhook_urls.get(path.decode("latin-1"))
        if channel is not None:
            self._meter.rejected(channel.name, "size")

    # Routes

    def _route_webhooks(self) -> None:
        for url, channel in self.webhook_urls.items():
            self._route(url, self._webhook_handler(channel), "GET", "POST")

    def take_sockets(self, opens: OpensSockets, clock: IReactorTime) -> None:
        """Serve the sockets of the channels that have them; `opens` lets them in."""
        for url, channel in self.webhook_urls.items():
            if isinstance(channel, Sockets):
                door = SocketDoor(
                    opens,
                    channel,
                    public_url=self._public_url,
                    policy=self._policy,
                    clock=clock,
                    now=self._now,
                )
                self._route(url.removesuffix("/webhook") + "/socket", _through(door), "GET")

    def _webhook_handler(self, channel: Channel) -> Callable[[Any], Any]:
        def webhook(request: Any) -> Deferred[bytes]:
            if request.method not in (b"GET", b"POST"):  # the router also takes HEAD, and "get"
                raise MethodNotAllowed(["GET", "POST"])
            return self.receive(channel, request)

        return webhook

    def _route_health(self, channels: Iterable[Channel]) -> None:
        alive = [f"{self.prefix}/", f"{self.prefix}/health/live", "/health/live"]
        alive += [f"/webhooks/{channel.name}/" for channel in channels]
        for url in dict.fromkeys(alive):
            self._route(url, _answer_alive, "GET")
        for url in dict.fromkeys([f"{self.prefix}/health/ready", "/health/ready"]):
            self._route(url, self._answer_ready, "GET")

    def _answer_ready(self, request: Any) -> bytes:
        reasons = [redact(reason) for reason in self._ready()]
        said: dict[str, object] = {"status": "unavailable" if reasons else "ok"}
        if reasons:
            said["reasons"] = reasons
        if paused := list(self._paused()):
            # An operator wanted it: webhooks are taken all the same, or answered as they asked for.
            said["paused"] = paused
        return frame(request, _json(said, status=503 if reasons else 200))

    def _route_errors(self) -> None:
        @self.app.handle_errors(HTTPException)
        def refused(request: Any, failure: Any) -> bytes:
            return frame(request, _refusal(failure.value))

        @self.app.handle_errors(Exception)
        def failed(request: Any, failure: Failure) -> bytes:
            return self._failed(failure, request)

    def _route(self, url: str, handler: Callable[[Any], Any], *methods: str) -> None:
        self.app.route(url, methods=methods, endpoint=url, strict_slashes=False)(handler)


class _ShortWay(Resource):
    """The webhook of one channel, reached without the router; see `site.Hot`."""

    isLeaf = True
    _log = Logger()

    def __init__(self, webhooks: Webhooks, channel: Channel) -> None:
        super().__init__()
        self._webhooks = webhooks
        self._channel = channel

    def render(self, request: Any) -> int:
        """Answer a POST; the client may be gone when the answer is here."""
        self._webhooks.receive(self._channel, request).addCallback(_send, request).addErrback(self._unsent)
        return NOT_DONE_YET

    def take(self, post: Post, client: str, write: Write) -> Deferred[bytes]:
        """The answer to a POST that was read at a glance, as `write` writes it."""
        return self._webhooks.take(self._channel, post, client, write)

    def _unsent(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("An answer could not be written", failure)


class _Entrance(Resource):
    """Klein's resource, without the noise that anybody could cause in the log by an odd request."""

    isLeaf = True
    _log = Logger()

    def __init__(self, app: Klein) -> None:
        super().__init__()
        self._routes = app.resource()
        self._told = False

    def render(self, request: Any) -> Any:
        """Route `request`, unless its path or its Host cannot be read."""
        if not self._told:
            self._tell_what_lacks(request)
        if not (request.requestHeaders.hasHeader(b"Host") or hasattr(request.getHost(), "host")):
            # The router wants a name, and a local socket has no address that it could take instead.
            request.requestHeaders.setRawHeaders(b"Host", [b"localhost"])
        try:
            b"/".join([*request.prepath, *request.postpath, request.getRequestHostname()]).decode()
            return self._routes.render(request)
        except (UnicodeDecodeError, BadHost):
            return frame(request, _refusal(BadRequest()))

    def _tell_what_lacks(self, request: Any) -> None:
        self._told = True
        if isinstance(request.site, Site):
            return
        lacks = "deadlines for headers and bodies, a limit on connections per address"
        if not isinstance(request, Request):
            lacks += ", a limit on bodies (requestFactory=klein_channels.web.Request brings it)"
        self._log.warn("This site is not ours and may lack: {lacks}", lacks=lacks)


def checked_prefix(prefix: str) -> str:
    """`prefix` with a slash before and none behind; empty for the root."""
    path = "/" + prefix.strip("/") if prefix.strip("/") else ""
    if not _PREFIX.fullmatch(path):
        raise ConfigError(f"prefix {prefix!r}: letters, digits and . _ ~ - between slashes, please")
    return path


def webhook_urls(channels: Iterable[Channel], prefix: str, default: str | None) -> dict[str, Channel]:
    """All webhook URLs, and whose they are."""
    urls: dict[str, Channel] = {}
    for channel in channels:
        if not _CHANNEL_NAME.fullmatch(channel.name):
            raise ConfigError(f"channel {channel.name!r}: a name is made of a-z, 0-9, _ and -")
        own = [f"{prefix}/{channel.name}/webhook", f"/webhooks/{channel.name}/webhook"]
        if channel.name == default:
            own.append(f"{prefix}/webhook")
        for url in own:
            if urls.setdefault(url, channel) is not channel:
                raise ConfigError(f"{url} would be of two channels: {urls[url].name} and {channel.name}")
    if default is not None and default not in {channel.name for channel in urls.values()}:
        raise ConfigError(f"default channel {default!r}: there is no such channel")
    return urls


def _through(door: SocketDoor) -> Callable[[Any], SocketDoor]:
    def socket(request: Any) -> SocketDoor:
        return door

    return socket


def _framed(response: WebhookResponse, request: Any) -> bytes:
    return frame(request, response)


def _send(body: bytes, request: Any) -> None:
    if not client_is_gone(request):
        request.write(body)
        request.finish()


def _answer_alive(request: Any) -> bytes:
    return frame(request, _json({"status": "ok"}))


def _json(value: object, status: int = 200) -> WebhookResponse:
    return WebhookResponse(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _refusal(error: HTTPException) -> WebhookResponse:
    """404, 405 or 400 in a few words; a redirect of the router to a tidier path is a 404."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ())} - {"HEAD"}))
        return WebhookResponse(status=405, body=reason(405), headers=((b"Allow", allowed.encode()),))
    status = 400 if isinstance(error, BadRequest) else 404
    return WebhookResponse(status=status, body=reason(status))
