"""
A stand-in for Telegram's Bot API.

It judges requests as the Bot API does and answers in its shapes and words (Telegram, "Bot API 10.3",
24 August 2026), keeps what was shown, holds updates until they are asked for, and can be told to
misbehave. Serve it with any `twisted.web.server.Site` and let ``api_url`` point there.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import MalformedWebhook
from ..model import JSON, Value, read_json
from .graph import Answer
from .telegram_rules import markup_problem, refusal, too_many, words_problem

__all__ = ["BotApiStandIn", "Shown", "refusal", "too_many"]

_SHOWN = {
    "sendmessage": "text",
    "sendphoto": "photo",
    "sendaudio": "audio",
    "sendvideo": "video",
    "senddocument": "document",
    "sendsticker": "sticker",
    "sendlocation": "latitude",
    "sendvenue": "address",
    "senddice": "chat_id",
    "sendmediagroup": "media",
}
"""Methods that show something -> the parameter that they must have."""
_QUIET = frozenset(
    {
        "getme",
        "getupdates",
        "setwebhook",
        "deletewebhook",
        "getwebhookinfo",
        "getfile",
        "answercallbackquery",
        "sendchataction",
        "sendmessagedraft",
        "editmessagetext",
    }
)


class Shown(Value, frozen=True, kw_only=True):
    """One request that was carried out: `at` is the stand-in's clock, `mid` the message it made."""

    method: str
    body: dict[str, Any]
    at: float = 0.0
    mid: int = 0

    @property
    def text(self) -> str:
        """The words that were shown, a caption too."""
        return str(self.body.get("text") or self.body.get("caption") or "")


class BotApiStandIn(Resource):
    """The Bot API for one bot.

    `sent` are the messages that people see, `edits`, `drafts` and `actions` what else they see,
    `answered` the callback queries that were answered. `chats` maps a chat's id to what becomes of
    messages there: ``open``, ``blocked``, or the id that the group moved to; None knows every chat.
    `unreachable` are addresses whose files cannot be fetched, `files` those that people sent.
    `clock` is the reactor, or a `task.Clock`.
    """

    isLeaf = True

    def __init__(
        self,
        clock: IReactorTime,
        token: str,
        *,
        username: str = "stand_in_bot",
        chats: Mapping[int, str | int] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_sent: Callable[[Shown], None] | None = None
        """Called with each message as it is shown."""
        self.sent: list[Shown] = []
        self.edits: list[Shown] = []
        self.drafts: list[Shown] = []
        self.actions: list[Shown] = []
        self.answered: list[str] = []
        self.unreachable: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.webhook: dict[str, Any] = {"url": ""}
        self.requests = 0
        self._clock = clock
        self._token = token
        self._username = username
        self._chats = chats
        self._script: deque[Answer] = deque()
        self._updates: list[dict[str, Any]] = []
        self._next_update = 700_000_001
        self._next_mid = 1
        self._held: tuple[Request, dict[str, Any], IDelayedCall] | None = None

    def answers(self, *script: Answer) -> None:
        """Answer the next messages like this, one each, and then as usual again."""
        self._script.extend(script)

    def happens(self, **update: JSON) -> int:
        """Something that the bot is told of; the update's id. A poll that waits is answered."""
        number = self._next_update
        self._next_update += 1
        self._updates.append({"update_id": number, **update})
        if self._held is not None:
            request, body, timeout = self._held
            self._held = None
            timeout.cancel()
            self._give_updates(request, body)
        return number

    @property
    def waiting(self) -> list[int]:
        """The ids of the updates that nobody has confirmed yet."""
        return [update["update_id"] for update in self._updates]

    def render_GET(self, request: Request) -> int:
        """A file that somebody sent."""
        found = re.fullmatch(r"/file/bot([^/]+)/files/(.+)", _path(request))
        content = self.files.get(found[2]) if found and found[1] == self._token else None
        _finish(request, Answer(status=404) if content is None else Answer(body=content))
        return NOT_DONE_YET

    def render_POST(self, request: Request) -> int:
        """Carry out a method."""
        self.requests += 1
        named = re.fullmatch(r"/bot([^/]*)/([^/]+)", _path(request))
        if named is None or ":" not in named[1]:
            return _give(request, refusal(404, "Not Found"))
        if named[1] != self._token:
            return _give(request, refusal(401, "Unauthorized"))
        method = named[2].lower()
        try:
            body = read_json(request.content.read() if request.content else b"")
        except MalformedWebhook:
            body = None
        if method not in _QUIET and method not in _SHOWN:
            return _give(request, refusal(404, "Not Found: method not found"))
        if not isinstance(body, dict):
            return _give(request, refusal(400, "Bad Request: can't parse JSON object"))
        if method in _SHOWN:
            return self._show(request, method, body)
        quiet: Callable[[Request, dict[str, Any]], int] = getattr(self, f"_do_{method}")
        return quiet(request, body)

    # What people see

    def _show(self, request: Request, method: str, body: dict[str, Any]) -> int:
        if self._script:
            answer = self._script.popleft()
            if answer.status != 200 or answer.shown is False:
                return _give(request, answer)
            self._kept(method, body)
            return _give(request, answer)
        problem = self._chat_problem(body) or self._content_problem(method, body)
        return _give(request, problem or _ok(self._kept(method, body)))

    def _kept(self, method: str, body: dict[str, Any]) -> JSON:
        count = len(body["media"]) if method == "sendmediagroup" else 1
        first = self._next_mid
        messages: list[dict[str, Any]] = []
        for _ in range(count):
            mid, self._next_mid = self._next_mid, self._next_mid + 1
            messages.append({"message_id": mid, "chat": {"id": body["chat_id"]}, "date": int(self._now)})
        shown = Shown(method=method, body=body, at=self._now, mid=first)
        self.sent.append(shown)
        if self.on_sent is not None:
            self.on_sent(shown)
        return messages if method == "sendmediagroup" else messages[0]

    def _chat_problem(self, body: dict[str, Any]) -> Answer | None:
        chat = body.get("chat_id")
        if chat is None:
            return refusal(400, "Bad Request: chat_id is empty")
        state = "open" if self._chats is None else self._chats.get(chat, "unknown")
        if state == "unknown":
            return refusal(400, "Bad Request: chat not found")
        if state == "blocked":
            return refusal(403, "Forbidden: bot was blocked by the user")
        if isinstance(state, int):
            words = "Bad Request: group chat was upgraded to a supergroup chat"
            return refusal(400, words, migrate_to_chat_id=state)
        return None

    def _content_problem(self, method: str, body: dict[str, Any]) -> Answer | None:
        needed = body.get(_SHOWN[method])
        if needed in (None, "", []):
            what = "message text" if method == "sendmessage" else _SHOWN[method]
            return refusal(400, f"Bad Request: {what} is empty")
        if method != "sendmessage" and isinstance(needed, str) and needed in self.unreachable:
            return refusal(400, "Bad Request: failed to get HTTP URL content")
        if method == "sendmediagroup" and not 2 <= len(body["media"]) <= 10:
            return refusal(400, "Bad Request: wrong number of media in the album")
        return words_problem(body) or markup_problem(body)

    @property
    def _now(self) -> float:
        return self._clock.seconds()

    def _do_editmessagetext(self, request: Request, body: dict[str, Any]) -> int:
        mid = body.get("message_id")
        before = next((s for s in reversed([*self.sent, *self.edits]) if s.mid == mid), None)
        if before is None:
            return _give(request, refusal(400, "Bad Request: message to edit not found"))
        same = all(before.body.get(key) == body.get(key) for key in ("text", "entities", "reply_markup"))
        if same:
            return _give(
                request,
                refusal(
                    400,
                    "Bad Request: message is not modified: specified new message content and reply markup"
                    " are exactly the same as a current content and reply markup of the message",
                ),
            )
        problem = self._content_problem("sendmessage", body)
        if problem is None:
            self.edits.append(Shown(method="editmessagetext", body=body, at=self._now, mid=before.mid))
        return _give(request, problem or _ok({"message_id": mid, "chat": {"id": body.get("chat_id")}}))

    def _do_sendmessagedraft(self, request: Request, body: dict[str, Any]) -> int:
        chat, draft = body.get("chat_id"), body.get("draft_id")
        if not isinstance(chat, int) or chat < 0:
            return _give(request, refusal(400, "Bad Request: TEXTDRAFT_PEER_INVALID"))
        if not isinstance(draft, int) or draft == 0:
            return _give(request, refusal(400, "Bad Request: draft_id must be non-zero"))
        problem = words_problem(body)
        if problem is None:
            self.drafts.append(Shown(method="sendmessagedraft", body=body, at=self._now))
        return _give(request, problem or _ok(True))

    def _do_sendchataction(self, request: Request, body: dict[str, Any]) -> int:
        self.actions.append(Shown(method="sendchataction", body=body, at=self._now))
        return _give(request, _ok(True))

    def _do_answercallbackquery(self, request: Request, body: dict[str, Any]) -> int:
        query = body.get("callback_query_id")
        if not isinstance(query, str) or query in self.answered:
            words = "query is too old and response timeout expired or query ID is invalid"
            return _give(request, refusal(400, f"Bad Request: {words}"))
        self.answered.append(query)
        return _give(request, _ok(True))

    # What the bot is told

    def _do_getupdates(self, request: Request, body: dict[str, Any]) -> int:
        if self.webhook["url"]:
            words = (
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete"
            )
            return _give(request, refusal(409, f"{words} the webhook first"))
        if self._held is not None:
            other, _, timeout = self._held
            self._held = None
            timeout.cancel()
            words = "Conflict: terminated by other getUpdates request; make sure that only one bot instance"
            _give(other, refusal(409, f"{words} is running"))
        offset, seconds = body.get("offset", 0), body.get("timeout", 0)
        self._updates = [update for update in self._updates if update["update_id"] >= offset]
        if self._updates or not seconds:
            return self._give_updates(request, body)
        timeout = self._clock.callLater(seconds, self._poll_ends)
        self._held = (request, body, timeout)
        request.notifyFinish().addErrback(lambda _: self._poll_left(request))
        return NOT_DONE_YET

    def _give_updates(self, request: Request, body: dict[str, Any]) -> int:
        return _give(request, _ok(self._updates[: body.get("limit", 100)]))

    def _poll_ends(self) -> None:
        if self._held is not None:
            request, body, _ = self._held
            self._held = None
            self._give_updates(request, body)

    def _poll_left(self, request: Request) -> None:
        if self._held is not None and self._held[0] is request:
            self._held[2].cancel()
            self._held = None

    def _do_setwebhook(self, request: Request, body: dict[str, Any]) -> int:
        url, secret = body.get("url", ""), body.get("secret_token", "")
        if url and not url.startswith("https://"):
            words = "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
            return _give(request, refusal(400, words))
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            return _give(request, refusal(400, "Bad Request: secret token contains unallowed characters"))
        self.webhook = body
        return _give(request, _ok(True))

    def _do_deletewebhook(self, request: Request, body: dict[str, Any]) -> int:
        self.webhook = {"url": ""}
        if body.get("drop_pending_updates"):
            self._updates.clear()
        return _give(request, _ok(True))

    def _do_getwebhookinfo(self, request: Request, body: dict[str, Any]) -> int:
        kept = {key: value for key, value in self.webhook.items() if key in ("url", "allowed_updates")}
        info = {"has_custom_certificate": False, "pending_update_count": len(self._updates), **kept}
        return _give(request, _ok(info))

    def _do_getme(self, request: Request, body: dict[str, Any]) -> int:
        bot = int(self._token.partition(":")[0])
        return _give(request, _ok({"id": bot, "is_bot": True, "username": self._username}))

    def _do_getfile(self, request: Request, body: dict[str, Any]) -> int:
        content = self.files.get(str(body.get("file_id")))
        if content is None:
            return _give(request, refusal(400, "Bad Request: invalid file_id"))
        file = {
            "file_id": body["file_id"],
            "file_path": f"files/{body['file_id']}",
            "file_size": len(content),
        }
        return _give(request, _ok(file))


def _ok(result: JSON) -> Answer:
    return Answer(body={"ok": True, "result": result})


def _path(request: Request) -> str:
    return unquote(request.path.decode("ascii", "replace")) if request.path else ""


def _give(request: Request, answer: Answer) -> int:
    if answer.ending != "never":
        _finish(request, answer)
    return NOT_DONE_YET


def _finish(request: Request, answer: Answer) -> None:
    if answer.ending == "close":
        request.loseConnection()
        return
    body = _ok({"message_id": 1}).body if answer.body is None else answer.body
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request.setResponseCode(answer.status)
    request.setHeader("Content-Type", "application/json")
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(content)))
    request.write(content)
    request.finish()
