"""
Makes the bodies with which Meta's messaging products are told to show something.

Limits of typed parts are not looked at here: `fit` has cut them by the channel's capabilities. What an
agent gives in the platform's own JSON is held against the platform's rules. Bodies: Meta, "Messenger
Platform: Send Messages" (5 May 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
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
from . import rules_instagram, rules_messenger
from .item import COMMENT, USER_REF
from .rules import Shape

REFERENCES = (
    USER_REF,
    COMMENT,
    "post_id:",
    "notification_messages_token:",
    "one_time_notif_token:",
    "phone_number:",
)
"""What may stand before a peer that is not a person's id, and is then the key of the ``recipient``."""
_TOKENS = frozenset({"notification_messages_token", "one_time_notif_token"})
_OPTIONS = ("messaging_type", "tag", "notification_type", "persona_id", "thread_control")
"""Keys of a message's metadata that the Send API has at the top of its bodies."""


@dataclass(frozen=True, slots=True)
class SendFormat:
    """How one platform wants to be told: `platform` is its name, `rules` the shape of a whole body.

    With `marks` our id travels in ``metadata`` and comes back in the echo, and every body says what
    kind of message it is.
    """

    platform: str
    rules: Shape
    marks: bool = True

    def action_body(self, peer: str, action: str) -> dict[str, Any]:
        """The body of a sender action; nothing else may stand in it."""
        return {"recipient": recipient(peer), "sender_action": action}

    def send_body(self, outgoing: Outgoing) -> dict[str, Any]:
        """The body that shows `outgoing`; ValueError says why there is none.

        With `marks` a send whose outcome is unknown can be settled by its echo.
        """
        part, to = outgoing.part, recipient(outgoing.address.peer)
        options = {key: value for key, value in (outgoing.metadata or {}).items() if key in _OPTIONS}
        if isinstance(part, Custom) and _is_whole_body(part.json):
            body = {**options, **part.json, "recipient": to}
        else:
            body = {**options, "recipient": to, "message": self._message(part)}
        if "sender_action" not in body:
            self._complete(body, outgoing)
        if isinstance(part, Custom) or options:
            self._check(body)
        return body

    def _complete(self, body: dict[str, Any], outgoing: Outgoing) -> None:
        if outgoing.reply_to is not None:
            body.setdefault("reply_to", {"mid": outgoing.reply_to})
        message = body.get("message")
        if body.get("tag") is not None:
            body.setdefault("messaging_type", "MESSAGE_TAG")
        elif isinstance(message, dict) and "template" in message:
            body.setdefault("messaging_type", "UTILITY")
        elif self.marks and not _TOKENS.intersection(body["recipient"]):
            body.setdefault("messaging_type", "RESPONSE" if outgoing.cause else "UPDATE")
        if self.marks and isinstance(message, dict):
            body["message"] = {"metadata": outgoing.id, **message}

    def _check(self, body: dict[str, Any]) -> None:
        if body.get("tag") in rules_messenger.RETIRED_TAGS:
            raise ValueError(f"tag: Meta refuses {body['tag']} since 27 April 2026; use a utility message")
        problem = self.rules.problem(body, "")
        if problem is not None:
            raise ValueError(f"{self.platform} would refuse it: {problem}")

    def _message(self, part: AnyPart) -> dict[str, Any]:
        made = _message(part)
        if made is None:
            raise ValueError(f"{self.platform} shows nothing of the kind {type(part).__name__}")
        return made


MESSENGER = SendFormat("Messenger", rules_messenger.BODY)
INSTAGRAM = SendFormat("Instagram", rules_instagram.BODY, marks=False)
_ASKED = {"phone": "user_phone_number", "email": "user_email"}


def recipient(peer: str) -> dict[str, str]:
    """The ``recipient`` that stands for a peer."""
    for reference in REFERENCES:
        if peer.startswith(reference):
            return {reference[:-1]: peer.removeprefix(reference)}
    return {"id": peer}


def _is_whole_body(json: JSON) -> bool:
    return isinstance(json, dict) and bool(json.keys() & {"message", "recipient", "sender_action"})


def _message(part: AnyPart) -> dict[str, Any] | None:
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
    return None


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
