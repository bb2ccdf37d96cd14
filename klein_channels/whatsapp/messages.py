"""Reads the items of ``messages``: what people wrote, chose, sent, changed and took back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import MalformedWebhook
from ..json_fields import MalformedItem, an_object, identifier, lenient_identifier, lenient_words, words
from ..model import (
    JSON,
    AnyEvent,
    Deleted,
    Edited,
    FormAnswered,
    MessageReceived,
    OrderPlaced,
    Postback,
    Reaction,
    Referral,
    Unknown,
    read_json,
)
from .contents import SHOWN, read_content
from .place import Place

Item = dict[str, Any]
SAME_AGAIN = "\u2063"
"""An invisible sign behind the id of a choice whose id another one has already; never part of a payload."""


def read_message(place: Place, item: Item) -> AnyEvent:
    """The event that an item of ``messages`` is."""
    mid = identifier(item.get("id"))
    kind = item.get("type")
    if isinstance(kind, str) and kind in SHOWN:
        return _shown(place, item, mid)
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(place, item, mid)
    name = kind if isinstance(kind, str) and kind else "message"
    return place.from_person(Unknown, item, mid, name=name, observe_only=True)


def _shown(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = read_content(item)
    return place.from_person(
        MessageReceived,
        item,
        mid,
        text=content.text,
        attachments=content.attachments,
        reply_to=_answered(item),
        mid=mid,
        referral=_referral(item),
        observe_only=not content.text.strip() and not content.attachments,
    )


def _interactive(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = an_object(item.get("interactive"))
    for kind in ("button_reply", "list_reply"):
        if isinstance(content.get(kind), dict):
            chosen = content[kind]
            payload, title = words(chosen.get("id")), lenient_words(chosen.get("title"))
            return _chosen(place, item, mid, payload, title)
    if isinstance(content.get("nfm_reply"), dict):
        answered = content["nfm_reply"]
        return place.from_person(
            FormAnswered,
            item,
            mid,
            data=_form_data(answered.get("response_json")),
            name=lenient_words(answered.get("name")),
            mid=mid,
        )
    # Some come without the object that says what was chosen.
    return place.from_person(Unknown, item, mid, name="interactive", observe_only=True)


def _button(place: Place, item: Item, mid: str | None) -> AnyEvent:
    """A quick reply of a template was pressed."""
    content = an_object(item.get("button"))
    title = lenient_words(content.get("text"))
    return _chosen(place, item, mid, words(content.get("payload")) or title, title)


def _chosen(place: Place, item: Item, mid: str | None, payload: str | None, title: str | None) -> AnyEvent:
    return place.from_person(
        Postback,
        item,
        mid,
        payload=(payload or "").rstrip(SAME_AGAIN),
        title=title,
        mid=mid,
        referral=_referral(item),
    )


def _form_data(text: JSON) -> JSON:
    """The answers of a flow, which come as JSON in a text; as they are if they are none."""
    if not isinstance(text, str):
        return text
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except MalformedWebhook:
        return text


def _reaction(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = an_object(item.get("reaction"))
    emoji = lenient_words(content.get("emoji")) or None
    return place.from_person(
        Reaction,
        item,
        mid,
        mid=identifier(content.get("message_id")),
        action="react" if emoji else "unreact",
        emoji=emoji,
    )


def _order(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = an_object(item.get("order"))
    note = lenient_words(content.get("text")) or None
    return place.from_person(OrderPlaced, item, mid, items=content.get("product_items"), note=note, mid=mid)


def _edit(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = an_object(item.get("edit"))
    original = identifier(content.get("original_message_id"))
    if not original:
        raise MalformedItem
    message = content.get("message")
    text = read_content(message).text if isinstance(message, dict) and message.get("type") in SHOWN else ""
    return place.from_person(Edited, item, mid, mid=original, text=text)


def _revoke(place: Place, item: Item, mid: str | None) -> AnyEvent:
    original = identifier(an_object(item.get("revoke")).get("original_message_id"))
    if not original:
        raise MalformedItem
    return place.from_person(Deleted, item, mid, mid=original)


def _welcome(place: Place, item: Item, mid: str | None) -> AnyEvent:
    """Somebody opened the chat for the first time; they have not written."""
    return place.from_person(Referral, item, mid, source="request_welcome", details=_referral(item))


def _system(place: Place, item: Item, mid: str | None) -> AnyEvent:
    content = item.get("system")
    kind = lenient_words(content.get("type")) if isinstance(content, dict) else None
    return place.from_person(
        Unknown, item, mid, name=f"system:{kind}" if kind else "system", observe_only=True
    )


_READERS: dict[str, Callable[[Place, Item, str | None], AnyEvent]] = {
    "interactive": _interactive,
    "button": _button,
    "reaction": _reaction,
    "order": _order,
    "edit": _edit,
    "revoke": _revoke,
    "request_welcome": _welcome,
    "system": _system,
}


def _answered(item: Item) -> str | None:
    context = item.get("context")
    return lenient_identifier(context.get("id")) or None if isinstance(context, dict) else None


def _referral(item: Item) -> JSON:
    """The advertisement or the product that a message came from."""
    context = item.get("context")
    product = context.get("referred_product") if isinstance(context, dict) else None
    if item.get("referral") is not None:
        return item["referral"]
    return {"referred_product": product} if product is not None else None
