"""Reads who is behind an item of an update."""

from __future__ import annotations

from typing import Any

from ..json_fields import lenient_words
from ..model import JSON, Sender
from .places import an_id, an_object

_INSIDE = frozenset({"creator", "administrator", "member"})


def sender(item: dict[str, Any]) -> Sender | None:
    """Who is behind an item: the chat in whose name an anonymous admin writes is a person to us."""
    for key in ("sender_chat", "actor_chat", "voter_chat", "from", "user"):
        if (found := person(item.get(key))) is not None:
            return found
    return None


def person(json: JSON) -> Sender | None:
    """A user or a chat; None if there is neither."""
    fields = an_object(json)
    number = an_id(fields.get("id"))
    if not number:
        return None
    names = (lenient_words(fields.get(key)) for key in ("first_name", "last_name"))
    return Sender(
        id=number,
        name=" ".join(name for name in names if name) or lenient_words(fields.get("title")) or None,
        username=lenient_words(fields.get("username")),
        locale=lenient_words(fields.get("language_code")),
        is_bot=fields.get("is_bot") is True,
    )


def is_owners(item: dict[str, Any]) -> bool:
    """Whether a message of a business chat was written there by the owner, or on their behalf."""
    chat = an_id(an_object(item.get("chat")).get("id"))
    return an_id(an_object(item.get("from")).get("id")) != chat or item.get("sender_business_bot") is not None


def is_machine(item: dict[str, Any]) -> bool:
    """Whether no person wrote a message: two bots that answer each other never end."""
    if item.get("is_automatic_forward") is True:
        return True
    return item.get("sender_chat") is None and an_object(item.get("from")).get("is_bot") is True


def is_inside(member: dict[str, Any]) -> bool:
    """Whether a ``ChatMember`` is in the chat."""
    status = member.get("status")
    return (isinstance(status, str) and status in _INSIDE) or (
        status == "restricted" and member.get("is_member") is True
    )
