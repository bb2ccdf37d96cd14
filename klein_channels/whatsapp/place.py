"""Where the items of a webhook belong: whose number they reached, and who is behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from ..json_fields import digest, identifier, seconds
from ..model import JSON, Address, Event, PersonEvent
from .people import Contacts, group_of, person_of

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Place:
    """What all items of one ``value`` share: whose number it is, and whether that is configured."""

    channel: str
    account: str
    ours: bool
    contacts: Contacts

    def event(self, kind: type[E], item: JSON, peer: str, id: str | None = None, **fields: Any) -> E:
        """An event of `kind` at `peer`; without an id of WhatsApp's, the item's own bytes make one."""
        time = item.get("timestamp") if isinstance(item, dict) else None
        silent = bool(fields.pop("observe_only", False)) or not self.ours or not peer
        return kind(
            id=id or digest(self.account, item),
            address=Address(channel=self.channel, account=self.account, peer=peer),
            timestamp=seconds(time),
            raw=item,
            observe_only=silent,
            **fields,
        )

    def from_person(self, kind: type[E], item: dict[str, Any], id: str | None, **fields: Any) -> E:
        """The same for what a person did, whose group (if there is one) is answered."""
        number = (identifier(item.get("from")) or "").removeprefix("+")
        person = person_of(item, "from", "from_user_id") if "from_user_id" in item else ""
        person = person or self.contacts.scoped(number) or number
        if issubclass(kind, PersonEvent) and person:
            fields["sender"] = self.contacts.sender(person, number)
        return self.event(kind, item, group_of(item) or person, id, **fields)
