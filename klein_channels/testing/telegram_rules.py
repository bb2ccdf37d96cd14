"""What the Bot API has against messages, in its own words (Telegram, "Bot API 10.3", 24 August 2026)."""

from __future__ import annotations

from typing import Any

from ..model import JSON
from ..text import measure
from .graph import Answer

_BUTTON_DOES = ("callback_data", "url", "copy_text", "web_app", "switch_inline_query", "pay")


def refusal(code: int, description: str, **parameters: JSON) -> Answer:
    """An answer in the shape of the Bot API's errors."""
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return Answer(status=code, body={**body, "parameters": parameters} if parameters else body)


def too_many(seconds: int) -> Answer:
    """What the Bot API answers above its limits."""
    return refusal(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


def words_problem(body: dict[str, Any]) -> Answer | None:
    """What the Bot API has against the text or caption of a message."""
    for key, most, what in (("text", 4096, "message"), ("caption", 1024, "message caption")):
        words = body.get(key) or ""
        length = measure(words, "utf16")
        if length > most:
            return refusal(400, f"Bad Request: {what} is too long")
        entities = body.get("entities" if key == "text" else "caption_entities") or []
        for entity in entities if words else []:
            offset, size = entity.get("offset"), entity.get("length")
            if not isinstance(offset, int) or not isinstance(size, int) or offset < 0 or size < 1:
                return refusal(400, "Bad Request: can't parse MessageEntity")
            if offset + size > length:
                return refusal(400, "Bad Request: ENTITY_BOUNDS_INVALID")
    return None


def markup_problem(body: dict[str, Any]) -> Answer | None:
    """What the Bot API has against the keyboard of a message."""
    markup = body.get("reply_markup") or {}
    buttons = [button for row in markup.get("inline_keyboard", []) for button in row]
    for button in buttons:
        if not button.get("text") or sum(key in button for key in _BUTTON_DOES) != 1:
            return refusal(400, "Bad Request: text buttons are unallowed in the inline keyboard")
        data = button.get("callback_data")
        if data is not None and not 1 <= len(data.encode()) <= 64:
            return refusal(400, "Bad Request: BUTTON_DATA_INVALID")
    own = [button for row in markup.get("keyboard", []) for button in row]
    if len(buttons) > 100:
        return refusal(400, "Bad Request: reply markup is too long")
    if any(not button.get("text") for button in own):
        return refusal(400, "Bad Request: keyboard button text must be non-empty")
    private = isinstance(body.get("chat_id"), int) and body["chat_id"] > 0
    if any("request_contact" in button for button in own) and not private:
        return refusal(400, "Bad Request: phone number can be requested in private chats only")
    return None
