"""
A stand-in for the part of Meta's Graph API that channels send through.

It judges requests as the Graph does and answers in its shapes (Meta, "Send API", May 2026, "Error
Codes", 25 June 2026), keeps what was shown, and can be told to misbehave. Serve it with any
`twisted.web.server.Site` and let ``graph_url`` point there.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import MalformedWebhook
from ..model import JSON, Value, read_json
from ..secret import Secret
from ..signatures import appsecret_proof

_KEPT_HEADERS = ("content-type", "user-agent")


class SentMessage(Value, frozen=True, kw_only=True):
    """One request that was carried out: `at` is the stand-in's clock, `mid` what it answered."""

    page: str
    body: dict[str, Any]
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    at: float = 0.0
    mid: str = ""

    @property
    def text(self) -> str:
        """The words that were shown, a template's too."""
        message = self.body.get("message")
        if not isinstance(message, dict):
            return ""
        payload = (message.get("attachment") or {}).get("payload") or {}
        return str(message.get("text") or payload.get("text") or "")


class Answer(Value, frozen=True, kw_only=True):
    """How one message is answered. Without a body it is what the Graph would say.

    `ending` ``close`` drops the connection in place of an answer, ``never`` leaves it open. `shown`
    tells whether the person sees the message all the same; None means: if the status is 200.
    """

    status: int = 200
    body: JSON = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    delay: float = 0.0
    ending: Literal["answer", "close", "never"] = "answer"
    shown: bool | None = None


def refusal(code: int, message: str, subcode: int | None = None, status: int = 400, **more: JSON) -> Answer:
    """An answer in the shape of the Graph's errors."""
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    if subcode is not None:
        error["error_subcode"] = subcode
    return Answer(status=status, body={"error": {**error, **more, "fbtrace_id": "AStandIn0000000000000"}})


GARBAGE = Answer(status=200, body=b"<html>an answer of some proxy</html>")
CLOSE = Answer(ending="close")
NEVER = Answer(ending="never")


class GraphStandIn(Resource):
    """The Send API for some pages, ``{page id: token}``.

    `sent` are the messages that people see, `actions` the sender actions. With `secret` a call
    without its appsecret_proof is refused. `latency` (seconds) delays every answer. `clock` is
    the reactor, or a `task.Clock`.
    """

    isLeaf = True

    def __init__(
        self,
        clock: IReactorTime,
        pages: Mapping[str, str],
        secret: str | None = None,
        latency: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_sent: Callable[[SentMessage], None] | None = None
        """Called with each message as it is shown."""
        self.sent: list[SentMessage] = []
        self.actions: list[SentMessage] = []
        self.requests = 0
        self.latency = latency
        self._clock = clock
        self._page_of = {token: page for page, token in pages.items()}
        self._secret = Secret(secret) if secret is not None else None
        self._script: deque[Answer] = deque()

    def answers(self, *script: Answer) -> None:
        """Answer the next messages like this, one each, and then as usual again."""
        self._script.extend(script)

    def render_GET(self, request: Request) -> int:
        """The page that a token belongs to."""
        page, problem = self._authorised(request)
        node = _path(request)[1:]
        if problem is None and node not in (["me"], [page]):
            problem = _no_such_path(request)
        return self._give(request, problem or Answer(body={"id": page, "name": f"Page {page}"}))

    def render_POST(self, request: Request) -> int:
        """Show a message, or carry out a sender action."""
        self.requests += 1
        page, problem = self._authorised(request)
        if problem is None and _path(request)[1:] not in (["me", "messages"], [page, "messages"]):
            problem = _no_such_path(request)
        body, unreadable = _body(request)
        problem = problem or unreadable or body_problem(body)
        if problem is not None:
            return self._give(request, problem)
        return self._carry_out(request, page, body)

    def _carry_out(self, request: Request, page: str, body: dict[str, Any]) -> int:
        answer = Answer()
        if "message" in body and self._script:
            answer = self._script.popleft()
        shown = answer.status == 200 if answer.shown is None else answer.shown
        done = SentMessage(
            page=page,
            body=body,
            headers={name: value for name in _KEPT_HEADERS if (value := request.getHeader(name))},
            at=self._clock.seconds(),
            mid=f"m_standin.{self.requests}" if "message" in body else "",
        )
        if shown:
            (self.sent if "message" in body else self.actions).append(done)
            if "message" in body and self.on_sent is not None:
                self.on_sent(done)
        usual = {"recipient_id": body["recipient"].get("id"), "message_id": done.mid}
        usual = {key: value for key, value in usual.items() if value}
        return self._give(request, answer, usual)

    def _authorised(self, request: Request) -> tuple[str, Answer | None]:
        """The page of the request's token, and what the Graph has against the token, if anything."""
        scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            token = _argument(request, b"access_token")
        page = self._page_of.get(token)
        others = set(self._page_of.values()) - {page}
        if page is None or others.intersection(_path(request)[1:2]):
            return "", refusal(190, "Invalid OAuth access token - Cannot parse access token")
        proof = _argument(request, b"appsecret_proof")
        if self._secret is not None and proof != appsecret_proof(Secret(token), self._secret):
            what = "Invalid appsecret_proof provided in the API argument"
            missing = "API calls from the server require an appsecret_proof argument"
            return page, refusal(100, what if proof else missing, type="GraphMethodException")
        return page, None

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


def body_problem(body: JSON) -> Answer | None:
    """What the Graph has against a body, in its own shape."""
    if not isinstance(body, dict) or not isinstance(body.get("recipient"), dict) or not body["recipient"]:
        return refusal(100, "(#100) The parameter recipient is required")
    if ("message" in body) == ("sender_action" in body):
        return refusal(100, "(#100) Exactly one of message and sender_action is required", 2018014)
    if "sender_action" in body:
        return None
    message = body["message"]
    if not isinstance(message, dict) or not message.keys() & {
        "text",
        "attachment",
        "attachments",
        "sticker_id",
    }:
        return refusal(100, "(#100) param message must be non-empty.")
    return _message_problem(message)


def _message_problem(message: dict[str, Any]) -> Answer | None:
    attachment = message.get("attachment")
    payload = attachment.get("payload") if isinstance(attachment, dict) else None
    payload = payload if isinstance(payload, dict) else {}
    for name, where, key, least, most in (
        ("message[text]", message, "text", 1, 2000),
        ("message[metadata]", message, "metadata", 0, 1000),
        ("message[quick_replies]", message, "quick_replies", 1, 13),
        ("message[attachment][payload][text]", payload, "text", 1, 640),
        ("message[attachment][payload][buttons]", payload, "buttons", 1, 3),
        ("message[attachment][payload][elements]", payload, "elements", 1, 10),
    ):
        if key not in where:
            continue
        length = len(where[key]) if isinstance(where[key], str | list) else 0
        if length < least:
            return refusal(100, f"(#100) param {name} must be non-empty.")
        if length > most:
            return refusal(100, f"(#100) Length of param {name} must be less than or equal to {most}")
    return None


def _path(request: Request) -> list[str]:
    """The path's parts; the first is the version, without which the Graph would answer as any."""
    parts = [unquote(part.decode("ascii", "replace")) for part in request.postpath or []]
    return parts if parts and re.fullmatch(r"v\d+\.\d+", parts[0]) else []


def _no_such_path(request: Request) -> Answer:
    named = request.path.decode("ascii", "replace") if request.path else ""
    message = f"Unsupported {request.method.decode('ascii', 'replace').lower()} request: {named}"
    return refusal(100, message, 33, type="GraphMethodException")


def _argument(request: Request, name: bytes) -> str:
    values: list[bytes] = (request.args or {}).get(name, [b""])
    return values[0].decode("utf-8", "replace")


def _body(request: Request) -> tuple[Any, Answer | None]:
    try:
        return read_json(request.content.read() if request.content else b""), None
    except MalformedWebhook:
        return None, refusal(100, "(#100) The body is not JSON")


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
