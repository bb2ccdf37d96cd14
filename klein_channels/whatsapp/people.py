"""
Who is written to: people by a business-scoped id or a telephone number, and groups.

Since 2026 a person may hide the number behind a user name; the business-scoped id (``US.1349…``) is
then all that there is, so it goes before the number wherever both are told (Meta, "Business-scoped
user IDs", 29 June 2026).
"""

from __future__ import annotations

import re
from typing import Any

from ..json_fields import identifier, lenient_identifier, lenient_words
from ..model import JSON, Sender

GROUP = "group:"
"""Before a peer that is a group."""
_SCOPED = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")


def recipient(peer: str) -> dict[str, str]:
    """The fields of a body that say to whom it goes."""
    if peer.startswith(GROUP):
        return {"recipient_type": "group", "to": peer.removeprefix(GROUP)}
    if _SCOPED.fullmatch(peer):
        return {"recipient_type": "individual", "recipient": peer}
    # Without the plus the country code of the business would be put before a number.
    number = f"+{peer}" if peer.isascii() and peer.isdigit() else peer
    return {"recipient_type": "individual", "to": number}


def person_of(fields: dict[str, Any], number: str, scoped: str) -> str:
    """The person in `fields`, whose keys for number and business-scoped id are given; strict."""
    return identifier(fields.get(scoped)) or (identifier(fields.get(number)) or "").removeprefix("+")


def lenient_person_of(fields: dict[str, Any], number: str, scoped: str) -> str:
    """The same, or nothing."""
    return lenient_identifier(fields.get(scoped)) or lenient_identifier(fields.get(number)).removeprefix("+")


def group_of(fields: dict[str, Any]) -> str | None:
    """The peer that a group is, if `fields` name one."""
    group = identifier(fields.get("group_id"))
    return GROUP + group if group else None


class Contacts:
    """The ``contacts`` beside the messages of a webhook: what people call themselves."""

    def __init__(self, found: JSON) -> None:
        self._by_id: dict[str, dict[str, Any]] = {}
        for contact in found if isinstance(found, list) else ():
            if isinstance(contact, dict):
                for key in ("user_id", "wa_id"):
                    self._by_id[lenient_identifier(contact.get(key))] = contact
        self._lone = next(iter(self._by_id.values())) if len({*map(id, self._by_id.values())}) == 1 else None

    def scoped(self, number: str) -> str:
        """The business-scoped id of the person with that number, if it was told here."""
        contact = self._by_id.get(number) if number else self._lone
        return lenient_identifier(contact.get("user_id")) if contact else ""

    def sender(self, id: str, number: str) -> Sender:
        """The person `id`, with the names that were told."""
        contact = self._by_id.get(id) or self._by_id.get(number) or {}
        profile = contact.get("profile")
        profile = profile if isinstance(profile, dict) else {}
        return Sender(
            id=id,
            name=lenient_words(profile.get("name")) or None,
            username=(lenient_words(profile.get("username")) or "").removeprefix("@") or None,
        )
