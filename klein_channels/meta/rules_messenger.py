"""
What Messenger takes: the limits of every message and template of its Send API.

Meta, "Messenger Platform": "Send Messages" (5 May 2026), "Templates", "Quick Replies", "Buttons",
"Sticker API" (editions of March to June 2026).
"""

from __future__ import annotations

from .rules import Anything, Fields, Kinds, Number, Several, Shape, Words

TEXT, METADATA = 2000, 1000
"""Characters. The documentation says "less than", the Graph's own error "less than or equal to"."""
RETIRED_TAGS = ("ACCOUNT_UPDATE", "CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE")
"""Refused since 27 April 2026; utility messages take their place."""
URL = Words(like=r"(?i)https?://\S+", described="an address like https://…")
_PAYLOAD = Words(1000)
_TITLE = Words(20)
_LINK = Fields({"url": URL, "title": _TITLE})

BUTTON = Kinds(
    "type",
    {
        "web_url": _LINK,
        "postback": Fields({"title": _TITLE, "payload": _PAYLOAD}),
        "phone_number": Fields(
            {
                "title": _TITLE,
                "payload": Words(like=r"\+[\d ()./-]{5,30}", described="a number like +15105551234"),
            }
        ),
        "account_link": Fields({"url": URL}),
        "account_unlink": Fields(),
        "game_play": Fields({"title": _TITLE}, {"payload": _PAYLOAD}),
    },
)
_BUTTONS = Several(BUTTON, 3)
_PRESSED = Several(Kinds("type", {"web_url": _LINK, "postback": BUTTON.shapes["postback"]}), 3)
QUICK_REPLY = Kinds(
    "content_type",
    {
        "text": Fields({"title": Words(20, least=0)}, {"payload": Words(1000, least=0), "image_url": URL}),
        "user_phone_number": Fields(),
        "user_email": Fields(),
        "location": Anything("the quick reply for a place was removed; ask in words"),
    },
)
ELEMENT = Fields(
    {"title": Words(80)},
    {
        "subtitle": Words(80, least=0),
        "image_url": URL,
        "default_action": Fields({"type": Words(among=("web_url",)), "url": URL}),
        "buttons": _BUTTONS,
    },
    any_of=("subtitle", "image_url", "default_action", "buttons"),
)
_QUESTION = Fields(
    {
        "id": Words(80, like=r"\w+", described="letters, digits and _"),
        "type": Words(among=("csat", "nps", "ces", "free_form")),
    },
    {"title": Words(85, least=5)},
)
_REMOVED = Anything("Meta removed this template")

TEMPLATES: dict[str, Shape] = {
    "button": Fields({"text": Words(640), "buttons": _BUTTONS}),
    "generic": Fields({"elements": Several(ELEMENT, 10)}),
    "media": Fields(
        {
            "elements": Several(
                Fields(
                    {"media_type": Words(among=("image", "video"))},
                    {"url": URL, "attachment_id": Words(), "buttons": _BUTTONS},
                    any_of=("url", "attachment_id"),
                    one_of=("url", "attachment_id"),
                ),
                1,
            )
        }
    ),
    "receipt": Fields(
        {
            "recipient_name": Words(),
            "order_number": Words(),
            "currency": Words(),
            "payment_method": Words(),
            "summary": Fields({"total_cost": Number()}),
        },
        {"elements": Several(Fields({"title": Words(), "price": Number(0)}), 100, 0)},
    ),
    "coupon": Fields(
        {"title": Words(80)},
        {
            "subtitle": Words(80, least=0),
            "coupon_code": Words(like=r"\S+", described="a code without spaces"),
            "coupon_url": URL,
            "image_url": URL,
        },
        any_of=("coupon_code", "coupon_url"),
    ),
    "product": Fields({"elements": Several(Fields({"id": Words()}), 10)}),
    "image_grid": Fields(
        {
            "elements": Several(
                Fields(
                    {"images": Several(Fields({"url": URL}), 6, 2)},
                    {"title": Words(45), "subtitle": Words(80, least=0), "buttons": _PRESSED},
                ),
                1,
            )
        }
    ),
    "customer_feedback": Fields(
        {
            "title": Words(65),
            "feedback_screens": Several(Fields({"questions": Several(_QUESTION, 1)}), 1),
            "business_privacy": Fields({"url": URL}),
        },
        {"subtitle": Words(80, least=0), "button_title": Words(20), "expires_in_days": Number(1, 7)},
    ),
    "customer_information": Fields(),
    "instant_form": Fields(),
    "one_time_notif_req": Fields({"title": Words(65), "payload": _PAYLOAD}),
    "notification_messages": Fields({"payload": _PAYLOAD}, {"title": Words(65), "image_url": URL}),
    "list": _REMOVED,
    "open_graph": _REMOVED,
    **{f"airline_{kind}": _REMOVED for kind in ("boardingpass", "checkin", "itinerary", "update")},
}

_MEDIA = Fields(
    {
        "payload": Fields(
            {},
            {"url": URL, "attachment_id": Words()},
            any_of=("url", "attachment_id"),
            one_of=("url", "attachment_id"),
        )
    }
)
ATTACHMENT = Kinds(
    "type",
    {
        "image": _MEDIA,
        "audio": _MEDIA,
        "video": _MEDIA,
        "file": _MEDIA,
        "template": Fields({"payload": Kinds("template_type", TEMPLATES)}),
    },
)
UTILITY = Fields(
    {"name": Words(), "language": Fields({"code": Words()})}, {"components": Several(Anything(), 0, 0)}
)
"""A utility message: a template that Meta has approved, for which no window counts."""
_SHOWN = ("text", "attachment", "attachments", "sticker_id", "template")
MESSAGE = Fields(
    {},
    {
        "text": Words(TEXT),
        "metadata": Words(METADATA, least=0),
        "quick_replies": Several(QUICK_REPLY, 13),
        "attachment": ATTACHMENT,
        "attachments": Several(Kinds("type", {"image": _MEDIA}), 30),
        "sticker_id": Number(1),
        "template": UTILITY,
    },
    any_of=_SHOWN,
    one_of=_SHOWN,
)
_ACTIONS = ("typing_on", "typing_off", "mark_seen", "react", "unreact")
_RECIPIENTS = (
    "id",
    "user_ref",
    "comment_id",
    "post_id",
    "notification_messages_token",
    "one_time_notif_token",
    "phone_number",
)
BODY = Fields(
    {"recipient": Fields({}, {}, any_of=_RECIPIENTS, one_of=_RECIPIENTS[:-1])},
    {
        "message": MESSAGE,
        "messaging_type": Words(among=("RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY")),
        "tag": Words(among=("HUMAN_AGENT", "CUSTOMER_FEEDBACK")),
        "notification_type": Words(among=("REGULAR", "SILENT_PUSH", "NO_PUSH")),
        "sender_action": Words(among=_ACTIONS),
        "persona_id": Words(),
        "reply_to": Fields({"mid": Words()}),
        "thread_control": Fields({"control_type": Words(among=("pass", "release"))}),
    },
    any_of=("message", "sender_action"),
    one_of=("message", "sender_action"),
)
"""The whole of a request."""
_KEPT = Kinds("type", dict.fromkeys(("image", "audio", "video", "file"), _MEDIA))
UPLOAD = Fields({"message": Fields({"attachment": _KEPT})})
"""The whole of a request to keep a file for later."""
