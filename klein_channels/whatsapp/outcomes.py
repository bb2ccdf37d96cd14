"""
What WhatsApp's errors mean for the reply, its conversation, its phone number.

The same codes come in the answer to a send and later in a ``failed`` status (Meta, "Cloud API error
codes", June to September 2026).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import MalformedWebhook
from ..meta.outcomes import graph_object, graph_outcome, reason_codes, retry_after
from ..model import JSON, CallResult, Outcome, Refused, Retry, Scope, Sent, UnknownOutcome, read_json

THROTTLE_PAUSE = 60.0
"""Seconds a number rests when it was throttled and no header says for how long."""
LONGEST_PAIR_PAUSE = 3600.0
PAIR_RATE = 131056
_MOST_DETAIL = 300

_PASSING = {
    1: "temporary",
    2: "temporary",
    131000: "temporary",
    131016: "temporary",
    131057: "account in maintenance",
    133004: "temporary",
    135000: "temporary",
}
_THROTTLED = frozenset({4, 80007, 130429})
_ONCE_MORE = {131052: "media not fetched", 131053: "media not taken"}
_REFUSED: dict[int, tuple[Scope, str]] = {
    0: ("account", "token refused"),
    190: ("account", "token refused"),
    3: ("account", "permission missing"),
    10: ("account", "permission missing"),
    131005: ("account", "permission missing"),
    131031: ("account", "account locked"),
    131037: ("account", "display name not approved"),
    131042: ("account", "payment missing"),
    131044: ("account", "payment missing"),
    131045: ("account", "number not registered"),
    133010: ("account", "number not registered"),
    131048: ("message", "held back as spam"),
    131049: ("message", "held back for the health of the platform"),
    131050: ("message", "person stopped marketing messages"),
    131063: ("message", "held back by policy"),
    131064: ("message", "held back by policy"),
    130472: ("message", "person is part of an experiment"),
    130497: ("message", "not allowed in this person's country"),
    131020: ("message", "person cannot receive it"),
    131021: ("message", "sender and recipient are the same"),
    131026: ("message", "undeliverable"),
    131030: ("message", "not among the allowed recipients"),
    131041: ("message", "person cannot receive it"),
    131062: ("message", "person cannot receive it"),
    137000: ("message", "person cannot receive it"),
    131047: ("message", "window closed"),
    100: ("message", "wrong parameter"),
    131008: ("message", "parameter missing"),
    131009: ("message", "wrong parameter"),
    131051: ("message", "kind of message not supported"),
    131052: ("message", "media not fetched"),
    131053: ("message", "media not taken"),
    132000: ("message", "template: number of parameters"),
    132001: ("message", "template not found"),
    132005: ("message", "template: text too long"),
    132007: ("message", "template: against the policy"),
    132008: ("message", "template: wrong parameter"),
    132012: ("message", "template: form of a parameter"),
    132015: ("message", "template paused"),
    132016: ("message", "template disabled"),
    132068: ("message", "flow blocked"),
    132069: ("message", "flow throttled"),
}


def send_outcome(result: CallResult, now: float, attempt: int = 1) -> Outcome:
    """What became of the send that `result` answers, being the `attempt`-th."""
    general = graph_outcome(result, now, attempt)
    if result.outcome != "answered":
        return general
    if isinstance(general, Sent):
        mids = _mids(graph_object(result))
        if mids is None:
            reason = f"HTTP {result.status} with an answer that names no message"
            return UnknownOutcome(reason=reason, pace=general.pace)
        return msgspec.structs.replace(general, mids=mids)
    error = _error(result)
    # Zero is a code of WhatsApp's, and also what is read where there is none.
    if error is None or (reason_codes(result)[0] == 0 and error.get("code") != 0):
        return general
    code, detail = reason_codes(result)[0], _detail(error)
    known = _delay(code, detail, result, now, attempt) or _refusal(code, detail) or general
    return msgspec.structs.replace(known, pace=general.pace)


def _delay(code: int, detail: str, result: CallResult, now: float, attempt: int) -> Retry | None:
    """When the send may be tried again, if the error passes by itself."""
    named = retry_after(result, now)
    if code == PAIR_RATE:
        pause = min(4.0 ** min(attempt, 8), LONGEST_PAIR_PAUSE)
        reason = _line("too fast for this person", code, detail)
        return Retry(at=now + pause, scope="conversation", reason=reason)
    if code in _THROTTLED:
        reason = _line("throttled", code, detail)
        return Retry(at=named or now + THROTTLE_PAUSE, scope="account", reason=reason)
    passing = _PASSING.get(code) or (_ONCE_MORE.get(code) if attempt == 1 else None)
    return Retry(at=named, reason=_line(passing, code, detail)) if passing else None


def _refusal(code: int, detail: str) -> Refused | None:
    verdict = _REFUSED.get(code)
    if verdict is None and code in range(200, 300):
        verdict = ("account", "permission missing")
    return Refused(reason=_line(verdict[1], code, detail), scope=verdict[0]) if verdict else None


def failure_reason(errors: JSON) -> str:
    """Why a message failed after it was taken, on one line."""
    error = next((item for item in errors if isinstance(item, dict)), {}) if isinstance(errors, list) else {}
    code = error.get("code")
    known = code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 10**9 else None
    name = "throttled" if known in _THROTTLED or known == PAIR_RATE else "failed"
    if known is not None:
        name = _REFUSED.get(known, ("", _PASSING.get(known, name)))[1]
    return _line(name, known, _detail(error))


def _mids(answer: dict[str, Any] | None) -> tuple[str, ...] | None:
    messages = answer.get("messages") if answer else None
    items = messages if isinstance(messages, list) else []
    ids = [item.get("id") for item in items if isinstance(item, dict)]
    return tuple(mid for mid in ids if isinstance(mid, str) and mid) or None


def _error(result: CallResult) -> dict[str, Any] | None:
    try:
        answer = read_json(result.body)
    except MalformedWebhook:
        return None
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else None


def _detail(error: dict[str, Any]) -> str:
    data = error.get("error_data")
    said = [data.get("details") if isinstance(data, dict) else None, error.get("message"), error.get("title")]
    text = next((words for words in said if isinstance(words, str) and words.strip()), "no message")
    trace = error.get("fbtrace_id")
    text = " ".join(text.split())[:_MOST_DETAIL]
    return f"{text} [fbtrace_id {' '.join(trace.split())[:60]}]" if isinstance(trace, str) else text


def _line(name: str, code: int | None, detail: str) -> str:
    return f"{name} ({code}): {detail}" if code is not None else f"{name}: {detail}"
