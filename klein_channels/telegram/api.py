"""
How Telegram's Bot API is called, and what its answers mean.

Every answer is a JSON object with ``ok``, and either ``result`` or ``error_code``, ``description``
and perhaps ``parameters`` (Telegram, "Making requests", Bot API 10.3, 24 August 2026). The token
stands in the path: no text of ours repeats an address.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from ..channel import Fetched, Steps
from ..errors import ConfigError, MalformedWebhook, PlatformError
from ..model import JSON, Call, CallResult, Outcome, Refused, Retry, Sent, UnknownOutcome, read_json
from ..secret import Secret, redact
from .places import an_id, an_object

API_URL = "https://api.telegram.org"
CALL_DEADLINE = 20.0
MOST_BYTES = 20 * 1024 * 1024
"""What the Bot API lets bots download (Telegram, "getFile")."""
FLOOD_PAUSE = 30.0
"""Seconds of rest where Telegram says "too many" and not for how long."""
_LONGEST_PAUSE = 86_400.0
_LONGEST_REASON = 300
_TOKEN = re.compile(r"([0-9]{1,20}):[A-Za-z0-9_-]+")


class ApiError(NamedTuple):
    """What the Bot API has against a request; `code` is that of HTTP."""

    code: int
    description: str
    retry_after: float | None = None
    migrated_to: str = ""

    def says(self, *phrases: str) -> bool:
        """Whether the description has one of the phrases, whatever their case."""
        found = self.description.lower()
        return any(phrase in found for phrase in phrases)


class BotApi:
    """One bot at the Bot API: makes the calls, sends none."""

    def __init__(self, channel: str, token: Secret, url: str | None) -> None:
        base = url or API_URL
        if not isinstance(base, str) or not re.fullmatch(r"https?://[^\s?#]+", base):
            raise ConfigError(f"channel {channel!r}: api_url must be an address like {API_URL}")
        matched = _TOKEN.fullmatch(token.reveal())
        if matched is None:
            raise ConfigError(
                f"channel {channel!r}: access_token is not a bot's: @BotFather gives ones like 123456:ABC-def"
            )
        self.bot = matched[1]
        """The bot's own id, which its token begins with."""
        self.channel = channel
        self._token = token
        self._base = base.rstrip("/")

    def call(self, method: str, body: JSON, *, effect: bool = False, deadline: float = CALL_DEADLINE) -> Call:
        """A call of `method`; `effect` marks what somebody will see."""
        return Call(
            method="POST",
            url=f"{self._base}/bot{self._token.reveal()}/{quote(method, safe='')}",
            headers=(("Content-Type", "application/json"),),
            body=msgspec.json.encode(body),
            deadline=deadline,
            max_response=8 << 20,
            trust="configured",
            effect=effect,
        )

    def ask(self, method: str, body: JSON, deadline: float = CALL_DEADLINE) -> Steps[Any]:
        """The result of a method that nobody sees; raises `PlatformError`."""
        result = yield self.call(method, body, deadline=deadline)
        return self._result(method, result)

    def download(self, file_id: str, most_bytes: int) -> Steps[bytes]:
        """The bytes of a file that came in; raises `PlatformError`, also if there are too many."""
        result = yield from self._file(file_id, min(most_bytes, MOST_BYTES), save=False)
        if result.outcome != "answered" or result.status != 200:
            reason = result.error or f"HTTP {result.status}"
            raise PlatformError(f"channel {self.channel!r}: a file could not be fetched: {one_line(reason)}")
        return result.body

    def fetch(self, file_id: str) -> Steps[Fetched | None]:
        """The same file, saved by whoever runs the steps."""
        return Fetched(result=(yield from self._file(file_id, MOST_BYTES, save=True)))

    def _file(self, file_id: str, most: int, *, save: bool) -> Steps[CallResult]:
        file = an_object((yield from self.ask("getFile", {"file_id": file_id})))
        size, path = file.get("file_size"), file.get("file_path")
        if isinstance(size, int) and size > most:
            raise PlatformError(f"channel {self.channel!r}: a file has {size} bytes, more than {most}")
        if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/"):
            # A Bot API server of one's own that runs with --local names a path on its disk.
            raise PlatformError(f"channel {self.channel!r}: getFile gave no path that can be fetched")
        result = yield Call(
            method="GET",
            url=f"{self._base}/file/bot{self._token.reveal()}/{quote(path)}",
            deadline=60.0,
            max_response=most,
            trust="configured",
            save=save,
        )
        return result

    def _result(self, method: str, result: CallResult) -> JSON:
        where = f"channel {self.channel!r}: {method}"
        if result.outcome != "answered":
            raise PlatformError(f"{where}: {one_line(result.error) or 'no whole answer'}")
        error = error_of(result)
        if error is not None:
            raise PlatformError(f"{where}: {error.description}", retry_after=error.retry_after)
        answer = _object(result.body)
        if answer is None or "result" not in answer:
            raise PlatformError(f"{where}: HTTP {result.status} with an answer that is not Telegram's")
        return answer["result"]


def error_of(result: CallResult) -> ApiError | None:
    """The error in an answer, if there is one: the body decides, the HTTP status where it says nothing."""
    if result.outcome != "answered":
        return None
    answer = _object(result.body)
    if answer is None or answer.get("ok") is not False:
        return None if 200 <= result.status < 300 else ApiError(result.status, f"HTTP {result.status}")
    code, words = answer.get("error_code"), answer.get("description")
    parameters = an_object(answer.get("parameters"))
    return ApiError(
        code=code if isinstance(code, int) and not isinstance(code, bool) else result.status,
        description=one_line(words) if isinstance(words, str) else f"HTTP {result.status}",
        retry_after=_pause(parameters.get("retry_after")),
        migrated_to=an_id(parameters.get("migrate_to_chat_id")),
    )


def outcome_of(result: CallResult, now: float, *, ours: bool = True) -> Outcome:
    """What became of the send that `result` answers; not `ours` if an agent chose the method."""
    if result.outcome == "not_sent":
        return Retry(reason=one_line(result.error) or "not sent")
    if result.outcome == "unknown":
        return UnknownOutcome(reason=one_line(result.error) or "no whole answer")
    if (error := error_of(result)) is not None:
        return _refusal(error, now, ours)
    answer = _object(result.body)
    if answer is None or answer.get("ok") is not True:
        return UnknownOutcome(reason=f"HTTP {result.status} with an answer that is not Telegram's")
    return Sent(mids=_mids(answer.get("result")))


def _refusal(error: ApiError, now: float, ours: bool) -> Outcome:
    if error.code == 429:
        # The limits are mostly the chat's (1 a second, 20 a minute in groups): the other chats go on.
        return Retry(
            at=now + (error.retry_after or FLOOD_PAUSE), scope="conversation", reason=error.description
        )
    if error.code >= 500:
        at = now + error.retry_after if error.retry_after else None
        return Retry(at=at, reason=error.description)
    # A token that is no longer a bot's is "Unauthorized", one that never was "Not Found".
    if error.code == 401 or (error.code == 404 and ours):
        return Refused(reason=f"access_token refused: {error.description}", scope="account")
    if error.code == 409:
        return Retry(scope="account", reason=error.description)
    return Refused(reason=error.description)


def one_line(text: str) -> str:
    """A stranger's text for a log: short, on one line, without our token."""
    return redact(" ".join(text.split()))[:_LONGEST_REASON]


def _pause(seconds: JSON) -> float | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < 1e9:
        return None
    return min(float(seconds), _LONGEST_PAUSE)


def _mids(result: JSON) -> tuple[str, ...]:
    messages = result if isinstance(result, list) else [result]
    return tuple(mid for mid in (an_id(an_object(item).get("message_id")) for item in messages) if mid)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = read_json(body)
    except MalformedWebhook:
        return None
    return value if isinstance(value, dict) else None
