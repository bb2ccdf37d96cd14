"""
What the answer of Meta's Graph API to a send means for the reply, its conversation, its account.

The JSON decides, not the HTTP status: most errors are 400. Codes: Meta, "Messenger Platform: Error
Codes" (25 June 2026) and "Rate Limiting" (23 March 2026).
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ..errors import MalformedWebhook
from ..model import JSON, CallResult, Outcome, Refused, Retry, Scope, Sent, UnknownOutcome, read_json
from .usage import pace_of

THROTTLE_PAUSE = 60.0
"""Seconds an account rests when it was throttled and no header says for how long."""
BLOCK_PAUSE = 3600.0
"""Seconds an account rests under a policy block (368), which lasts hours or days."""
_LONGEST_PAUSE = 86_400.0
_LONGEST_REASON = 300


class GraphError(NamedTuple):
    """The ``error`` object of an answer, as far as it can be read."""

    code: int | None
    subcode: int | None
    message: str
    transient: bool

    def reason(self, name: str) -> str:
        """`name`, the codes and the Graph's own words, on one line."""
        numbers = "/".join(str(n) for n in (self.code, self.subcode) if n is not None)
        return f"{name} ({numbers}): {self.message}" if numbers else f"{name}: {self.message}"


ATTACHMENT_ID_REFUSED = (100, 2018074)
_Verdict: TypeAlias = tuple[Scope, str]
_WINDOW: _Verdict = ("message", "window closed")
_TOO_OFTEN: _Verdict = ("message", "sent too often for its kind")
_RESTRICTED: _Verdict = ("account", "page restricted")
_NOT_OWNER: _Verdict = ("conversation", "another app controls the thread")
_PERMISSION: _Verdict = ("account", "permission missing")
_TOKEN: _Verdict = ("account", "token refused")
_AWAY: _Verdict = ("message", "person unavailable")

_REFUSED: dict[tuple[int, int], _Verdict] = {
    (10, 2018278): _WINDOW,
    (10, 2534022): _WINDOW,
    (10, 2018065): _WINDOW,
    (10, 2018108): _WINDOW,
    (4, 2018354): _TOO_OFTEN,
    (613, 1893016): _TOO_OFTEN,
    (613, 2018338): _TOO_OFTEN,
    (9, 2018352): _TOO_OFTEN,
    (10, 1893063): _RESTRICTED,
    (10, 1404170): _RESTRICTED,
    (10, 1893015): ("message", "person stopped notifications"),
    (10, 2018336): ("message", "not available in this thread's region"),
    (1, 2018382): ("message", "instant form refused"),
    (2, 2018344): ("account", "the page's admin has terms to accept"),
    (100, 2018001): ("message", "no such person for this page"),
    (100, 33): ("message", "no such object, or no permission for it"),
    (100, 2018109): ("message", "attachment too large"),
    ATTACHMENT_ID_REFUSED: ("message", "attachment id refused"),
    (100, 2534037): _NOT_OWNER,
    (200, 1545041): _AWAY,
    (200, 2018028): ("message", "app in development mode and the person is no tester"),
    (10, 2534077): ("account", "the link of page and Instagram account wants attention"),
    (100, 2534013): ("account", "the page has no Instagram account"),
    (100, 2534014): ("message", "no such person for this account"),
    (100, 2534025): ("message", "the comment takes no private reply"),
    (100, 2534029): ("account", "Instagram has blocked the business"),
    (200, 2534041): ("account", "the owner switched message access off"),
}
_REFUSED_CODES: dict[int, _Verdict] = {
    190: _TOKEN,
    102: _TOKEN,
    551: _AWAY,
    2022: _RESTRICTED,
    36103: _RESTRICTED,
}
_OWNED_BY_OTHERS = frozenset({2018300, 2018171, 2018321})
"""These come as code or as subcode."""
_TOKEN_SUBCODES = {
    458: "app removed",
    459: "checkpoint",
    460: "password changed",
    463: "token expired",
    464: "checkpoint",
    467: "token invalid",
}
_MEDIA_NOT_FETCHED = frozenset({(100, 2018008), (100, 2018047), (100, 2018294)})
_MAYBE_SENT = (1, 1357046)
_THROTTLES = frozenset({4, 17, 32, 341, 368, 613, *range(80000, 80015)})
_PASSING = frozenset({1, 2, 1200})


def graph_outcome(result: CallResult, now: float, attempt: int = 1) -> Outcome:
    """What became of the send that `result` answers, being the `attempt`-th, and the pace it asks for."""
    outcome = _outcome(result, now, attempt)
    pace = pace_of(result, now)
    return outcome if pace is None else msgspec.structs.replace(outcome, pace=pace)


def _outcome(result: CallResult, now: float, attempt: int) -> Outcome:
    if result.outcome == "not_sent":
        return Retry(reason=_line(result.error) or "not sent")
    if result.outcome == "unknown":
        return UnknownOutcome(reason=_line(result.error) or "no whole answer")
    answer = _json_object(result.body)
    error = _error(answer)
    if error is not None:
        return _refusal(error, result, now, attempt)
    if not 200 <= result.status < 300:
        throttled = result.status == 429
        at = _throttle_end(result, now) if throttled else retry_after(result, now)
        return Retry(at=at, scope="account" if throttled else "message", reason=f"HTTP {result.status}")
    if answer is None:
        return UnknownOutcome(reason=f"HTTP {result.status} with an answer that is not the Graph's")
    mid = answer.get("message_id")
    return Sent(mids=(mid,) if isinstance(mid, str) and mid else ())


def _refusal(error: GraphError, result: CallResult, now: float, attempt: int) -> Outcome:
    codes = (error.code or 0, error.subcode or 0)
    if codes == _MAYBE_SENT:
        return UnknownOutcome(reason=error.reason("may have been sent"))
    verdict = _REFUSED.get(codes)
    if verdict is None and _OWNED_BY_OTHERS.intersection(codes):
        verdict = _NOT_OWNER
    if verdict is None:
        delayed = _delay(error, codes, result, now, attempt)
        if delayed is not None:
            return delayed
    scope, name = verdict or _general_verdict(error)
    return Refused(reason=error.reason(name), scope=scope)


def _delay(
    error: GraphError, codes: tuple[int, int], result: CallResult, now: float, attempt: int
) -> Retry | None:
    """When the send may be tried again, if the error passes by itself."""
    if error.code in _THROTTLES or result.status == 429:
        at = _throttle_end(result, now, BLOCK_PAUSE if error.code == 368 else THROTTLE_PAUSE)
        return Retry(at=at, scope="account", reason=error.reason("throttled"))
    if codes in _MEDIA_NOT_FETCHED and attempt == 1:
        return Retry(at=retry_after(result, now), reason=error.reason("media not fetched"))
    known = error.code in _REFUSED_CODES or error.code == 100
    if error.transient or error.code in _PASSING or (result.status >= 500 and not known):
        return Retry(at=retry_after(result, now), reason=error.reason("temporary"))
    return None


def _general_verdict(error: GraphError) -> _Verdict:
    if error.code == 190 and error.subcode in _TOKEN_SUBCODES:
        return "account", _TOKEN_SUBCODES[error.subcode]
    if error.code in _REFUSED_CODES:
        return _REFUSED_CODES[error.code]
    # With a subcode these are about one person or message; without, about the app.
    about_the_app = error.subcode is None and error.code is not None
    if about_the_app and (error.code in (3, 10) or error.code in range(200, 300)):
        return _PERMISSION
    return "message", "refused"


# ---------------------------------------------------------------------------------------------
# Reading answers, none of which may break sending


def graph_object(result: CallResult) -> dict[str, Any] | None:
    """The JSON object of a good answer; None for errors and everything else."""
    if result.outcome != "answered" or not 200 <= result.status < 300:
        return None
    answer = _json_object(result.body)
    return answer if _error(answer) is None else None


def reason_codes(result: CallResult) -> tuple[int, int]:
    """Code and subcode of the error in an answer; zeros where there is none."""
    error = _error(_json_object(result.body))
    return (error.code or 0, error.subcode or 0) if error else (0, 0)


def retry_after(result: CallResult, now: float) -> float | None:
    """The time that ``Retry-After`` names, in seconds or as a date."""
    text = (result.header("retry-after") or "").strip()
    if not text:
        return None
    try:
        at = now + int(text) if text.isdigit() else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(at, now + _LONGEST_PAUSE) if at > now else None


def _throttle_end(result: CallResult, now: float, otherwise: float = THROTTLE_PAUSE) -> float:
    named = retry_after(result, now)
    if named is not None:
        return named
    minutes = max(_regain_minutes(result), default=0.0)
    return now + (min(minutes * 60, _LONGEST_PAUSE) or otherwise)


def _regain_minutes(result: CallResult) -> Iterator[float]:
    """Estimated waits from ``X-Business-Use-Case-Usage``: lists of uses, by business object."""
    usage = _json_object((result.header("x-business-use-case-usage") or "").encode())
    for uses in (usage or {}).values():
        for use in uses if isinstance(uses, list) else ():
            minutes = use.get("estimated_time_to_regain_access") if isinstance(use, dict) else None
            if isinstance(minutes, int | float) and 0 < minutes < _LONGEST_PAUSE:
                yield float(minutes)


def _error(answer: dict[str, Any] | None) -> GraphError | None:
    error = answer.get("error") if answer else None
    if not isinstance(error, dict):
        return None
    return GraphError(
        code=_number(error.get("code")),
        subcode=_number(error.get("error_subcode")),
        message=_described(error),
        transient=error.get("is_transient") is True,
    )


def _described(error: dict[str, Any]) -> str:
    words = error.get("message")
    text = _line(words) if isinstance(words, str) else "no message"
    trace = error.get("fbtrace_id")
    return f"{text} [fbtrace_id {_line(trace)}]" if isinstance(trace, str) else text


def _number(value: JSON) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = read_json(body)
    except MalformedWebhook:
        return None
    return value if isinstance(value, dict) else None


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
