"""
Reads the items of ``statuses``: what became of a message of ours.

Each comes with the text that we gave with the message: the id of our send and the peer it went to.
So a status that is faster than the answer to the send, or that comes when there was none, is known to
be of that send (Meta, "status webhook reference", 14 September 2026).
"""

from __future__ import annotations

from typing import Any, Literal, cast

from ..json_fields import MalformedItem, identifier, lenient_words
from ..model import AnyEvent, Receipt, Unknown
from .outcomes import failure_reason
from .people import GROUP, lenient_person_of
from .place import Place

Status = Literal["sent", "delivered", "read", "played", "failed"]
_STATUSES = frozenset({"sent", "delivered", "read", "played", "failed"})
MOST_CALLBACK_DATA = 512
"""Characters that WhatsApp gives back."""


def callback_data(send: str, peer: str) -> str:
    """What is given with a message, so that its statuses say whose they are."""
    whole = f"{send} {peer}"
    return whole if len(whole) <= MOST_CALLBACK_DATA else send


def read_status(place: Place, item: dict[str, Any]) -> AnyEvent:
    """The event that an item of ``statuses`` is."""
    mid, status = identifier(item.get("id")), item.get("status")
    if not mid:
        raise MalformedItem
    send, _, peer = (lenient_words(item.get("biz_opaque_callback_data")) or "").partition(" ")
    peer = peer or _recipient(item)
    # In a group each member has statuses of their own.
    member = lenient_person_of(item, "recipient_participant_id", "recipient_participant_user_id")
    id = ":".join(part for part in (mid, str(status), member) if part)
    if status not in _STATUSES:
        name = f"status:{status}" if isinstance(status, str) else "status"
        return place.event(Unknown, item, peer, id, name=name, observe_only=True)
    errors = item.get("errors") if status == "failed" else None
    return place.event(
        Receipt,
        item,
        peer,
        id,
        status=cast("Status", status),
        mids=(mid,),
        metadata=send or None,
        error=errors,
        reason=failure_reason(errors) if status == "failed" else None,
    )


def _recipient(item: dict[str, Any]) -> str:
    if item.get("recipient_type") == "group":
        group = lenient_person_of(item, "recipient_id", "group_id")
        return GROUP + group if group else ""
    return lenient_person_of(item, "recipient_id", "recipient_user_id")
