"""
Reads Telegram's updates, whether they came by webhook or were asked for.

An update is read leniently and completely: whatever JSON it is, it becomes at least one event, and
what has no class of its own becomes `Unknown` with Telegram's word for it as `name`. Kinds and
fields: Telegram, "Bot API 10.3" (24 August 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec

from ..errors import MalformedWebhook
from ..json_fields import MalformedItem, digest, lenient_words, seconds, words
from ..model import (
    JSON,
    AccountLinked,
    Address,
    AnyEvent,
    Deleted,
    Echo,
    Edited,
    Event,
    FormAnswered,
    Membership,
    MessageReceived,
    OrderPlaced,
    PersonEvent,
    Postback,
    Reaction,
    Unknown,
    read_json,
)
from .content import read_attachments
from .kinds import NOT_SAID
from .people import is_inside, is_machine, is_owners, person, sender
from .places import an_id, an_object, place_of

E = TypeVar("E", bound=Event)

_COMMAND = re.compile(r"(/[A-Za-z0-9_]{1,64})@([A-Za-z0-9_]{1,64})(?=\s|$)")
_START = re.compile(r"/start\s+(\S+)\s*")


@dataclass(frozen=True, slots=True)
class _Update:
    """One update, with what every event made of it shares."""

    id: str
    json: JSON
    item: dict[str, Any]
    address: Address
    bot: str
    username: str
    observe_only: bool

    def event(self, kind: type[E], *, part: object = None, at: JSON = None, **fields: Any) -> E:
        """An event of `kind`; `part` tells several events of one update apart."""
        if issubclass(kind, PersonEvent):
            fields.setdefault("sender", sender(self.item))
        fields["observe_only"] = self.observe_only or fields.get("observe_only", False)
        return kind(
            id=self.id if part is None else f"{self.id}-{part}",
            address=self.address,
            timestamp=seconds(at if at is not None else self.item.get("date")),
            raw=self.json,
            **fields,
        )


_Events: TypeAlias = Sequence[AnyEvent]


class UpdateReader:
    """Reads the updates of one bot, known to people by `username`.

    `answer_channel_posts` lets what is posted to a channel be answered; without, observers see it.
    """

    def __init__(self, channel: str, bot: str, username: str, answer_channel_posts: bool) -> None:
        self._channel = channel
        self._bot = bot
        self._username = username.removeprefix("@").lower()
        self._shown_only = {"guest_message"}
        if not answer_channel_posts:
            self._shown_only |= {"channel_post", "edited_channel_post"}

    def read(self, body: JSON) -> tuple[AnyEvent, ...]:
        """The events of a webhook's body; `MalformedWebhook` only if it is no object."""
        if not isinstance(body, dict):
            raise MalformedWebhook(f"channel {self._channel!r}: the body is not a JSON object")
        return self.read_update(body)

    def read_update(self, json: JSON) -> tuple[AnyEvent, ...]:
        """The events of one update, whatever it is."""
        fields = an_object(json)
        kind = next((key for key in fields if key != "update_id" and fields[key] is not None), "empty")
        item = fields.get(kind)
        number = update_number(json)
        update = _Update(
            id=digest(self._bot, json) if number is None else str(number),
            json=json,
            item=an_object(item),
            address=place_of(self._channel, self._bot, item),
            bot=self._bot,
            username=self._username,
            observe_only=kind in self._shown_only,
        )
        if number is None or not isinstance(item, dict):
            return (update.event(Unknown, name="malformed", observe_only=True),)
        try:
            found = tuple(_READERS[kind](update)) if kind in _READERS else ()
        except MalformedItem:
            return (update.event(Unknown, name="malformed", observe_only=True),)
        return tuple(map(_nobody_is_not_answered, found)) or (update.event(Unknown, name=kind),)


def update_number(json: JSON) -> int | None:
    """The ``update_id`` of an update."""
    number = an_object(json).get("update_id")
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None


def pressed_button(json: JSON) -> str:
    """The id of the callback query in an update, which waits for an answer; nothing if there is none."""
    return an_id(an_object(an_object(json).get("callback_query")).get("id"))


def _nobody_is_not_answered(event: AnyEvent) -> AnyEvent:
    return event if event.address.peer else msgspec.structs.replace(event, observe_only=True)


# ---------------------------------------------------------------------------------------------
# One reader per kind


def _message(update: _Update) -> _Events:
    item = update.item
    if moved := _moved_members(update):
        return moved
    mid = an_id(item.get("message_id")) or None
    if isinstance(payment := item.get("successful_payment"), dict):
        note = lenient_words(payment.get("invoice_payload"))
        return [update.event(OrderPlaced, items=payment, note=note, mid=mid)]
    if isinstance(filled := item.get("web_app_data"), dict):
        name = lenient_words(filled.get("button_text"))
        return [update.event(FormAnswered, data=_form_data(filled.get("data")), name=name, mid=mid)]
    text, for_others = _addressed(
        words(item.get("text")) or words(item.get("caption")) or "", update.username
    )
    attachments = read_attachments(item)
    if not attachments and item.get("text") is None and item.get("caption") is None:
        return [update.event(Unknown, name=next((key for key in item if key not in NOT_SAID), "message"))]
    start = _START.fullmatch(text)
    silent = not text.strip() and not attachments
    return [
        update.event(
            MessageReceived,
            text=text,
            attachments=attachments,
            reply_to=_replied_to(item),
            mid=mid,
            group=an_id(item.get("media_group_id")) or None,
            referral={"ref": start[1], "source": "start"} if start else None,
            observe_only=silent or for_others or is_machine(item),
        )
    ]


def _business_message(update: _Update) -> _Events:
    if not is_owners(update.item):
        return _message(update)
    item = update.item
    bot = an_id(an_object(item.get("sender_business_bot")).get("id")) or None
    return [
        update.event(
            Echo,
            text=lenient_words(item.get("text")) or lenient_words(item.get("caption")) or "",
            mid=an_id(item.get("message_id")) or None,
            app_id=bot,
            by_human=bot is None,
            attachments=read_attachments(item),
            observe_only=True,
        )
    ]


def _edited(update: _Update) -> _Events:
    item = update.item
    mid = an_id(item.get("message_id"))
    if not mid:
        raise MalformedItem
    own = "business_connection_id" in item and is_owners(item)
    text = words(item.get("text")) or words(item.get("caption")) or ""
    silent = own or is_machine(item)
    return [update.event(Edited, at=item.get("edit_date"), mid=mid, text=text, observe_only=silent)]


def _deleted(update: _Update) -> _Events:
    mids = update.item.get("message_ids")
    named = [mid for mid in map(an_id, mids) if mid] if isinstance(mids, list) else []
    return [update.event(Deleted, part=mid, mid=mid, sender=None) for mid in dict.fromkeys(named)]


def _business_connection(update: _Update) -> _Events:
    item = update.item
    linked = item.get("is_enabled") is True
    return [update.event(AccountLinked, linked=linked, code=an_id(item.get("id")) or None)]


def _callback_query(update: _Update) -> _Events:
    # When the button was pressed nobody says: the date in there is that of the message under it.
    item = update.item
    message = an_object(item.get("message"))
    payload = words(item.get("data")) or words(item.get("game_short_name")) or ""
    return [
        update.event(
            Postback,
            payload=payload,
            title=_title_of(message.get("reply_markup"), payload),
            mid=an_id(message.get("message_id")) or an_id(item.get("inline_message_id")) or None,
        )
    ]


def _reactions(update: _Update) -> _Events:
    item = update.item
    old, new = _reaction_names(item.get("old_reaction")), _reaction_names(item.get("new_reaction"))
    changes = [
        *(("unreact", kind, name) for kind, name in old if (kind, name) not in new),
        *(("react", kind, name) for kind, name in new if (kind, name) not in old),
    ]
    mid = an_id(item.get("message_id")) or None
    return [
        update.event(
            Reaction,
            part=place if len(changes) > 1 else None,
            mid=mid,
            action=action,
            emoji=name if kind == "emoji" else None,
            name=kind if kind == "paid" else f"{kind}:{name}" if kind != "emoji" else None,
        )
        for place, (action, kind, name) in enumerate(changes)
    ]


def _member_changed(update: _Update) -> _Events:
    item = update.item
    old, new = an_object(item.get("old_chat_member")), an_object(item.get("new_chat_member"))
    was, is_ = is_inside(old), is_inside(new)
    action = "changed" if was == is_ else "joined" if is_ else "left"
    return [update.event(Membership, action=action, member=person(new.get("user")))]


def _asked_to_join(update: _Update) -> _Events:
    return [update.event(Membership, action="requested", member=person(update.item.get("from")))]


_READERS: dict[str, Callable[[_Update], _Events]] = {
    "message": _message,
    "edited_message": _edited,
    "channel_post": _message,
    "edited_channel_post": _edited,
    "business_connection": _business_connection,
    "business_message": _business_message,
    "edited_business_message": _edited,
    "deleted_business_messages": _deleted,
    "guest_message": _message,
    "message_reaction": _reactions,
    "callback_query": _callback_query,
    "my_chat_member": _member_changed,
    "chat_member": _member_changed,
    "chat_join_request": _asked_to_join,
}
"""All other kinds are `Unknown` by their own name."""


# ---------------------------------------------------------------------------------------------
# Parts of a message


def _moved_members(update: _Update) -> _Events:
    item = update.item
    joined, left = item.get("new_chat_members"), person(item.get("left_chat_member"))
    if left is not None:
        return [update.event(Membership, action="left", member=left)]
    people = [member for member in map(person, joined) if member] if isinstance(joined, list) else []
    return [
        update.event(Membership, part=place if len(people) > 1 else None, action="joined", member=member)
        for place, member in enumerate(people)
    ]


def _addressed(text: str, username: str) -> tuple[str, bool]:
    """A command without the name of the bot that it is for, and whether that is another bot."""
    command = _COMMAND.match(text)
    if command is None or not username:
        return text, False
    if command[2].lower() != username:
        return text, True
    return command[1] + text[command.end() :], False


def _replied_to(item: dict[str, Any]) -> str | None:
    replied = an_object(item.get("reply_to_message"))
    # In a topic each message is a reply, if to nothing else to the one that opened the topic.
    if replied.get("forum_topic_created") is not None:
        return None
    return an_id(replied.get("message_id")) or None


def _form_data(data: JSON) -> JSON:
    """What a web app sent: JSON where it is some, else the text."""
    if not isinstance(data, str):
        return data
    try:
        return read_json(data.encode("utf-8", "surrogatepass"))
    except MalformedWebhook:
        return data


def _title_of(markup: JSON, payload: str) -> str | None:
    rows = an_object(markup).get("inline_keyboard")
    for row in rows if isinstance(rows, list) else ():
        for button in row if isinstance(row, list) else ():
            fields = an_object(button)
            if payload and fields.get("callback_data") == payload:
                return lenient_words(fields.get("text"))
    return None


def _reaction_names(reactions: JSON) -> list[tuple[str, str]]:
    """Kind and name of each reaction of a list."""
    found = [an_object(item) for item in reactions] if isinstance(reactions, list) else []
    return [
        (kind, an_id(item.get("emoji")) or an_id(item.get("custom_emoji_id")))
        for item in found
        if isinstance(kind := item.get("type"), str)
    ]
