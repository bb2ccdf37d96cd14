"""
What Instagram takes: the limits of every message of its Send API.

Meta, "Instagram Messaging" (edition of 2026) and its changelog up to October 2026.
"""

from __future__ import annotations

from . import rules_messenger as messenger
from .rules import Anything, Fields, Kinds, Several, Shape, Words

TEXT = 1000
"""Bytes of UTF-8."""
_BUTTON = Kinds("type", {kind: messenger.BUTTON.shapes[kind] for kind in ("web_url", "postback")})
_BUTTONS = Several(_BUTTON, 3)
_ELEMENT = Fields(
    messenger.ELEMENT.required,
    {**messenger.ELEMENT.optional, "buttons": _BUTTONS},
    any_of=messenger.ELEMENT.any_of,
)
_NO_ASKING = Anything("Instagram takes no quick replies for numbers and addresses since 5 October 2026")
TEMPLATES: dict[str, Shape] = {
    "button": Fields({"text": Words(640), "buttons": _BUTTONS}),
    "generic": Fields({"elements": Several(_ELEMENT, 10)}),
    "product": messenger.TEMPLATES["product"],
    "notification_messages": messenger.TEMPLATES["notification_messages"],
}
_MEDIA = messenger.ATTACHMENT.shapes["image"]
_SHOWN = ("text", "attachment", "attachments")
MESSAGE = Fields(
    {},
    {
        "text": Words(TEXT, unit="bytes"),
        "quick_replies": Several(
            Kinds(
                "content_type",
                {
                    "text": messenger.QUICK_REPLY.shapes["text"],
                    "user_phone_number": _NO_ASKING,
                    "user_email": _NO_ASKING,
                },
            ),
            13,
        ),
        "attachment": Kinds(
            "type",
            {
                **dict.fromkeys(("image", "audio", "video", "file"), _MEDIA),
                "template": Fields({"payload": Kinds("template_type", TEMPLATES)}),
                "MEDIA_SHARE": Fields({"payload": Fields({"id": Words()})}),
                "like_heart": Fields(),
            },
        ),
        "attachments": Several(Kinds("type", {"image": _MEDIA}), 10),
    },
    any_of=_SHOWN,
    one_of=_SHOWN,
)
BODY = Fields(
    {"recipient": Fields({}, {}, any_of=("id", "comment_id"), one_of=("id", "comment_id"))},
    {
        "message": MESSAGE,
        "messaging_type": Words(among=("RESPONSE", "UPDATE", "MESSAGE_TAG")),
        "tag": Words(among=("HUMAN_AGENT",)),
        "sender_action": messenger.BODY.optional["sender_action"],
        "reply_to": messenger.BODY.optional["reply_to"],
    },
    any_of=messenger.BODY.any_of,
    one_of=messenger.BODY.one_of,
)
"""The whole of a request."""
