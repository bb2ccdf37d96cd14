"""What Twilio would send, to try a server without an account there. Its signature covers the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

from ..model import WebhookRequest
from ..secret import Secret
from ..signatures import twilio_signature

ACCOUNT = f"AC{'0' * 32}"
THEM, US = "+15550000002", "+15550000001"
Made = Callable[[int, str], dict[str, str]]
"""The fields of one kind: from a number of the moment, and a text."""


def trigger_request(
    kinds: Mapping[str, Made], kind: str, text: str, now: float, url: str, token: Secret
) -> WebhookRequest:
    """A signed webhook of a kind, as it comes to `url`; ValueError names the kinds."""
    made = kinds.get(kind)
    if made is None:
        raise ValueError(f"no kind {kind!r}: {', '.join(kinds)}")
    fields = {"AccountSid": ACCOUNT, "From": THEM, "To": US, **made(int(now * 1000), text)}
    parts = urlsplit(url)
    body = urlencode(fields, errors="replace")
    signed = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    return WebhookRequest(
        method="POST",
        path=parts.path,
        query=parts.query,
        headers=(
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"x-twilio-signature", twilio_signature(url, signed.items(), token).encode()),
        ),
        body=body.encode(),
        url=url,
        received_at=now,
    )


def _sid(kind: str, number: int) -> str:
    return f"{kind}{number % (1 << 128):032x}"


def _message(number: int, **fields: str) -> dict[str, str]:
    return {"MessageSid": _sid("SM", number), "NumMedia": "0", "NumSegments": "1", "Body": "", **fields}


def _call(number: int, **fields: str) -> dict[str, str]:
    return {"CallSid": _sid("CA", number), "Direction": "inbound", "CallStatus": "in-progress", **fields}


MESSAGES: dict[str, Made] = {
    "text": lambda number, text: _message(number, Body=text),
    "image": lambda number, url: _message(
        number, NumMedia="1", MediaUrl0=url, MediaContentType0="image/jpeg"
    ),
    "postback": lambda number, payload: _message(
        number, Body=payload, ButtonText=payload, ButtonPayload=payload
    ),
}
CALLS: dict[str, Made] = {
    "call": lambda number, text: _call(number, CallStatus="ringing", CallerName=text),
    "speech": lambda number, text: _call(number, SpeechResult=text, Confidence="0.9"),
    "keys": lambda number, digits: _call(number, Digits=digits),
    "hangup": lambda number, text: _call(number, CallStatus="completed"),
}
RELAYED_CALLS: dict[str, Made] = {kind: CALLS[kind] for kind in ("call", "hangup")}
