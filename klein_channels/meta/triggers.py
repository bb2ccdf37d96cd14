"""Plays Meta: signed notifications, to try a server without an account there."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec

from ..model import WebhookRequest
from ..secret import Secret
from ..signatures import hub_signature

TRIGGER_PERSON = "1000000000000001"


def trigger_request(
    subject: str, account: str, kind: str, text: str, now: float, secret: Secret
) -> WebhookRequest:
    """A notification of `account` as Meta would send it; ValueError names the kinds there are."""
    made = TRIGGERS.get(kind)
    if made is None:
        raise ValueError(f"no kind {kind!r}: {', '.join(TRIGGERS)}")
    milliseconds = int(now * 1000)
    mid = f"m_{milliseconds:x}.{crc32(f'{kind} {text}'.encode('utf-8', 'replace')):08x}"
    item = {
        "sender": {"id": TRIGGER_PERSON},
        "recipient": {"id": account},
        "timestamp": milliseconds,
        **made(mid, text),
    }
    body = msgspec.json.encode(
        {"object": subject, "entry": [{"id": account, "time": milliseconds, "messaging": [item]}]}
    )
    signature = hub_signature(body, secret).encode()
    headers = ((b"content-type", b"application/json"), (b"x-hub-signature-256", signature))
    return WebhookRequest(method="POST", path="", headers=headers, body=body, received_at=now)


def _attachment(kind: str) -> Any:
    return lambda mid, text: {
        "message": {"mid": mid, "attachments": [{"type": kind, "payload": {"url": text}}]}
    }


TRIGGERS: dict[str, Any] = {
    "text": lambda mid, text: {"message": {"mid": mid, "text": text}},
    "quick_reply": lambda mid, text: {
        "message": {"mid": mid, "text": text, "quick_reply": {"payload": text}}
    },
    "postback": lambda mid, text: {"postback": {"mid": mid, "title": text, "payload": text}},
    "referral": lambda _, text: {"referral": {"ref": text, "source": "SHORTLINK", "type": "OPEN_THREAD"}},
    **{kind: _attachment(kind) for kind in ("image", "audio", "video", "file")},
}
