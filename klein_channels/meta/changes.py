"""
Reads what Meta tells of pages and accounts beside their conversations: comments, mentions.

A comment is a conversation of its own, whose peer is the comment: what is said there goes to its
writer as a private reply. Shapes: Meta, "Webhooks: Page, feed" and "Instagram Webhooks: comments,
live_comments, mentions" (read in 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..json_fields import an_object, lenient_identifier, lenient_words, seconds, words
from ..model import Address, AnyEvent, Commented, Deleted, Edited, Notice, Sender
from .item import COMMENT, Item, named

_Read = Callable[[dict[str, Any], Item], "AnyEvent | None"]


def read_change(
    channel: str, field: str, change: dict[str, Any], account: str, is_ours: Callable[[str], bool]
) -> AnyEvent | None:
    """The event that a change of `field` is; None where it has none of its own.

    Raises `MalformedItem`.
    """
    reader = CHANGES.get(field)
    if reader is None:
        return None
    value = an_object(change.get("value"))
    comment = lenient_identifier(value.get("comment_id")) or lenient_identifier(value.get("id"))
    writer = named(value.get("from"))
    by_us = bool(writer) and (writer == account or is_ours(writer))
    item = Item(
        json=change,
        address=Address(channel=channel, account=account, peer=COMMENT + comment if comment else ""),
        page=account,
        from_us=by_us,
        observe_only=by_us or not comment or not is_ours(account),
    )
    return reader(value, item)


def _comment(value: dict[str, Any], item: Item) -> AnyEvent | None:
    """A comment on Instagram, under a post or a broadcast."""
    media = value.get("media")
    return _commented(value, item, words(value.get("text")), named(media), item.json.get("field"))


def _feed(value: dict[str, Any], item: Item) -> AnyEvent | None:
    """A comment on Facebook; all else that happens on a page has no event of its own."""
    if value.get("item") != "comment":
        return None
    comment, text = lenient_identifier(value.get("comment_id")), words(value.get("message")) or ""
    if value.get("verb") == "edited" and comment:
        return item.event(Edited, None, mid=comment, text=text)
    if value.get("verb") == "remove" and comment:
        return item.event(Deleted, comment, mid=comment)
    if value.get("verb") != "add":
        return None
    return _commented(value, item, text, lenient_identifier(value.get("post_id")), "feed")


def _commented(value: dict[str, Any], item: Item, text: str | None, post: str, place: Any) -> AnyEvent:
    comment, writer = item.address.peer.removeprefix(COMMENT), value.get("from")
    fields = writer if isinstance(writer, dict) else {}
    sender = Sender(
        id=named(writer),
        name=lenient_words(fields.get("name")),
        username=lenient_words(fields.get("username")),
    )
    return item.event(
        Commented,
        comment or None,
        mid=comment or None,
        text=text or "",
        post=post or None,
        parent=lenient_identifier(value.get("parent_id")) or None,
        place=place,
        sender=sender if sender.id and not item.from_us else None,
        timestamp=seconds(value.get("created_time")),
    )


def _mention(value: dict[str, Any], item: Item) -> AnyEvent | None:
    return item.event(Notice, name="mention", details=value)


CHANGES: dict[str, _Read] = {
    "comments": _comment,
    "live_comments": _comment,
    "feed": _feed,
    "mentions": _mention,
}
"""By the field of a change."""
