"""
A stand-in for the part of Slack's Web API that the channel uses.

It judges calls as Slack does and answers in its shapes, with 200 for nearly everything (Slack's
method pages at docs.slack.dev, read November 2026), keeps what was shown, and can be told to
misbehave. Serve it with any `twisted.web.server.Site` and let ``api_url`` point there.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import MalformedWebhook
from ..model import JSON, Value, read_json
from .graph import CLOSE, GARBAGE, NEVER, Answer
from .slack_rules import call_problem

__all__ = ["CLOSE", "GARBAGE", "NEVER", "Shown", "SlackStandIn", "no", "too_many"]

_POSTS = frozenset({"chat.postMessage", "chat.postEphemeral", "chat.startStream"})


def no(error: str, **more: JSON) -> Answer:
    """Slack's way to refuse: HTTP 200, and the name of the error."""
    return Answer(body={"ok": False, "error": error, **more})


def too_many(seconds: int = 1) -> Answer:
    """The answer to who asks too often."""
    return Answer(
        status=429, body={"ok": False, "error": "ratelimited"}, headers={"Retry-After": str(seconds)}
    )


class Shown(Value, frozen=True, kw_only=True):
    """One call that was carried out, by the token of `team`: `at` is the stand-in's clock."""

    team: str
    method: str
    body: dict[str, Any]
    at: float = 0.0
    ts: str = ""

    @property
    def text(self) -> str:
        """The words that were shown."""
        return str(self.body.get("text") or self.body.get("markdown_text") or "")


class SlackStandIn(Resource):
    """The Web API for the workspaces of `teams`, ``{team id: token}``.

    `sent` are the messages that people see as they were posted, `texts` what each shows by now,
    `done` all other calls that were carried out. Whoever writes to a person (``U…``) is answered with a chat.
    `codes` are what can be exchanged for tokens: ``{code: (team id, token)}``, with `client` as the app's
    id and secret; they last for `token_lasts` seconds, if that is not 0. `clock` is the reactor, or a
    `task.Clock`.
    """

    isLeaf = True

    def __init__(
        self,
        clock: IReactorTime,
        teams: Mapping[str, str],
        *,
        client: tuple[str, str] = ("", ""),
        codes: Mapping[str, tuple[str, str]] | None = None,
        token_lasts: int = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_sent: Callable[[Shown], None] | None = None
        """Called with each message as it is shown."""
        self.sent: list[Shown] = []
        self.done: list[Shown] = []
        self.texts: dict[str, str] = {}
        self.streaming: set[str] = set()
        """The messages that still grow; take one out to end its stream as Slack does after a while."""
        self.requests = 0
        self._clock = clock
        self._team_of = {token: team for team, token in teams.items()}
        self._client = client
        self._codes = dict(codes or {})
        self._token_lasts = token_lasts
        self._script: deque[Answer] = deque()

    def answers(self, *script: Answer) -> None:
        """Answer the next messages and pieces like this, one each, and then as usual again."""
        self._script.extend(script)

    def render_POST(self, request: Request) -> int:
        """One call of a method."""
        self.requests += 1
        method = (request.path or b"").decode("ascii", "replace").rpartition("/")[2]
        content = request.content.read() if request.content else b""
        if method == "oauth.v2.access":
            return self._give(request, self._exchanged(request, content))
        scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
        team = self._team_of.get(token) if scheme.lower() == "bearer" else None
        if team is None:
            return self._give(request, no("invalid_auth" if token else "not_authed"))
        body = _json(content)
        problem = call_problem(method, body) or self._stream_problem(method, body)
        if problem is not None:
            return self._give(request, no(problem))
        return self._carry_out(request, team, method, body)

    def _stream_problem(self, method: str, body: dict[str, Any]) -> str | None:
        ts = body.get("ts")
        growing = ts in self.streaming
        if method in ("chat.appendStream", "chat.stopStream") and not growing:
            return "message_not_in_streaming_state"
        if method == "chat.update" and growing:
            return "streaming_state_conflict"
        return "message_not_found" if method == "chat.update" and ts not in self.texts else None

    def _carry_out(self, request: Request, team: str, method: str, body: dict[str, Any]) -> int:
        answer = self._script.popleft() if method.startswith("chat.") and self._script else Answer()
        posted = method in _POSTS
        channel = str(body.get("channel", ""))
        usual: dict[str, JSON] = {"ok": True}
        ts = f"1790000000.{self.requests:06d}" if posted else str(body.get("ts", ""))
        if method.startswith("chat."):
            channel = f"D{channel[1:]}" if channel.startswith("U") else channel
            usual |= {"channel": channel, "message_ts" if method.endswith("Ephemeral") else "ts": ts}
        shown = answer.status == 200 and not _says_no(answer) if answer.shown is None else answer.shown
        if shown:
            self._show(
                Shown(team=team, method=method, body=body, at=self._clock.seconds(), ts=ts if posted else "")
            )
            if method == "chat.stopStream":
                usual["message"] = {"ts": ts, "text": self.texts[ts]}
        return self._give(request, answer, usual)

    def _show(self, done: Shown) -> None:
        posted = done.method in _POSTS
        (self.sent if posted else self.done).append(done)
        ts = done.ts or str(done.body.get("ts", ""))
        if posted or done.method == "chat.update":
            self.texts[ts] = done.text
        elif done.method in ("chat.appendStream", "chat.stopStream"):
            self.texts[ts] += done.text
        if done.method == "chat.startStream":
            self.streaming.add(ts)
        elif done.method == "chat.stopStream":
            self.streaming.discard(ts)
        if posted and self.on_sent is not None:
            self.on_sent(done)

    def _exchanged(self, request: Request, content: bytes) -> Answer:
        """A code, or a refresh token, is good once, for the app that it was made for."""
        expected = base64.b64encode(":".join(self._client).encode()).decode()
        if request.getHeader("authorization") != f"Basic {expected}":
            return no("invalid_client_id")
        fields = {name: values[0] for name, values in parse_qs(content.decode("utf-8", "replace")).items()}
        given, wrong = (
            ("refresh_token", "invalid_refresh_token") if "grant_type" in fields else ("code", "invalid_code")
        )
        team, token = self._codes.pop(fields.get(given, ""), ("", ""))
        if not team:
            return no(wrong)
        self._team_of[token] = team
        usual = {"ok": True, "access_token": token, "token_type": "bot", "bot_user_id": "U0000000099"}
        usual |= self._expiring(team, token) if self._token_lasts else {}
        return Answer(body={**usual, "team": {"id": team, "name": "A team"}, "enterprise": None})

    def _expiring(self, team: str, token: str) -> dict[str, JSON]:
        """Token rotation: this one ends, and the next is got with another that is good once."""
        self._clock.callLater(float(self._token_lasts), self._team_of.pop, token, None)
        self._codes[f"xoxe-after-{token}"] = (team, f"{token}+")
        return {"expires_in": self._token_lasts, "refresh_token": f"xoxe-after-{token}"}

    def _give(self, request: Request, answer: Answer, usual: JSON = None) -> int:
        if answer.ending == "never":
            return NOT_DONE_YET
        if answer.delay <= 0:
            _finish(request, answer, usual)
            return NOT_DONE_YET
        later = self._clock.callLater(answer.delay, _finish, request, answer, usual)
        request.notifyFinish().addErrback(lambda _: later.cancel() if later.active() else None)
        return NOT_DONE_YET


def _says_no(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and answer.body.get("ok") is False


def _json(content: bytes) -> JSON:
    try:
        return read_json(content)
    except MalformedWebhook:
        return None


def _finish(request: Request, answer: Answer, usual: JSON) -> None:
    if answer.ending == "close":
        request.loseConnection()
        return
    body = usual if answer.body is None else answer.body
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request.setResponseCode(answer.status)
    for name, value in {"Content-Type": "application/json; charset=utf-8", **answer.headers}.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(content)))
    request.write(content)
    request.finish()
