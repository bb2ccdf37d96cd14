"""Makes Telegram's keyboards: the one under a message, and the one in place of the person's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..model import Button, QuickReply
from ..text import measure

PAYLOAD_BYTES = 64
"""Of ``callback_data`` (Telegram, "InlineKeyboardButton", Bot API 10.3)."""
MOST_BUTTONS = 100
_ROW_BUTTONS, _ROW_WIDTH = 8, 28
"""A row that a telephone shows without cutting its titles."""


def under_message(buttons: Sequence[Button]) -> dict[str, Any]:
    """An inline keyboard; its payloads come back as callback queries. ValueError for one too long."""
    return {"inline_keyboard": _rows([_inline(button) for button in buttons])}


def in_place_of_own(replies: Sequence[QuickReply], private: bool) -> dict[str, Any]:
    """A reply keyboard: what is pressed comes as a message with the title as its text.

    Telegram knows a button that gives one's telephone number, in private chats alone, and none for
    an e-mail address: where nothing else is left, the person is asked to type.
    """
    buttons: list[dict[str, Any]] = [
        {"text": reply.title or "☎", "request_contact": True} if reply.ask else {"text": reply.title}
        for reply in replies
        if reply.ask is None or (reply.ask == "phone" and private)
    ]
    if not buttons:
        asks_email = any(reply.ask == "email" for reply in replies)
        hint = {"input_field_placeholder": "name@example.com"} if asks_email else {}
        return {"force_reply": True, **hint}
    return {"keyboard": _rows(buttons), "resize_keyboard": True, "one_time_keyboard": True}


def needs_payloads(replies: Iterable[QuickReply]) -> bool:
    """Whether a reply stands for something else than its title, which a reply keyboard would lose."""
    return any(reply.ask is None and reply.payload not in (None, reply.title) for reply in replies)


def _inline(button: Button) -> dict[str, Any]:
    made: dict[str, Any] = {"text": button.title}
    if button.url is not None:
        return {**made, "url": button.url}
    if button.phone is not None:
        # No button may call; this one copies the number.
        return {**made, "copy_text": {"text": button.phone}}
    payload = button.payload or button.title
    if not 1 <= measure(payload, "bytes") <= PAYLOAD_BYTES:
        raise ValueError(f"a button's payload has more than {PAYLOAD_BYTES} bytes")
    return {**made, "callback_data": payload}


def _rows(buttons: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The buttons in rows, side by side where their titles are short enough."""
    rows: list[list[dict[str, Any]]] = []
    room = 0
    for button in buttons:
        width = len(button["text"]) + 2
        if not rows or width > room or len(rows[-1]) == _ROW_BUTTONS:
            rows.append([])
            room = _ROW_WIDTH
        rows[-1].append(button)
        room -= width
    return rows
