"""
What Slack's answer to a call means for the reply, its conversation, its account.

Slack says no with HTTP 200 and ``"ok": false``; the name of the error decides. Names: Slack,
"chat.postMessage", "chat.appendStream" and "Rate limits" (docs.slack.dev, read November 2026).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ..errors import MalformedWebhook
from ..model import CallResult, Outcome, Refused, Retry, Scope, Sent, UnknownOutcome, read_json

THROTTLE_PAUSE = 30.0
"""Seconds an account rests when it was throttled and no header says for how long."""
_LONGEST_PAUSE = 86_400.0
_LONGEST_REASON = 300

_THROTTLED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded", "accesslimited"})
_DOUBTFUL = frozenset({"fatal_error", "internal_error"})
"""Of these Slack says that some of what was asked for may have been done before they were raised."""
_PASSING: dict[str, Scope] = {
    "service_unavailable": "message",
    # The body did not arrive whole, so nothing was done.
    "request_timeout": "message",
    "team_added_to_org": "account",
    "org_login_required": "account",
}
_ACCOUNT: dict[str, str] = {
    **dict.fromkeys(("invalid_auth", "not_authed", "token_revoked", "token_expired"), "token refused"),
    **dict.fromkeys(("account_inactive", "app_uninstalled", "two_factor_setup_required"), "app removed"),
    **dict.fromkeys(("missing_scope", "no_permission", "not_allowed_token_type"), "permission missing"),
    **dict.fromkeys(("team_access_not_granted", "access_denied"), "permission missing"),
    "enterprise_is_restricted": "not for an organisation's token",
}
_DONE = frozenset({"already_reacted", "no_reaction"})
"""What was wanted is so already."""
_Answer: TypeAlias = dict[str, Any]


def slack_outcome(result: CallResult, now: float) -> Outcome:
    """What became of the call that `result` answers; `Sent` names the message by its ``ts``."""
    if result.outcome == "not_sent":
        return Retry(reason=_line(result.error) or "not sent")
    if result.outcome == "unknown":
        return UnknownOutcome(reason=_line(result.error) or "no whole answer")
    answer = answer_of(result)
    if result.status == 429:
        return Retry(at=_throttle_end(result, now), scope="account", reason="throttled (HTTP 429)")
    if answer is not None and answer.get("ok") is False:
        return _refusal(answer, result, now)
    if not 200 <= result.status < 300:
        return Retry(at=retry_after(result, now), reason=f"HTTP {result.status}")
    if answer is None or answer.get("ok") is not True:
        return UnknownOutcome(reason=f"HTTP {result.status} with an answer that is not Slack's")
    ts = answer.get("ts")
    return Sent(mids=(ts,) if isinstance(ts, str) and ts else ())


def response_url_outcome(result: CallResult, now: float) -> Outcome:
    """The same for a ``response_url``, which answers ``ok`` in plain words, or JSON if it does not."""
    answer = answer_of(result)
    said_no = answer is not None and answer.get("ok") is False
    if result.outcome != "answered" or result.status == 429 or result.status >= 500 or said_no:
        return slack_outcome(result, now)
    if 200 <= result.status < 300:
        return Sent()
    words = result.body[:100].decode("utf-8", "replace")
    return Refused(reason=_line(f"the response_url is no longer valid (HTTP {result.status}): {words}"))


def answer_of(result: CallResult) -> _Answer | None:
    """The JSON object of an answer, good or bad; None if it is none."""
    try:
        value = read_json(result.body)
    except MalformedWebhook:
        return None
    return value if isinstance(value, dict) else None


def error_of(answer: _Answer) -> str:
    """The name of the error of an answer that says no, with what Slack adds to it, on one line."""
    details = answer.get("response_metadata")
    messages = details.get("messages") if isinstance(details, dict) else None
    more = [answer.get("needed"), *(messages if isinstance(messages, list) else ())]
    said = [_line(item) for item in more if isinstance(item, str) and item]
    return _line(": ".join([_name(answer), *said]))


def retry_after(result: CallResult, now: float) -> float | None:
    """The time that ``Retry-After`` names; Slack gives whole seconds."""
    text = (result.header("retry-after") or "").strip()
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return now + min(float(seconds), _LONGEST_PAUSE) if seconds else None


def _refusal(answer: _Answer, result: CallResult, now: float) -> Outcome:
    name, reason = _name(answer), error_of(answer)
    if name in _DONE:
        return Sent()
    if name in _THROTTLED:
        return Retry(at=_throttle_end(result, now), scope="account", reason=f"throttled ({reason})")
    if name in _DOUBTFUL:
        return UnknownOutcome(reason=f"Slack does not say whether it was shown ({reason})")
    if name in _PASSING:
        return Retry(at=retry_after(result, now), scope=_PASSING[name], reason=f"temporary ({reason})")
    if name in _ACCOUNT:
        return Refused(reason=f"{_ACCOUNT[name]} ({reason})", scope="account")
    return Refused(reason=f"refused ({reason})")


def _throttle_end(result: CallResult, now: float) -> float:
    named = retry_after(result, now)
    return now + THROTTLE_PAUSE if named is None else named


def _name(answer: _Answer) -> str:
    name = answer.get("error")
    return _line(name) if isinstance(name, str) and name else "no error named"


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
