"""One item of a batch of Meta's: whom it is about, and the events that are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from ..json_fields import MalformedItem, an_object, digest, identifier, lenient_identifier, seconds
from ..model import JSON, Address, Event, PersonEvent, Sender

E = TypeVar("E", bound=Event)

USER_REF = "user_ref:"
"""Before a peer that is known by a plug-in's reference only, not yet by an id of its own."""
COMMENT = "comment_id:"
"""Before a peer that is a comment: what is said there is a private reply, and can be said once."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a batch, with what every event made of it shares."""

    json: JSON
    """An object, but for what can only be kept as it is."""
    address: Address
    page: str
    from_us: bool
    observe_only: bool

    def event(self, kind: type[E], id: str | None = None, **fields: Any) -> E:
        """An event of `kind`; without an id of the platform's, the item's own bytes make one."""
        if issubclass(kind, PersonEvent) and self.address.peer and not self.from_us:
            fields.setdefault("sender", Sender(id=self.address.peer))
        fields.setdefault("observe_only", self.observe_only)
        when = self.json.get("timestamp") if isinstance(self.json, dict) else None
        fields.setdefault("timestamp", seconds(when))
        return kind(id=id or digest(self.page, self.json), address=self.address, raw=self.json, **fields)


def party(value: JSON) -> str:
    """The id of a sender or recipient; `MalformedItem` if it cannot be one."""
    if value is None:
        return ""
    fields = an_object(value)
    reference = identifier(fields.get("user_ref"))
    return identifier(fields.get("id")) or (USER_REF + reference if reference else "")


def lenient_party(value: JSON) -> str:
    """The id of a sender or recipient, or nothing."""
    try:
        return party(value)
    except MalformedItem:
        return ""


def opted_in(optin: JSON) -> str:
    """The checkbox plug-in names its person in the opt-in itself."""
    return party({"user_ref": optin.get("user_ref")}) if isinstance(optin, dict) else ""


def named(fields: JSON, key: str = "id") -> str:
    """The id in an object that may not be one."""
    return lenient_identifier(fields.get(key)) if isinstance(fields, dict) else ""
