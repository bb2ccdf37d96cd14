"""
Makes the bodies with which the Cloud API is told to show something.

Limits are not looked at here, but for what an agent says in WhatsApp's own JSON: `fit` has cut the
parts by the channel's capabilities. Bodies: Meta, "Send messages" (23 April 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..markdown import render
from ..model import (
    JSON,
    Audio,
    Button,
    Buttons,
    Custom,
    File,
    Image,
    ListMenu,
    Location,
    Outgoing,
    Text,
    Video,
)
from ..text import shorten
from .messages import SAME_AGAIN
from .people import recipient
from .rules import BODY, BUTTON, BUTTON_ID, MESSAGE, ROW_ID, ROW_TITLE, TEXT
from .statuses import callback_data

MEDIA = "media:"
"""Before the id of something that was uploaded, in place of an address."""
FILE_NAME = 240
"""Characters of a file's name; WhatsApp states no number."""
NO_OPTIONS = "…"
_OURS = frozenset({"messaging_product", "to", "recipient", "recipient_type", "biz_opaque_callback_data"})
_TYPES = tuple(MESSAGE.shapes)


def send_body(outgoing: Outgoing) -> dict[str, Any]:
    """The body that shows `outgoing`; ValueError says why there is none.

    Our id travels in ``biz_opaque_callback_data`` and comes back with every status, so that a send
    whose outcome is unknown can be settled.
    """
    content = _content(outgoing)
    if outgoing.reply_to is not None and content["type"] != "reaction":
        content.setdefault("context", {"message_id": outgoing.reply_to})
    return addressed(outgoing, content)


def addressed(outgoing: Outgoing, content: dict[str, Any]) -> dict[str, Any]:
    """`content` with what every message has: to whom it goes, and whose it is."""
    return {
        "messaging_product": "whatsapp",
        **recipient(outgoing.address.peer),
        **content,
        "biz_opaque_callback_data": callback_data(outgoing.id, outgoing.address.peer),
    }


def seen_body(mid: str, typing: bool) -> dict[str, Any]:
    """The body that marks a message of a person as read, and shows that an answer is being written."""
    body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": mid}
    return {**body, "typing_indicator": {"type": "text"}} if typing else body


def template(name: str, language: str, texts: Sequence[str] = ()) -> dict[str, Any]:
    """A template by its name, with the words for the variables of its body."""
    made: dict[str, Any] = {"name": name, "language": {"code": language}}
    if texts:
        parameters = [{"type": "text", "text": text} for text in texts]
        made["components"] = [{"type": "body", "parameters": parameters}]
    return {"type": "template", "template": made}


def _content(outgoing: Outgoing) -> dict[str, Any]:
    part = outgoing.part
    match part:
        case Text(text=text, format=format):
            body = _words(text, format, TEXT)
            return {"type": "text", "text": {"body": body, "preview_url": "://" in body}}
        case Location(latitude=latitude, longitude=longitude, title=title):
            place = {"latitude": latitude, "longitude": longitude, "name": title}
            return {"type": "location", "location": _present(place)}
        case Buttons():
            return {"type": "interactive", "interactive": _buttons(part)}
        case ListMenu():
            return {"type": "interactive", "interactive": _list(part)}
        case Custom(json=json):
            return _own(json, outgoing)
        case Image() | Audio() | Video() | File():
            return _media(part)
    raise ValueError(f"WhatsApp shows nothing of the kind {type(part).__name__}")


def _words(text: str, format: Literal["plain", "markdown"], most: int) -> str:
    """The text in WhatsApp's marks; as it is where nothing, or too much, would come of that."""
    rendered = render(text, "whatsapp", format).text
    return rendered if 0 < len(rendered) <= most else text


def _media(part: Image | Audio | Video | File) -> dict[str, Any]:
    kind = "document" if isinstance(part, File) else str(part.__struct_config__.tag)
    url = part.url
    made = {"id": url.removeprefix(MEDIA)} if url.startswith(MEDIA) else {"link": url}
    if isinstance(part, File) and part.name:
        made["filename"] = shorten(part.name, FILE_NAME, "characters")
    return {"type": kind, kind: made}


def _buttons(part: Buttons) -> dict[str, Any]:
    body = {"text": _words(part.text, part.format, BODY)}
    if len(part.buttons) == 1 and part.buttons[0].url is not None:
        button = part.buttons[0]
        parameters = {"display_text": button.title, "url": button.url}
        return {"type": "cta_url", "body": body, "action": {"name": "cta_url", "parameters": parameters}}
    ids = _apart([_payload(button) for button in part.buttons], BUTTON_ID)
    titles = _apart([button.title for button in part.buttons], BUTTON)
    made = [
        {"type": "reply", "reply": {"id": id, "title": title}} for id, title in zip(ids, titles, strict=True)
    ]
    return {"type": "button", "body": body, "action": {"buttons": made}}


def _payload(button: Button) -> str:
    if button.url is not None or button.phone is not None:
        raise ValueError("a link stands alone under its words, and WhatsApp has no button that calls")
    return button.payload or button.title


def _list(part: ListMenu) -> dict[str, Any]:
    rows = [row for section in part.sections for row in section.rows]
    ids = iter(_apart([row.payload or row.title for row in rows], ROW_ID))
    titles = iter(_apart([row.title for row in rows], ROW_TITLE))
    sections = [
        _present(
            {
                "title": section.title or (NO_OPTIONS if len(part.sections) > 1 else None),
                "rows": [
                    _present({"id": next(ids), "title": next(titles), "description": row.description or None})
                    for row in section.rows
                ],
            }
        )
        for section in part.sections
    ]
    body = {"text": _words(part.text, part.format, TEXT)}
    action = {"button": part.button or NO_OPTIONS, "sections": sections}
    return {"type": "list", "body": body, "action": action}


def _apart(texts: Sequence[str], most: int) -> list[str]:
    """The texts, of which WhatsApp wants no two alike: invisible signs keep them apart."""
    made: list[str] = []
    for place, text in enumerate(texts):
        signs = texts[:place].count(text)
        made.append(text[: most - signs] + SAME_AGAIN * signs if signs else text)
    return made


def _own(json: JSON, outgoing: Outgoing) -> dict[str, Any]:
    """What an agent says in WhatsApp's own words; ValueError if WhatsApp would refuse it."""
    if not isinstance(json, dict):
        raise ValueError("a custom part must be a JSON object")  # noqa: TRY004  (what `send` reports)
    content = {key: value for key, value in json.items() if key not in _OURS}
    if "type" not in content:
        named = [kind for kind in _TYPES if kind in content]
        if len(named) == 1:
            content = {"type": named[0], **content}
    reaction = content.get("reaction")
    if isinstance(reaction, dict):
        answered = outgoing.reply_to or outgoing.cause
        content["reaction"] = {**({"message_id": answered} if answered else {}), "emoji": "", **reaction}
    problem = MESSAGE.problem(content, "")
    if problem is not None:
        raise ValueError(f"WhatsApp would refuse it: {problem}")
    return content


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
