"""
A stand-in for the part of Meta's Graph API that channels use.

It judges requests as the Graph does and answers in its shapes (Meta, "Send API", May 2026, "Error
Codes", 25 June 2026), keeps what was shown, and can be told to misbehave. Serve it with any
`twisted.web.server.Site` and let ``graph_url`` point there; `klein-channels fake graph` does so.

Here is what all products of the Graph share: version, token, proof, script. What each of them takes
and answers is a `Product` in a module of its own.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import MalformedWebhook
from ..model import JSON, read_json
from ..secret import Secret
from ..signatures import appsecret_proof
from .graph_answers import CLOSE, GARBAGE, NEVER, Answer, Asked, Done, Product, SentMessage, refusal
from .graph_app import App
from .graph_pace import Allowance
from .graph_pages import Pages

__all__ = ["CLOSE", "GARBAGE", "NEVER", "Answer", "GraphStandIn", "SentMessage", "refusal"]

_KEPT_HEADERS = ("content-type", "user-agent")


class GraphStandIn(Resource):
    """The Graph for some pages, ``{page id: token}``, and for what other `products` play.

    `sent` are the messages that people see, `actions` the sender actions. With `secret` a call
    without its appsecret_proof is refused. `latency` (seconds) delays every answer. `clock` is
    the reactor, or a `task.Clock`.
    """

    isLeaf = True

    def __init__(
        self,
        clock: IReactorTime,
        pages: Mapping[str, str] | None = None,
        secret: str | None = None,
        latency: float = 0.0,
        products: Sequence[Product] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_sent: Callable[[SentMessage], None] | None = None
        """Called with each message as it is shown."""
        self.sent: list[SentMessage] = []
        self.actions: list[SentMessage] = []
        self.requests = 0
        """How many were posted."""
        self.latency = latency
        self.allowance: Allowance | None = None
        """How often each account may write; as often as it likes by default."""
        self.pages = Pages(pages or {})
        self._clock = clock
        self.app = App(secret or "", self._account_of)
        self._products: tuple[Product, ...] = (self.pages, *products, self.app)
        self._secret = Secret(secret) if secret is not None else None
        self._script: deque[Answer] = deque()

    def answers(self, *script: Answer) -> None:
        """Answer the next messages like this, one each, and then as usual again."""
        self._script.extend(script)

    def render_GET(self, request: Request) -> int:
        """Tell something of a node."""
        return self._judge(request)

    def render_DELETE(self, request: Request) -> int:
        """Take something away."""
        return self._judge(request)

    def render_POST(self, request: Request) -> int:
        """Show a message, or change something."""
        return self._judge(request)

    def _judge(self, request: Request) -> int:
        method = request.method.decode("ascii", "replace")
        self.requests += method == "POST"
        product, account, problem = self._authorised(request)
        if product is None or problem is not None:
            return self._give(request, problem or _no_such_path(request))
        try:
            asked = self._asked(request, method, account)
        except MalformedWebhook:
            return self._give(request, refusal(100, "(#100) The body is not JSON"))
        done = product.answer(asked)
        if not isinstance(done, Done):
            return self._give(request, done or _no_such_path(request))
        return self._carry_out(request, asked, done)

    def _account_of(self, token: str) -> str | None:
        accounts = (
            account
            for product in self._products
            for account, theirs in product.tokens.items()
            if theirs == token
        )
        return next(accounts, None)

    def _asked(self, request: Request, method: str, account: str) -> Asked:
        _, node, *rest = [*_path(request), "", ""]
        content_type = request.getHeader("content-type") or "application/json"
        raw = request.content.read() if request.content else b""
        is_json = "json" in content_type and (method == "POST" or (method == "DELETE" and raw != b""))
        return Asked(
            method=method,
            account=account,
            node=account if node == "me" else node,
            edge="/".join(rest).strip("/"),
            query={
                key.decode("utf-8", "replace"): values[0].decode("utf-8", "replace")
                for key, values in (request.args or {}).items()
            },
            body=read_json(raw) if is_json else None,
            raw=b"" if is_json else raw,
            content_type=content_type,
            url=_url(request),
            at=self._clock.seconds(),
            number=self.requests,
        )

    def _carry_out(self, request: Request, asked: Asked, done: Done) -> int:
        if done.kept is None:
            return self._give(request, Answer(), done.body)
        if self.allowance is not None and (throttled := self.allowance.judge(asked.account, asked.at)):
            return self._give(request, throttled)
        answer = self._script.popleft() if done.kept == "sent" and self._script else Answer()
        if answer.status == 200 if answer.shown is None else answer.shown:
            self._keep(request, asked, done)
        return self._give(request, answer, done.body)

    def _keep(self, request: Request, asked: Asked, done: Done) -> None:
        kept = SentMessage(
            page=asked.account,
            body=asked.body,
            headers={name: value for name in _KEPT_HEADERS if (value := request.getHeader(name))},
            at=asked.at,
            mid=done.mid,
        )
        (self.sent if done.kept == "sent" else self.actions).append(kept)
        if done.kept == "sent" and self.on_sent is not None:
            self.on_sent(kept)

    def _authorised(self, request: Request) -> tuple[Product | None, str, Answer | None]:
        """Whose token came with a request, and what the Graph has against it, if anything."""
        scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            token = _argument(request, b"access_token")
        node = (_path(request)[1:2] or [""])[0]
        owners = [
            (product, account)
            for product in self._products
            for account, theirs in product.tokens.items()
            if theirs == token
        ]
        # A token may be good for several, as a system user's for all numbers: the one asked for is first.
        owners.sort(key=lambda owner: owner[1] != node)
        everybody = {account for product in self._products for account in product.tokens}
        if not owners or (owners[0][1] != node and node in everybody):
            return None, "", refusal(190, "Invalid OAuth access token - Cannot parse access token")
        product, account = owners[0]
        return product, account, self._unproved(request, token)

    def _unproved(self, request: Request, token: str) -> Answer | None:
        proof = _argument(request, b"appsecret_proof")
        if self._secret is None or proof == appsecret_proof(Secret(token), self._secret):
            return None
        what = "Invalid appsecret_proof provided in the API argument"
        missing = "API calls from the server require an appsecret_proof argument"
        return refusal(100, what if proof else missing, type="GraphMethodException")

    def _give(self, request: Request, answer: Answer, usual: JSON = None) -> int:
        if answer.ending == "never":
            return NOT_DONE_YET
        delay = self.latency + answer.delay
        if delay <= 0:
            _finish(request, answer, usual)
            return NOT_DONE_YET
        later = self._clock.callLater(delay, _finish, request, answer, usual)
        request.notifyFinish().addErrback(lambda _: later.cancel() if later.active() else None)
        return NOT_DONE_YET


def _path(request: Request) -> list[str]:
    """The path's parts; the first is the version, without which the Graph would answer as any."""
    parts = [unquote(part.decode("ascii", "replace")) for part in request.postpath or []]
    return parts if parts and re.fullmatch(r"v\d+\.\d+", parts[0]) else []


def _no_such_path(request: Request) -> Answer:
    named = request.path.decode("ascii", "replace") if request.path else ""
    message = f"Unsupported {request.method.decode('ascii', 'replace').lower()} request: {named}"
    return refusal(100, message, 33, type="GraphMethodException")


def _url(request: Request) -> str:
    host = request.getHeader("host") or "graph.invalid"
    return f"http://{host}{request.path.decode('ascii', 'replace') if request.path else ''}"


def _argument(request: Request, name: bytes) -> str:
    values: list[bytes] = (request.args or {}).get(name, [b""])
    return values[0].decode("utf-8", "replace")


def _finish(request: Request, answer: Answer, usual: JSON) -> None:
    if answer.ending == "close":
        request.loseConnection()
        return
    body = usual if answer.body is None else answer.body
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request.setResponseCode(answer.status)
    kind = "text/html" if isinstance(body, bytes) else "application/json; charset=UTF-8"
    for name, value in {"Content-Type": kind, **answer.headers}.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(content)))
    request.write(content)
    request.finish()
