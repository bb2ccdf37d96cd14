"""
Reads the events out of WhatsApp's webhooks.

A body is read leniently and completely: whatever JSON it is, each of its items becomes one event, and
one item that cannot be read becomes `Unknown` without touching its neighbours (Meta, "WhatsApp
Business Platform: Webhooks", April to September 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import MalformedWebhook
from ..json_fields import (
    MalformedItem,
    an_object,
    digest,
    identifier,
    lenient_identifier,
    lenient_words,
    seconds,
)
from ..model import JSON, Address, AnyEvent, Echo, OptIn, Unknown
from .contents import SHOWN, read_content
from .messages import read_message
from .people import Contacts, group_of, lenient_person_of, person_of
from .place import Place
from .statuses import read_status

SUBJECT = "whatsapp_business_account"


class EventReader:
    """Reads the webhooks of one channel; `is_ours` tells which phone numbers' ids are configured."""

    def __init__(self, channel: str, is_ours: Callable[[str], bool]) -> None:
        self._channel = channel
        self._is_ours = is_ours

    def read(self, body: JSON) -> tuple[AnyEvent, ...]:
        """All events of a webhook's body, in order; `MalformedWebhook` only if it is no object."""
        if not isinstance(body, dict):
            raise MalformedWebhook(f"channel {self._channel!r}: the body is not a JSON object")
        entries, subject = body.get("entry"), body.get("object")
        if subject != SUBJECT or not isinstance(entries, list) or not entries:
            return (self._unknown(subject if isinstance(subject, str) else "malformed", body),)
        return tuple(event for entry in entries for event in self._entry(entry))

    def _entry(self, entry: JSON) -> Iterator[AnyEvent]:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        if not changes:
            yield self._unknown("entry" if isinstance(entry, dict) else "malformed", entry)
            return
        for change in changes if isinstance(changes, list) else [changes]:
            yield from self._change(change)

    def _change(self, change: JSON) -> Iterator[AnyEvent]:
        fields = change if isinstance(change, dict) else {}
        found = fields.get("value")
        value: dict[str, Any] = found if isinstance(found, dict) else {}
        sections = [key for key in _READERS if value.get(key)]
        if not sections:
            yield self._unknown(lenient_words(fields.get("field")) or "malformed", change)
            return
        place = self._place(value)
        for key in sections:
            items = value[key]
            for item in items if isinstance(items, list) else [items]:
                yield self._item(place, _READERS[key], item)

    def _place(self, value: dict[str, Any]) -> Place:
        metadata = value.get("metadata")
        account = lenient_identifier(metadata.get("phone_number_id")) if isinstance(metadata, dict) else ""
        ours = bool(account) and self._is_ours(account)
        return Place(self._channel, account, ours, Contacts(value.get("contacts")))

    def _item(self, place: Place, read: Callable[[Place, dict[str, Any]], AnyEvent], item: JSON) -> AnyEvent:
        try:
            return read(place, an_object(item))
        except MalformedItem:
            return self._unknown("malformed", item, place.account)

    def _unknown(self, name: str, json: JSON, account: str = "") -> Unknown:
        fields = json if isinstance(json, dict) else {}
        return Unknown(
            id=digest(account, json),
            address=Address(
                channel=self._channel,
                account=account,
                peer=lenient_person_of(fields, "from", "from_user_id"),
            ),
            timestamp=seconds(fields.get("timestamp")),
            raw=json,
            name=name,
            observe_only=True,
        )


# ---------------------------------------------------------------------------------------------
# One reader per section


def _echo(place: Place, item: dict[str, Any]) -> AnyEvent:
    """What a human wrote in the WhatsApp Business app, beside the Cloud API (``smb_message_echoes``)."""
    peer = group_of(item) or person_of(item, "to", "to_user_id") or place.contacts.scoped("")
    content = read_content(item) if item.get("type") in SHOWN else None
    mid = identifier(item.get("id"))
    shown = {"text": content.text, "attachments": content.attachments} if content else {}
    return place.event(Echo, item, peer, mid, mid=mid, by_human=True, **shown)


def _account_error(place: Place, item: dict[str, Any]) -> AnyEvent:
    return place.event(Unknown, item, "", name="errors", observe_only=True)


def _preference(place: Place, item: dict[str, Any]) -> AnyEvent:
    """Whether a person wants marketing: ``stop`` or ``resume``."""
    peer = person_of(item, "wa_id", "user_id")
    return place.event(
        OptIn,
        item,
        peer,
        payload=lenient_words(item.get("value")),
        details=item,
        sender=place.contacts.sender(peer, "") if peer else None,
    )


def _kept(name: str) -> Callable[[Place, dict[str, Any]], AnyEvent]:
    def kept(place: Place, item: dict[str, Any]) -> AnyEvent:
        told = place.contacts.scoped(lenient_identifier(item.get("from")))
        named = lenient_person_of(item, "from", "from_user_id") or lenient_person_of(item, "wa_id", "user_id")
        peer = group_of(item) or told or named
        kind = lenient_words(item.get("type")) or lenient_words(item.get("event"))
        return place.event(Unknown, item, peer, name=f"{name}:{kind}" if kind else name, observe_only=True)

    return kept


_READERS: dict[str, Callable[[Place, dict[str, Any]], AnyEvent]] = {
    "messages": read_message,
    "statuses": read_status,
    "message_echoes": _echo,
    "errors": _account_error,
    "user_preferences": _preference,
    "user_id_update": _kept("user_id_update"),
    "groups": _kept("groups"),
    "calls": _kept("calls"),
}
"""A value has one or two of these; each item of each is an event."""
