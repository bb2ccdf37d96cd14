"""
Where Telegram's messages come from and go to, as our addresses and back.

An address says all that a later send needs: the account is the bot, or the bot on behalf of one
business account; the thread is a forum topic, or a topic of a channel's direct messages.
"""

from __future__ import annotations

import re
from typing import Any

from ..model import JSON, Address

ON_BEHALF = "~"
"""Between the bot and the business connection: a chat of a business account is another one than the
bot's own chat with the same person, though both have one id (Bot API, "Message", 24 August 2026)."""
DIRECT = "direct."
"""Before the topic of a channel's direct messages, whose numbers are no forum topics."""
_NUMBER = re.compile(r"-?[0-9]{1,19}")


def an_id(value: JSON) -> str:
    """An id as text, with the minus sign that groups have; nothing if it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return str(value)
    return value if isinstance(value, str) and len(value) <= 1000 else ""


def an_object(value: JSON) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def place_of(channel: str, bot: str, item: JSON) -> Address:
    """The address of the chat, topic and account that `item` of an update belongs to.

    What has no chat (inline queries, votes, payments) has its person as peer, or nobody.
    """
    fields = an_object(item)
    message = an_object(fields.get("message"))
    located = message if message.get("chat") is not None else fields
    connection = an_id(located.get("business_connection_id"))
    return Address(
        channel=channel,
        account=f"{bot}{ON_BEHALF}{connection}" if connection else bot,
        peer=_peer(located, fields),
        thread=_thread(located),
    )


def target(address: Address) -> dict[str, Any]:
    """The parameters that say where something is shown."""
    found: dict[str, Any] = {"chat_id": number_or_text(address.peer)}
    _, on_behalf, connection = address.account.partition(ON_BEHALF)
    if on_behalf:
        found["business_connection_id"] = connection
    if address.thread and address.thread.startswith(DIRECT):
        found["direct_messages_topic_id"] = number_or_text(address.thread.removeprefix(DIRECT))
    elif address.thread:
        found["message_thread_id"] = number_or_text(address.thread)
    return found


def is_business(address: Address) -> bool:
    """Whether a chat is one of a business account."""
    return ON_BEHALF in address.account


def is_private(address: Address) -> bool:
    """Whether a chat is one with a single person: groups and channels have negative ids."""
    return address.peer.isascii() and address.peer.isdigit()


def number_or_text(text: str) -> int | str:
    """An id as Telegram wants it: a number, or a name like ``@channel``."""
    return int(text) if _NUMBER.fullmatch(text) else text


def _peer(located: dict[str, Any], fields: dict[str, Any]) -> str:
    if (chat := an_id(an_object(located.get("chat")).get("id"))) or "chat" in located:
        return chat
    if (chat := an_id(fields.get("user_chat_id"))) != "":
        return chat
    people = (an_id(an_object(fields.get(key)).get("id")) for key in ("from", "user", "voter_chat"))
    return next((person for person in people if person), "")


def _thread(located: dict[str, Any]) -> str | None:
    direct = an_id(an_object(located.get("direct_messages_topic")).get("topic_id"))
    if direct:
        return DIRECT + direct
    # A reply in a group without topics has a thread too, which is no place of its own.
    if located.get("is_topic_message") is True or "draft_id" in located:
        return an_id(located.get("message_thread_id")) or None
    return None
