"""Reads what a Telegram message shows beside its words. None of it can fail to be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from ..model import JSON, Attachment
from .places import an_object

Kind: TypeAlias = Literal[
    "image", "audio", "video", "file", "sticker", "location", "share", "contact", "template", "unknown"
]
_KINDS: dict[str, Kind] = {
    "live_photo": "image",
    "photo": "image",
    "animation": "video",
    "video": "video",
    "video_note": "video",
    "audio": "audio",
    "voice": "audio",
    "document": "file",
    "sticker": "sticker",
    "venue": "location",
    "location": "location",
    "contact": "contact",
    "story": "share",
    "poll": "template",
    "checklist": "template",
    "invoice": "template",
    "game": "template",
    "paid_media": "template",
    "rich_message": "template",
    "giveaway": "template",
    "giveaway_winners": "template",
    "dice": "unknown",
}
"""What a message may show -> our word. The order counts: a venue repeats itself as ``location``, an
animation as ``document``, a live photo as ``photo`` (Bot API, "Message", 24 August 2026)."""


def read_attachments(message: dict[str, Any]) -> tuple[Attachment, ...]:
    """The attachment of a message, if any: Telegram's messages have at most one each.

    There is no address: files are fetched by the ``file_id`` in `raw`, with the bot's token.
    """
    word = next((word for word in _KINDS if message.get(word) is not None), None)
    if word is None:
        return ()
    item = message[word]
    if word == "photo" and isinstance(item, list):
        item = max(item, key=_pixels, default=None)
    fields = an_object(item)
    title = _TITLES.get(word, _named)(fields)
    coordinates = _coordinates(an_object(fields.get("location")) if word == "venue" else fields)
    return (Attachment(kind=_KINDS[word], title=title, coordinates=coordinates, raw={word: item}),)


def file_id_of(attachment: Attachment) -> str | None:
    """The ``file_id`` of what an attachment shows, if it is a file."""
    item = next(iter(attachment.raw.values()), None) if isinstance(attachment.raw, dict) else None
    return _text(an_object(item).get("file_id"))


def _pixels(size: JSON) -> int:
    fields = an_object(size)
    sides = [fields.get("width"), fields.get("height")]
    width, height = (side if isinstance(side, int) else 0 for side in sides)
    return width * height


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) and value else None


def _named(fields: dict[str, Any]) -> str | None:
    return _text(fields.get("title")) or _text(fields.get("file_name"))


def _contact(fields: dict[str, Any]) -> str | None:
    said = (_text(fields.get(key)) for key in ("first_name", "last_name", "phone_number"))
    return " ".join(part for part in said if part) or None


def _dice(fields: dict[str, Any]) -> str | None:
    emoji, value = _text(fields.get("emoji")), fields.get("value")
    return f"{emoji} {value}" if emoji and isinstance(value, int) else emoji


_TITLES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "sticker": lambda fields: _text(fields.get("emoji")),
    "contact": _contact,
    "dice": _dice,
    "poll": lambda fields: _text(fields.get("question")),
}


def _coordinates(fields: dict[str, Any]) -> tuple[float, float] | None:
    found = [fields.get("latitude"), fields.get("longitude")]
    numbers = [
        float(n) for n in found if isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 1e6
    ]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return None
    return numbers[0], numbers[1]
