"""Reads what a message of WhatsApp shows: its words, and what is attached to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ..json_fields import an_object, lenient_identifier, lenient_words, words
from ..model import JSON, Attachment

_MEDIA: dict[str, Literal["image", "audio", "video", "file", "sticker"]] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "voice": "audio",
    "document": "file",
    "sticker": "sticker",
}
"""WhatsApp's word -> ours (Meta, "messages webhook reference", 30 April 2026)."""
SHOWN = frozenset({"text", "location", "contacts", *_MEDIA})
"""The types of messages that are words or attachments and nothing else."""


class Content(NamedTuple):
    """What a message shows."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()


def read_content(message: dict[str, Any]) -> Content:
    """The words (a caption counts) and attachments of a message whose type is one of `SHOWN`."""
    kind = message.get("type")
    item = message.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        return Content(text=words(an_object(item).get("body")) or "")
    if kind == "location":
        return Content(attachments=(_location(an_object(item)),))
    if kind == "contacts":
        return Content(attachments=tuple(_contacts(item)))
    if isinstance(kind, str) and kind in _MEDIA:
        fields = an_object(item)
        found = Attachment(
            kind=_MEDIA[kind],
            url=lenient_words(fields.get("url")) or None,
            title=lenient_words(fields.get("filename")) or None,
            raw=fields,
        )
        return Content(text=lenient_words(fields.get("caption")) or "", attachments=(found,))
    return Content()


def media_id(attachment: Attachment) -> str | None:
    """The id by which the file of an attachment is asked for."""
    item = attachment.raw
    return lenient_identifier(item.get("id")) or None if isinstance(item, dict) else None


def _location(fields: dict[str, Any]) -> Attachment:
    return Attachment(
        kind="location",
        url=lenient_words(fields.get("url")) or None,
        title=lenient_words(fields.get("name")) or lenient_words(fields.get("address")) or None,
        coordinates=_coordinates(fields),
        raw=fields,
    )


def _contacts(item: JSON) -> Iterator[Attachment]:
    for contact in item if isinstance(item, list) else [item]:
        name = contact.get("name") if isinstance(contact, dict) else None
        title = lenient_words(name.get("formatted_name")) if isinstance(name, dict) else None
        yield Attachment(kind="contact", title=title or None, raw=contact)


def _coordinates(fields: dict[str, Any]) -> tuple[float, float] | None:
    try:
        latitude, longitude = float(fields["latitude"]), float(fields["longitude"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (latitude, longitude) if math.isfinite(latitude) and math.isfinite(longitude) else None
