"""
Makes the bodies with which Meta's messaging products are told to show something.

Limits are not looked at here: `fit` has cut the parts by the channel's capabilities. Bodies: Meta,
"Messenger Platform: Send Messages" (5 May 2026).
"""

from __future__ import annotations

from typing import Any

from ..model import (
    JSON,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    File,
    Image,
    Outgoing,
    QuickReplies,
    QuickReply,
    Text,
    Video,
)
from .events import USER_REF

_ASKED = {"phone": "user_phone_number", "email": "user_email"}


def recipient(peer: str) -> dict[str, str]:
    """The ``recipient`` that stands for a peer."""
    if peer.startswith(USER_REF):
        return {"user_ref": peer.removeprefix(USER_REF)}
    return {"id": peer}


def action_body(peer: str, action: str) -> dict[str, Any]:
    """The body of a sender action; nothing else may stand in it."""
    return {"recipient": recipient(peer), "sender_action": action}


def send_body(outgoing: Outgoing) -> dict[str, Any]:
    """The body that shows `outgoing`; ValueError says why there is none.

    Our id travels in ``metadata`` and comes back in the echo, so that a send whose outcome is
    unknown can be settled.
    """
    part = outgoing.part
    body: dict[str, Any] = {"recipient": recipient(outgoing.address.peer)}
    if isinstance(part, Custom) and _is_whole_body(part.json):
        body = {**part.json, **body}
    else:
        body["message"] = _message(part)
    if outgoing.reply_to is not None and "sender_action" not in body:
        body.setdefault("reply_to", {"mid": outgoing.reply_to})
    if "sender_action" not in body:
        body.setdefault("messaging_type", "RESPONSE" if outgoing.cause else "UPDATE")
    if isinstance(body.get("message"), dict):
        body["message"] = {"metadata": outgoing.id, **body["message"]}
    return body


def _is_whole_body(json: JSON) -> bool:
    return isinstance(json, dict) and bool(json.keys() & {"message", "recipient", "sender_action"})


def _message(part: AnyPart) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"text": text}
        case Image(url=url) | Audio(url=url) | Video(url=url) | File(url=url):
            kind = str(part.__struct_config__.tag)
            return {"attachment": {"type": kind, "payload": {"url": url}}}
        case QuickReplies(text=text, replies=replies):
            return {"text": text, "quick_replies": [_quick_reply(reply) for reply in replies]}
        case Buttons(text=text, buttons=buttons):
            return _template("button", text=text, buttons=[_button(button) for button in buttons])
        case Carousel(cards=cards):
            return _template("generic", elements=[_card(card) for card in cards])
        case Custom(json=dict(json)):
            # Some Rasa bots name a recipient in it; ours is the one that the conversation has.
            return {key: value for key, value in json.items() if key != "sender"}
        case Custom():
            raise ValueError("a custom part must be a JSON object")
    raise ValueError(f"Messenger shows nothing of the kind {type(part).__name__}")


def _template(template_type: str, **payload: Any) -> dict[str, Any]:
    return {"attachment": {"type": "template", "payload": {"template_type": template_type, **payload}}}


def _quick_reply(reply: QuickReply) -> dict[str, Any]:
    if reply.ask is not None:
        return {"content_type": _ASKED[reply.ask]}
    made = {"content_type": "text", "title": reply.title, "payload": reply.payload or reply.title}
    return {**made, "image_url": reply.image_url} if reply.image_url else made


def _button(button: Button) -> dict[str, Any]:
    if button.url is not None:
        return {"type": "web_url", "title": button.title, "url": button.url}
    if button.phone is not None:
        return {"type": "phone_number", "title": button.title, "payload": button.phone}
    return {"type": "postback", "title": button.title, "payload": button.payload or button.title}


def _card(card: Card) -> dict[str, Any]:
    made: dict[str, Any] = {"title": card.title}
    if card.subtitle or not (card.image_url or card.url or card.buttons):
        # A card of a title alone is refused.
        made["subtitle"] = card.subtitle or "…"
    if card.image_url:
        made["image_url"] = card.image_url
    if card.url:
        made["default_action"] = {"type": "web_url", "url": card.url}
    if card.buttons:
        made["buttons"] = [_button(button) for button in card.buttons]
    return made
