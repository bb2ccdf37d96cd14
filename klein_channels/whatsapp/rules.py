"""
What WhatsApp takes: the limits of every kind of message of the Cloud API.

Meta, "WhatsApp Business Platform": "Send messages" (23 April 2026), "Interactive reply buttons"
(September 2026), "Interactive lists" (November 2025), "Templates" (2026).
"""

from __future__ import annotations

from ..meta.rules import Anything, Fields, Kinds, Number, Several, Shape, Words

TEXT, CAPTION, BODY, FOOTER, BUTTON = 4096, 1024, 1024, 60, 20
"""Characters."""
BUTTONS, ROWS, SECTIONS = 3, 10, 10
BUTTON_ID, ROW_ID, ROW_TITLE, ROW_DESCRIPTION = 256, 200, 24, 72
_URL = Words(like=r"(?i)https?://\S+", described="an address like https://…")
_ID = Words()


def _media(*more: str) -> Shape:
    shapes: dict[str, Shape] = {"caption": Words(CAPTION, least=0), "filename": Words(least=0)}
    optional = {key: shapes[key] for key in more}
    return Fields({}, {"id": _ID, "link": _URL, **optional}, any_of=("id", "link"), one_of=("id", "link"))


_HEADER = Kinds(
    "type",
    {
        "text": Fields({"text": Words(60)}),
        "image": Fields({"image": _media()}),
        "video": Fields({"video": _media()}),
        "document": Fields({"document": _media("filename")}),
    },
)
_AROUND: dict[str, Shape] = {"header": _HEADER, "footer": Fields({"text": Words(FOOTER)})}


def _said(most: int) -> Shape:
    return Fields({"text": Words(most)})


_REPLY = Fields(
    {
        "type": Words(among=("reply",)),
        "reply": Fields({"id": Words(BUTTON_ID), "title": Words(BUTTON)}),
    }
)
_SECTION = Fields(
    {
        "rows": Several(
            Fields(
                {"id": Words(ROW_ID), "title": Words(ROW_TITLE)},
                {"description": Words(ROW_DESCRIPTION, least=0)},
            ),
            ROWS,
        )
    },
    {"title": Words(24, least=0)},
)
INTERACTIVE = Kinds(
    "type",
    {
        "button": Fields(
            {"body": _said(BODY), "action": Fields({"buttons": Several(_REPLY, BUTTONS)})}, _AROUND
        ),
        "list": Fields(
            {
                "body": _said(4096),
                "action": Fields({"button": Words(BUTTON), "sections": Several(_SECTION, SECTIONS)}),
            },
            _AROUND,
        ),
        "cta_url": Fields(
            {
                "body": _said(BODY),
                "action": Fields(
                    {
                        "name": Words(among=("cta_url",)),
                        "parameters": Fields({"display_text": Words(BUTTON), "url": _URL}),
                    }
                ),
            },
            _AROUND,
        ),
        "flow": Fields(
            {
                "body": _said(BODY),
                "action": Fields(
                    {
                        "name": Words(among=("flow",)),
                        "parameters": Fields(
                            {"flow_message_version": Words(), "flow_cta": Words(30)},
                            {"flow_id": Words(), "flow_name": Words(), "flow_token": Words()},
                            any_of=("flow_id", "flow_name"),
                            one_of=("flow_id", "flow_name"),
                        ),
                    }
                ),
            },
            _AROUND,
        ),
        "product": Fields(
            {"action": Fields({"catalog_id": Words(), "product_retailer_id": Words()})}, {"body": _said(BODY)}
        ),
        "product_list": Fields(
            {
                "header": _HEADER,
                "body": _said(BODY),
                "action": Fields(
                    {
                        "catalog_id": Words(),
                        "sections": Several(
                            Fields(
                                {"product_items": Several(Fields({"product_retailer_id": Words()}), 30)},
                                {"title": Words(24, least=0)},
                            ),
                            SECTIONS,
                        ),
                    }
                ),
            },
        ),
        "catalog_message": Fields(
            {"body": _said(BODY), "action": Fields({"name": Words(among=("catalog_message",))})}
        ),
        "location_request_message": Fields(
            {"body": _said(BODY), "action": Fields({"name": Words(among=("send_location",))})}
        ),
        "address_message": Fields({"body": _said(BODY), "action": Fields({"name": Words()})}),
        "request_contact_info": Fields({"body": _said(BODY), "action": Fields({"name": Words()})}),
        "carousel": Fields({"body": _said(BODY), "action": Fields({"cards": Several(Anything(), 10, 2)})}),
        "voice_call": Fields({"body": _said(BODY), "action": Fields({"name": Words()})}),
    },
)
TEMPLATE = Fields(
    {
        "name": Words(512, like=r"[a-z0-9_]+", described="small letters, digits and _"),
        "language": Fields({"code": Words(like=r"[a-z]{2,3}(_[A-Z]{2,3})?", described="a code like en_US")}),
    },
    {
        "components": Several(
            Fields({"type": Words(among=("header", "body", "button", "carousel", "limited_time_offer"))}),
            least=0,
        ),
    },
)
MESSAGE = Kinds(
    "type",
    {
        "text": Fields({"text": Fields({"body": Words(TEXT)})}),
        "image": Fields({"image": _media("caption")}),
        "video": Fields({"video": _media("caption")}),
        "audio": Fields({"audio": _media()}),
        "document": Fields({"document": _media("caption", "filename")}),
        "sticker": Fields({"sticker": _media()}),
        "location": Fields(
            {"location": Fields({"latitude": Number(-90, 90), "longitude": Number(-180, 180)})}
        ),
        "contacts": Fields(
            {"contacts": Several(Fields({"name": Fields({"formatted_name": Words()})}), 257)},
        ),
        "interactive": Fields({"interactive": INTERACTIVE}),
        "reaction": Fields({"reaction": Fields({"message_id": Words()}, {"emoji": Words(least=0)})}),
        "template": Fields({"template": TEMPLATE}),
    },
)
"""A body of ``POST /{phone number id}/messages``, without the fields that every message has."""
