"""
A stand-in for the part of Twilio's REST API that the channel uses, and webhooks as Twilio signs them.

It judges calls as Twilio does and answers in its shapes ("Messages resource", "Content API", read
November 2026), keeps what was shown, and can be told to misbehave. Serve it with any
`twisted.web.server.Site` and let ``api_url`` and ``content_url`` point there.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import MalformedWebhook
from ..model import JSON, Value, WebhookRequest, read_json
from ..secret import Secret
from ..signatures import twilio_signature
from .graph import CLOSE, GARBAGE, NEVER, Answer

__all__ = ["CLOSE", "GARBAGE", "NEVER", "ShownMessage", "TwilioStandIn", "no", "signed_request"]

_FORM = b"application/x-www-form-urlencoded"


def signed_request(
    url: str, fields: Mapping[str, str], token: str, *, idempotency: str = "", received_at: float = 0.0
) -> WebhookRequest:
    """A webhook to `url` (a whole address) with a form, signed with the auth token."""
    parts = urlsplit(url)
    signature = twilio_signature(url, fields.items(), Secret(token))
    headers = [(b"content-type", _FORM), (b"x-twilio-signature", signature.encode())]
    if idempotency:
        headers.append((b"i-twilio-idempotency-token", idempotency.encode()))
    return WebhookRequest(
        method="POST",
        path=parts.path,
        query=parts.query,
        headers=tuple(headers),
        body=urlencode(fields).encode(),
        url=url,
        received_at=received_at,
    )


def no(code: int, message: str = "no", status: int = 400, **headers: str) -> Answer:
    """Twilio's way to refuse."""
    body = {"code": code, "message": message, "status": status}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=body, headers=named)


class ShownMessage(Value, frozen=True, kw_only=True):
    """One message that was taken: its fields, those that come several times as lists."""

    fields: dict[str, Any]
    sid: str = ""
    at: float = 0.0

    @property
    def text(self) -> str:
        """The words that were shown."""
        return str(self.fields.get("Body", ""))


class TwilioStandIn(Resource):
    """The API of one account. `sent` are the messages, `templates` what content was made, by its sid.

    `clock` is the reactor, or a `task.Clock`.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, account_sid: str, token: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_sent: Callable[[ShownMessage], None] | None = None
        """Called with each message as it is shown."""
        self.sent: list[ShownMessage] = []
        self.templates: dict[str, Any] = {}
        self.requests = 0
        self._clock = clock
        self._path = f"/2010-04-01/Accounts/{account_sid}/Messages.json"
        pair = base64.b64encode(f"{account_sid}:{token}".encode()).decode()
        self._authorization = f"Basic {pair}"
        self._script: deque[Answer] = deque()

    def answers(self, *script: Answer) -> None:
        """Answer the next messages like this, one each, and then as usual again."""
        self._script.extend(script)

    def render_POST(self, request: Request) -> int:
        """A message, or a content template."""
        self.requests += 1
        content = request.content.read() if request.content else b""
        if request.getHeader("authorization") != self._authorization:
            return self._give(request, no(20003, "Authenticate", 401))
        path = (request.path or b"").decode("ascii", "replace")
        if path.endswith("/v1/Content"):
            return self._template(request, content)
        if not path.endswith(self._path):
            return self._give(request, no(20404, "The requested resource was not found", 404))
        fields = _fields(content)
        problem = self._problem(fields)
        if problem is not None:
            return self._give(request, problem)
        return self._message(request, fields)

    def _message(self, request: Request, fields: dict[str, Any]) -> int:
        answer = self._script.popleft() if self._script else Answer(status=201)
        sid = f"SM{self.requests:032x}"
        shown = answer.status in (200, 201) if answer.shown is None else answer.shown
        if shown:
            message = ShownMessage(fields=fields, sid=sid, at=self._clock.seconds())
            self.sent.append(message)
            if self.on_sent is not None:
                self.on_sent(message)
        return self._give(request, answer, {"sid": sid, "status": "queued", "error_code": None})

    def _template(self, request: Request, content: bytes) -> int:
        try:
            template = read_json(content)
        except MalformedWebhook:
            return self._give(request, no(20001, "not JSON"))
        if not isinstance(template, dict) or not template.get("types") or not template.get("language"):
            return self._give(request, no(20001, "types and language are required"))
        sid = f"HX{len(self.templates):032x}"
        self.templates[sid] = template
        return self._give(request, Answer(status=201), {"sid": sid})

    def _problem(self, fields: dict[str, Any]) -> Answer | None:
        """What Twilio has against a message."""
        sender = fields.get("From") or fields.get("MessagingServiceSid")
        body, media = fields.get("Body", ""), _listed(fields.get("MediaUrl"))
        if not fields.get("To"):
            return no(21604, "A 'To' phone number is required.")
        if not sender:
            return no(21603, "A 'From' phone number is required.")
        if not body and not media and not fields.get("ContentSid"):
            return no(21619, "Message body, media URL or content SID is required.")
        if len(body) > 1600:
            return no(21617, "The concatenated message body exceeds the 1600 character limit")
        if len(media) > 10:
            return no(21623, "Number of media files exceeds allowed limit")
        if "ContentVariables" in fields and "ContentSid" not in fields:
            return no(21654, "ContentSid Required")
        return None

    def _give(self, request: Request, answer: Answer, usual: JSON = None) -> int:
        if answer.ending == "never":
            return NOT_DONE_YET
        if answer.delay <= 0:
            _finish(request, answer, usual)
            return NOT_DONE_YET
        later = self._clock.callLater(answer.delay, _finish, request, answer, usual)
        request.notifyFinish().addErrback(lambda _: later.cancel() if later.active() else None)
        return NOT_DONE_YET


def _fields(content: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True):
        fields[name] = [*_listed(fields[name]), value] if name in fields else value
    return fields


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _finish(request: Request, answer: Answer, usual: JSON) -> None:
    if answer.ending == "close":
        request.loseConnection()
        return
    body = usual if answer.body is None else answer.body
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request.setResponseCode(answer.status)
    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(content)))
    request.write(content)
    request.finish()
