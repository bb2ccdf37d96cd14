"""
What Twilio's answer to a send means for the reply, its conversation, its account.

The code in the answer decides (Twilio, "Error and Warning Dictionary" and "Messages resource", read
November 2026). What Twilio takes may still fail: a status callback tells.
"""

from __future__ import annotations

from typing import Any

from ..errors import MalformedWebhook
from ..model import CallResult, Outcome, Refused, Retry, Scope, Sent, UnknownOutcome, read_json

THROTTLE_PAUSE = 30.0
"""Seconds an account rests when it was throttled and no header says for how long."""
_LONGEST_PAUSE = 86_400.0
_LONGEST_REASON = 300

_REFUSED: dict[int, tuple[Scope, str]] = {
    20003: ("account", "account_sid or auth_token refused"),
    20005: ("account", "account not active"),
    10001: ("account", "account not active"),
    20006: ("account", "access denied"),
    20008: ("account", "not possible with test credentials"),
    20404: ("account", "no such account"),
    21603: ("account", "no number to send from"),
    21606: ("account", "the number cannot send messages"),
    21659: ("account", "the number is not this account's"),
    21660: ("account", "the number is not this account's"),
    21701: ("account", "no such messaging service"),
    21703: ("account", "the messaging service has no numbers"),
    63007: ("account", "the number has no sender on this channel"),
    21610: ("message", "person has opted out"),
    21211: ("message", "no such number"),
    21614: ("message", "the number gets no messages"),
    21612: ("message", "no way from this number to that one"),
    21408: ("message", "not permitted in this region"),
    21608: ("message", "trial accounts reach verified numbers only"),
    21617: ("message", "too long"),
    21620: ("message", "media address refused"),
    21623: ("message", "too much media"),
    21655: ("message", "content template refused"),
    21656: ("message", "variables of the content template refused"),
    63016: ("message", "window closed: only content templates are allowed"),
}
_WAITING = frozenset({20429, 63018, 14107, 21611})
"""Too many requests, or too many messages that wait to leave a number."""


def twilio_outcome(result: CallResult, now: float) -> Outcome:
    """What became of the send that `result` answers; `Sent` names it by its sid."""
    if result.outcome == "not_sent":
        return Retry(reason=_line(result.error) or "not sent")
    if result.outcome == "unknown":
        return UnknownOutcome(reason=_line(result.error) or "no whole answer")
    answer = json_object(result.body) or {}
    if not 200 <= result.status < 300:
        return _refusal(answer, result, now)
    sid = answer.get("sid")
    if isinstance(sid, str) and sid:
        return Sent(mids=(sid,))
    return UnknownOutcome(reason=f"HTTP {result.status} with an answer that is not Twilio's")


def _refusal(answer: dict[str, Any], result: CallResult, now: float) -> Outcome:
    code = _number(answer.get("code"))
    reason = _reason(answer, code, result.status)
    if result.status == 429 or code in _WAITING:
        at = retry_after(result, now) or now + THROTTLE_PAUSE
        return Retry(at=at, scope="account", reason=f"throttled ({reason})")
    if code in _REFUSED:
        scope, words = _REFUSED[code]
        return Refused(reason=f"{words} ({reason})", scope=scope)
    if result.status in (401, 403):
        return Refused(reason=f"account_sid or auth_token refused ({reason})", scope="account")
    if 400 <= result.status < 500 and code is not None:
        return Refused(reason=f"refused ({reason})")
    return Retry(at=retry_after(result, now), reason=reason)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer; None if it is none."""
    try:
        value = read_json(body)
    except MalformedWebhook:
        return None
    return value if isinstance(value, dict) else None


def retry_after(result: CallResult, now: float) -> float | None:
    """The time that ``Retry-After`` names in seconds."""
    text = (result.header("retry-after") or "").strip()
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return now + min(float(seconds), _LONGEST_PAUSE) if seconds else None


def _reason(answer: dict[str, Any], code: int | None, status: int) -> str:
    words = answer.get("message")
    text = _line(words) if isinstance(words, str) else ""
    named = f"HTTP {status}" if code is None else str(code)
    return f"{named}: {text}" if text else named


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
