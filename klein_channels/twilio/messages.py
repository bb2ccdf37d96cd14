"""
Reads what Twilio tells about messages: those that come, by SMS, MMS, RCS or WhatsApp, and what became
of ours.

Twilio, "Twilio's request to your incoming message Webhook URL", "Outbound Message Status in Status
Callbacks" and "Advanced Opt-Out" (read November 2026).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from ..errors import MalformedWebhook
from ..json_fields import digest
from ..model import (
    Address,
    AnyEvent,
    Attachment,
    Echo,
    Event,
    FormAnswered,
    MessageReceived,
    OptIn,
    PersonEvent,
    Postback,
    Receipt,
    Sender,
    Unknown,
    read_json,
)

Fields: TypeAlias = Mapping[str, str]
E = TypeVar("E", bound=Event)
MOST_MEDIA = 20
REPLY = "reply"
"""The parameter of a status callback's URL that has our own id of the message."""

_STATUSES: dict[str, Literal["sent", "delivered", "read", "failed"]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_INCOMING = frozenset({"", "received", "receiving"})
_KINDS: dict[str, Literal["image", "audio", "video", "contact"]] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "text/vcard": "contact",
    "text/x-vcard": "contact",
}
_KEYWORDS = {
    **dict.fromkeys(("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"), "stop"),
    # "Yes" also opts in who had opted out; from everybody else it is an answer.
    **dict.fromkeys(("start", "unstop"), "start"),
    **dict.fromkeys(("help", "info"), "help"),
}
"""What Twilio itself answers and acts on when it is all of an SMS."""


class MessageReader:
    """Reads the webhooks of the channel called `channel`."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    def read(self, fields: Fields, query: Fields, token: str | None) -> tuple[AnyEvent, ...]:
        """The events of one request; `token` names it where nothing else does."""
        status = fields.get("MessageStatus") or fields.get("SmsStatus", "")
        sid = _sid(fields)
        if sid and status.lower() not in _INCOMING:
            return self._reported(fields, sid, status.lower(), query.get(REPLY))
        if sid and fields.get("From"):
            return (self._received(fields, sid),)
        name = fields.get("EventType") or ("error" if "Level" in fields else "unknown")
        address = self._address(fields.get("To", ""), fields.get("From", ""))
        id = sid or fields.get("Sid") or token or digest(dict(fields))
        return (Unknown(id=id, address=address, name=name, raw=dict(fields), observe_only=True),)

    def _address(self, ours: str, theirs: str) -> Address:
        return Address(channel=self._channel, account=ours, peer=theirs)

    # What came

    def _received(self, fields: Fields, sid: str) -> AnyEvent:
        keyword = _keyword(fields)
        if keyword is not None:
            details = {"keyword": fields.get("Body", "").strip()}
            return self._event(OptIn, fields, sid, payload=keyword, details=details)
        payload, title = _choice(fields)
        if payload:
            referral = _referral(fields)
            return self._event(
                Postback, fields, sid, payload=payload, title=title, mid=sid, referral=referral
            )
        if answers := fields.get("InteractiveData") or fields.get("FlowData"):
            return self._event(FormAnswered, fields, sid, data=_json(answers), mid=sid)
        return self._message(fields, sid)

    def _message(self, fields: Fields, sid: str) -> AnyEvent:
        text = fields.get("Body", "")
        attachments = _attachments(fields)
        return self._event(
            MessageReceived,
            fields,
            sid,
            text=text,
            attachments=attachments,
            reply_to=fields.get("OriginalRepliedMessageSid") or None,
            mid=sid,
            referral=_referral(fields),
            observe_only=not (text.strip() or attachments),
        )

    def _event(self, kind: type[E], fields: Fields, sid: str, **more: Any) -> E:
        made: dict[str, Any] = {"id": sid, "raw": dict(fields), **more}
        if issubclass(kind, PersonEvent):
            made["sender"] = _sender(fields)
        return kind(address=self._address(fields.get("To", ""), fields["From"]), **made)

    # What became of what we sent

    def _reported(self, fields: Fields, sid: str, status: str, reply: str | None) -> tuple[AnyEvent, ...]:
        address = self._address(fields.get("From", ""), fields.get("To", ""))
        raw = dict(fields)
        told: list[AnyEvent] = []
        if reply:
            # That Twilio names our id settles what became of a send whose answer was lost.
            told.append(Echo(id=sid, address=address, mid=sid, metadata=reply))
        kind = _STATUSES.get(status)
        if kind is None:
            told.append(
                Unknown(id=f"{sid}:{status}", address=address, name=status, raw=raw, observe_only=True)
            )
        else:
            error = {"code": fields["ErrorCode"]} if fields.get("ErrorCode") else None
            if error and fields.get("ErrorMessage"):
                error["message"] = fields["ErrorMessage"]
            told.append(
                Receipt(id=f"{sid}:{status}", address=address, status=kind, mids=(sid,), error=error, raw=raw)
            )
        return tuple(told)


def is_whatsapp(address: str) -> bool:
    """Whether a number of Twilio's is one on WhatsApp."""
    return address.lower().startswith("whatsapp:")


def _sid(fields: Fields) -> str:
    return fields.get("MessageSid") or fields.get("SmsSid") or fields.get("SmsMessageSid", "")


def _keyword(fields: Fields) -> str | None:
    """``stop``, ``start`` or ``help`` if that is what Twilio takes the message for."""
    said = fields.get("OptOutType", "").strip().lower()
    if said in ("stop", "start", "help"):
        return said
    if ":" in fields["From"] and not fields["From"].lower().startswith("rcs:"):
        return None  # Twilio leaves the words of WhatsApp and Messenger alone.
    return _KEYWORDS.get(fields.get("Body", "").strip().lower())


def _choice(fields: Fields) -> tuple[str, str | None]:
    """The payload and title of a pressed button, or of a chosen item of a list."""
    if payload := fields.get("ButtonPayload"):
        return payload, fields.get("ButtonText") or fields.get("Body") or None
    return fields.get("ListId", ""), fields.get("ListTitle") or fields.get("Body") or None


def _attachments(fields: Fields) -> tuple[Attachment, ...]:
    found = []
    for number in range(MOST_MEDIA):
        url = fields.get(f"MediaUrl{number}")
        if not url:
            break
        kind = fields.get(f"MediaContentType{number}", "").partition(";")[0].strip().lower()
        known = _KINDS.get(kind) or _KINDS.get(kind.partition("/")[0]) or "file"
        found.append(Attachment(kind=known, url=url, raw={"content_type": kind} if kind else None))
    place = _place(fields)
    return (*found, place) if place else tuple(found)


def _place(fields: Fields) -> Attachment | None:
    try:
        latitude, longitude = float(fields["Latitude"]), float(fields["Longitude"])
    except (KeyError, ValueError):
        return None
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        return None
    title = fields.get("Label") or fields.get("Address") or None
    raw = {name: fields[name] for name in ("Label", "Address") if fields.get(name)}
    return Attachment(kind="location", title=title, coordinates=(latitude, longitude), raw=raw or None)


def _referral(fields: Fields) -> dict[str, str] | None:
    """Through which advertisement a person came."""
    found = {name: value for name, value in fields.items() if name.startswith("Referral") and value}
    return found if found.keys() - {"ReferralNumMedia"} else None


def _sender(fields: Fields) -> Sender:
    return Sender(id=fields["From"], name=fields.get("ProfileName") or None)


def _json(text: str) -> object:
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except MalformedWebhook:
        return text
