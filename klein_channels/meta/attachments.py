"""Reads what comes attached to the messages of Meta's messaging products."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

from ..model import JSON, Attachment

Kind: TypeAlias = Literal[
    "image", "audio", "video", "file", "sticker", "location", "share", "contact", "template", "unknown"
]
_KINDS: dict[str, Kind] = {
    "image": "image",
    "animated_media": "image",
    "video": "video",
    "audio": "audio",
    "file": "file",
    "sticker": "sticker",
    "like_heart": "sticker",
    "location": "location",
    "fallback": "share",
    "share": "share",
    "post": "share",
    "ig_post": "share",
    "reel": "share",
    "ig_reel": "share",
    "story": "share",
    "ig_story": "share",
    "story_mention": "share",
    "template": "template",
    "appointment_booking": "template",
}
"""Platform's word -> ours (Meta, "messages webhook event reference", June 2026)."""


_UNSHOWN = frozenset({"ephemeral", "unsupported_type"})
"""What a person sent and Meta shows nobody: pictures that vanish, kinds that it has no word for."""


def is_unshown(attachment: Attachment) -> bool:
    """Whether Meta keeps to itself what was attached."""
    return isinstance(attachment.raw, dict) and str(attachment.raw.get("type")) in _UNSHOWN


def read_attachments(message: dict[str, Any]) -> tuple[Attachment, ...]:
    """The attachments of a ``message`` object; none of them can fail to be read."""
    found = message.get("attachments")
    if found is None:
        return ()
    # Until September 2026 a sticker was an image, and the message itself said which.
    sticker = message.get("sticker_id") is not None
    return tuple(_attachment(item, sticker) for item in (found if isinstance(found, list) else [found]))


def _attachment(item: JSON, sticker: bool) -> Attachment:
    if not isinstance(item, dict):
        return Attachment(kind="unknown", raw=item)
    word, payload = item.get("type"), item.get("payload")
    kind = _KINDS.get(word, "unknown") if isinstance(word, str) else "unknown"
    fields = payload if isinstance(payload, dict) else {}
    if kind == "image" and (sticker or fields.get("sticker_id") is not None):
        kind = "sticker"
    # Old versions of the Graph write url and title beside the type, or make the payload the url.
    url = _first_text(fields.get("url"), item.get("url"), item.get("URL"), payload)
    if url is not None and url.startswith("/"):
        url = f"https://www.facebook.com{url}"
    return Attachment(
        kind=kind,
        url=url,
        title=_first_text(fields.get("title"), item.get("title")),
        coordinates=_coordinates(fields.get("coordinates")),
        raw=item,
    )


def _first_text(*candidates: JSON) -> str | None:
    return next((text for text in candidates if isinstance(text, str) and text), None)


def _coordinates(value: JSON) -> tuple[float, float] | None:
    if not isinstance(value, dict):
        return None
    try:
        latitude, longitude = float(value["lat"]), float(value["long"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (latitude, longitude) if math.isfinite(latitude) and math.isfinite(longitude) else None
