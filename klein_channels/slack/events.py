"""
Reads what Slack's Events API sends: one envelope with one event.

Whatever JSON comes, one event of ours comes of it. A message is named by its channel and ``ts``, not
by the envelope's ``event_id``: in a channel the same words arrive twice, as ``message`` and as
``app_mention``, and only the same name lets the second be told from a new one. Shapes: Slack, "Events
API" and "message event" (docs.slack.dev, read November 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..json_fields import (
    MalformedItem,
    an_object,
    digest,
    identifier,
    lenient_identifier,
    lenient_words,
    seconds,
    words,
)
from ..model import (
    JSON,
    Address,
    AnyEvent,
    Deleted,
    Echo,
    Edited,
    Event,
    Membership,
    MessageReceived,
    PersonEvent,
    Reaction,
    Referral,
    Sender,
    Unknown,
)
from .files import read_files
from .places import Places, is_direct, moment, named_event, sender_of
from .words import mentions, read_words

E = TypeVar("E", bound=Event)

REPLY_METADATA = "klein_channels_reply"
"""The ``event_type`` of the metadata in which a message of ours carries our id."""
_SPOKEN = frozenset({"", "file_share", "me_message", "thread_broadcast", "file_comment", "bot_message"})
"""Subtypes with which a message is one that somebody said; all others are told about."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Which messages of channels are answered; direct chats always are."""

    mentions_only: bool = False
    everything_in: str = ""
    """A channel in which also what does not mention us is answered."""


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One delivery, with what every event made of it shares."""

    json: dict[str, Any]
    item: dict[str, Any]
    account: str
    ours: frozenset[str]
    """The ids of our bot's users that the delivery names."""
    places: Places

    def at(self, channel: JSON, ts: JSON = None, thread_ts: JSON = None) -> Address:
        return self.places.at(self.account, lenient_identifier(channel), ts, thread_ts)

    def event(self, kind: type[E], address: Address, user: JSON = None, **fields: Any) -> E:
        """An event of `kind`, named by the envelope if nothing else names it."""
        if issubclass(kind, PersonEvent):
            fields.setdefault("sender", sender_of(user))
            if lenient_identifier(user) in self.ours:
                fields["observe_only"] = True
        fields.setdefault("id", lenient_identifier(self.json.get("event_id")) or digest(self.item))
        fields.setdefault(
            "timestamp", moment(self.item.get("event_ts")) or seconds(self.json.get("event_time"))
        )
        if not self.places.answers(address):
            fields["observe_only"] = True
        return kind(address=address, raw=self.item, **fields)

    def is_ours(self, message: dict[str, Any]) -> bool:
        """Whether our own app said a message."""
        app = lenient_identifier(self.json.get("api_app_id"))
        by_app = bool(app) and lenient_identifier(message.get("app_id")) == app
        by_bot = lenient_identifier(message.get("user")) in self.ours
        return by_bot or (by_app and bool(message.get("bot_id")))


class EventReader:
    """Reads the deliveries of the Events API for one channel."""

    def __init__(self, places: Places, listening: Listening) -> None:
        self._places = places
        self._listening = listening

    def read(self, body: dict[str, Any]) -> AnyEvent:
        """The event in `body`; `Unknown` for everything that has no class of its own."""
        item = body.get("event")
        envelope = self._envelope(body, item if isinstance(item, dict) else body)
        if body.get("type") != "event_callback":
            return _told(envelope, lenient_words(body.get("type")) or "malformed")
        if not isinstance(item, dict):
            return _told(envelope, "malformed")
        try:
            name = words(item.get("type")) or "malformed"
            if name in ("message", "app_mention"):
                return self._message(envelope)
            reader = _READERS.get(name)
            return reader(envelope) if reader else _told(envelope, name)
        except MalformedItem:
            return _told(envelope, "malformed")

    def _envelope(self, body: dict[str, Any], item: dict[str, Any]) -> _Envelope:
        listed = body.get("authorizations")
        installs = [i for i in listed if isinstance(i, dict)] if isinstance(listed, list) else []
        teams = [i.get("team_id") for i in installs]
        teams += [body.get("context_team_id"), body.get("team_id")]
        teams += [*(i.get("enterprise_id") for i in installs), body.get("enterprise_id")]
        bots = {lenient_identifier(i.get("user_id")) for i in installs if i.get("is_bot") is True}
        return _Envelope(body, item, self._places.account(teams), frozenset(bots - {""}), self._places)

    def _message(self, envelope: _Envelope) -> AnyEvent:
        item = envelope.item
        subtype = words(item.get("subtype")) or ""
        if subtype == "message_changed":
            return _changed(envelope)
        if subtype == "message_deleted":
            return _deleted(envelope, item.get("deleted_ts"))
        if subtype not in _SPOKEN or item.get("hidden") is True:
            return _told(envelope, subtype or "message")
        if envelope.is_ours(item):
            return _echo(envelope, item)
        return self._said(envelope)

    def _said(self, envelope: _Envelope) -> AnyEvent:
        """What a person said, or another bot, which is never answered."""
        item = envelope.item
        channel, ts, user = identifier(item.get("channel")), identifier(item.get("ts")), item.get("user")
        if not channel or not ts:
            raise MalformedItem
        thread_ts = lenient_identifier(item.get("thread_ts"))
        text = read_words(words(item.get("text")) or "", self._our_names(envelope))
        attachments = read_files(item)
        by_bot = bool(item.get("bot_id")) or item.get("subtype") == "bot_message"
        for_us = not by_bot and self._is_for_us(envelope, channel)
        observed = not for_us or not (text.strip() or attachments)
        # What is not for us leaves the name to its twin, which may know better.
        name = {"id": named_event(f"{channel}:{ts}", lenient_identifier(user))} if for_us else {}
        return envelope.event(
            MessageReceived,
            envelope.at(channel, ts, thread_ts),
            user,
            sender=_author(item, by_bot),
            timestamp=moment(ts),
            text=text,
            attachments=attachments,
            reply_to=thread_ts if thread_ts != ts and thread_ts else None,
            mid=ts,
            observe_only=observed,
            **name,
        )

    def _our_names(self, envelope: _Envelope) -> frozenset[str]:
        """The ids by which a text means us; where Slack does not say them, a mention begins with it."""
        text = lenient_words(envelope.item.get("text")) or ""
        if envelope.ours or envelope.item.get("type") != "app_mention" or not text.startswith("<@"):
            return envelope.ours
        return frozenset({text[2:].partition(">")[0].partition("|")[0]})

    def _is_for_us(self, envelope: _Envelope, channel: str) -> bool:
        item, listening = envelope.item, self._listening
        return (
            not listening.mentions_only
            or item.get("type") == "app_mention"
            or is_direct(channel)
            or channel == listening.everything_in
            or lenient_identifier(item.get("parent_user_id")) in envelope.ours
            or mentions(lenient_words(item.get("text")) or "", envelope.ours)
        )


def _author(item: dict[str, Any], by_bot: bool) -> Sender | None:
    user = item.get("user") or item.get("bot_id")
    profile = item.get("user_profile")
    named = profile if isinstance(profile, dict) else {}
    return sender_of({**named, "id": user, "username": item.get("username") or named.get("name")}, by_bot)


def _echo(envelope: _Envelope, message: dict[str, Any]) -> AnyEvent:
    """What our own app said, by us or by somebody else with its token."""
    ts = lenient_identifier(message.get("ts"))
    return envelope.event(
        Echo,
        envelope.at(envelope.item.get("channel"), ts, message.get("thread_ts")),
        timestamp=moment(ts),
        text=read_words(lenient_words(message.get("text")) or ""),
        mid=ts or None,
        app_id=lenient_identifier(message.get("app_id")) or None,
        metadata=_our_id(message.get("metadata")),
        attachments=read_files(message),
    )


def _our_id(metadata: JSON) -> str | None:
    if not isinstance(metadata, dict) or metadata.get("event_type") != REPLY_METADATA:
        return None
    payload = metadata.get("event_payload")
    return lenient_words(payload.get("id")) if isinstance(payload, dict) else None


def _changed(envelope: _Envelope) -> AnyEvent:
    """An edit by a person; Slack also calls it a change when it adds a preview or counts replies."""
    message = an_object(envelope.item.get("message"))
    previous = envelope.item.get("previous_message")
    before = previous.get("text") if isinstance(previous, dict) else None
    if message.get("subtype") == "tombstone":
        return _deleted(envelope, message.get("ts"))
    ts = identifier(message.get("ts"))
    same = message.get("text") == before
    if not ts or same or message.get("bot_id") or envelope.is_ours(message):
        return _told(envelope, "message_changed")
    return envelope.event(
        Edited,
        envelope.at(envelope.item.get("channel"), ts, message.get("thread_ts")),
        message.get("user"),
        mid=ts,
        text=read_words(words(message.get("text")) or "", envelope.ours),
    )


def _deleted(envelope: _Envelope, ts: JSON) -> AnyEvent:
    previous = envelope.item.get("previous_message")
    before = previous if isinstance(previous, dict) else {}
    mid = identifier(ts)
    if not mid:
        raise MalformedItem
    address = envelope.at(envelope.item.get("channel"), mid, before.get("thread_ts"))
    return envelope.event(Deleted, address, before.get("user"), mid=mid)


def _reaction(action: Literal["react", "unreact"]) -> Callable[[_Envelope], AnyEvent]:
    def reaction(envelope: _Envelope) -> AnyEvent:
        target = an_object(envelope.item.get("item"))
        return envelope.event(
            Reaction,
            envelope.at(target.get("channel")),
            identifier(envelope.item.get("user")),
            mid=lenient_identifier(target.get("ts")) or None,
            action=action,
            name=words(envelope.item.get("reaction")),
        )

    return reaction


def _membership(action: str) -> Callable[[_Envelope], AnyEvent]:
    def membership(envelope: _Envelope) -> AnyEvent:
        user = identifier(envelope.item.get("user"))
        address = envelope.at(envelope.item.get("channel"))
        return envelope.event(Membership, address, user, action=action, member=sender_of(user))

    return membership


def _assistant_opened(envelope: _Envelope) -> AnyEvent:
    """Somebody opened the app's own chat beside what they were looking at."""
    thread = an_object(envelope.item.get("assistant_thread"))
    ts = thread.get("thread_ts")
    address = envelope.at(thread.get("channel_id"), ts, ts)
    return envelope.event(
        Referral,
        address,
        thread.get("user_id"),
        source="assistant_thread_started",
        details=thread.get("context"),
    )


def _metadata_posted(envelope: _Envelope) -> AnyEvent:
    """The metadata of a message, for apps that subscribe to it; ours settles what became of a reply."""
    item = envelope.item
    ours = _our_id(item.get("metadata")) if envelope.is_ours(item) else None
    if ours is None:
        return _told(envelope, "message_metadata_posted")
    ts = lenient_identifier(item.get("message_ts"))
    return envelope.event(Echo, envelope.at(item.get("channel_id"), ts), mid=ts or None, metadata=ours)


_READERS: dict[str, Callable[[_Envelope], AnyEvent]] = {
    "reaction_added": _reaction("react"),
    "reaction_removed": _reaction("unreact"),
    "member_joined_channel": _membership("joined"),
    "member_left_channel": _membership("left"),
    "assistant_thread_started": _assistant_opened,
    "message_metadata_posted": _metadata_posted,
}


def _told(envelope: _Envelope, name: str) -> Unknown:
    """What is kept of everything else, as much of its place as can be told."""
    item = envelope.item
    channel = item.get("channel", item.get("channel_id"))
    channel = channel.get("id") if isinstance(channel, dict) else channel
    address = envelope.at(channel, None, item.get("thread_ts"))
    return envelope.event(Unknown, address, name=name, observe_only=True)
