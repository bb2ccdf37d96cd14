"""
The values that travel between channels, store and agents.

All are frozen and keyword-only. Events, parts and controls carry their kind in the key ``"type"``
of their JSON form; `to_json` and `from_json` are the only way to bytes and back. An object with an
unknown ``type`` reads as `Unknown` with the whole object in `raw`, so that an older version can keep
what a newer one has stored.

Times are float seconds since 1970 (UTC). Identifiers are texts, whatever the platform makes of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import quote, unquote

import msgspec

from .errors import MalformedWebhook

JSON: TypeAlias = Any
MAX_JSON_DEPTH = 64
RECENT_ADDRESSES = 4096
"""Addresses whose keys are remembered: one message asks for its own six times."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all values share: immutable, compared by content, defaults left out of the JSON form."""


# ---------------------------------------------------------------------------------------------
# Who and where


class Address(Value, frozen=True, kw_only=True):
    """Where a reply goes: configured channel, our account there, the chat, and a thread within it.

    `channel` is the name of the configured instance, `account` ours on the platform (a page id, a
    phone-number id, a bot), `peer` the chat that is answered, `thread` a topic, thread or call.
    """

    channel: str
    account: str
    peer: str
    thread: str | None = None

    def __str__(self) -> str:
        """The conversation key: the percent-encoded parts joined by ``:``."""
        return _key_of(self)

    @classmethod
    def parse(cls, key: str) -> Address:
        """The address that `str` made `key` of; ValueError if none did."""
        return _address_of(key)


@lru_cache(maxsize=RECENT_ADDRESSES)
def _key_of(address: Address) -> str:
    parts = [address.channel, address.account, address.peer]
    if address.thread is not None:
        parts.append(address.thread)
    return ":".join(quote(part, safe="", errors="surrogatepass") for part in parts)


@lru_cache(maxsize=RECENT_ADDRESSES)
def _address_of(key: str) -> Address:
    parts = [unquote(part, errors="surrogatepass") for part in key.split(":")]
    if len(parts) not in (3, 4):
        raise ValueError(f"not an address of 3 or 4 parts: {key!r}")
    channel, account, peer, *thread = parts
    return Address(channel=channel, account=account, peer=peer, thread=thread[0] if thread else None)


class Sender(Value, frozen=True, kw_only=True):
    """The person or bot behind an event, as far as the platform tells."""

    id: str
    name: str | None = None
    username: str | None = None
    locale: str | None = None
    is_bot: bool = False


# ---------------------------------------------------------------------------------------------
# Events


class Attachment(Value, frozen=True, kw_only=True):
    """One thing that came with a message; `url` is the platform's and may expire."""

    kind: Literal[
        "image", "audio", "video", "file", "sticker", "location", "share", "contact", "template", "unknown"
    ]
    url: str | None = None
    title: str | None = None
    coordinates: tuple[float, float] | None = None
    raw: JSON = None
    path: str | None = None
    """Where the file lies on this machine, if it was fetched (`fetch_media`); it is deleted after a while."""
    content_type: str | None = None
    """What the file is, by its own bytes where they tell."""
    size: int | None = None
    """The file's bytes."""
    problem: str | None = None
    """Why it was not fetched."""


class Event(Value, tag_field="type", frozen=True, kw_only=True):
    """Anything that a platform told us.

    `id` is the platform's, or a hash of the item where it gives none; `timestamp` is the platform's
    or None; `raw` is the platform's own item. `observe_only` marks what observers see and no agent
    answers: an item of the standby channel, or of an account that is not configured.
    """

    id: str
    address: Address
    timestamp: float | None = None
    raw: JSON = None
    observe_only: bool = False

    @property
    def kind(self) -> str:
        """The value of ``"type"`` in the JSON form."""
        return cast("str", self.__struct_config__.tag)

    @property
    def text(self) -> str:
        """What a person said or chose; empty for events that carry no words."""
        return ""

    @property
    def payload(self) -> str | None:
        """What the chosen button stands for, if one was chosen."""
        return None

    def describe(self) -> str:
        """The event in words, for an agent that takes only text."""
        return self.text or f"[{self.kind}]"


class PersonEvent(Event, frozen=True, kw_only=True):
    """An event with a person behind it."""

    sender: Sender | None = None
    heard: str | None = None
    """What the person had heard of our last words on breaking in; None for who did not break in."""


class MessageReceived(PersonEvent, tag="message", frozen=True, kw_only=True):
    """A message: text (a caption counts), the payload of a quick reply, attachments."""

    text: str = ""
    payload: str | None = None
    title: str | None = None
    attachments: tuple[Attachment, ...] = ()
    reply_to: str | None = None
    mid: str | None = None
    referral: JSON = None
    group: str | None = None
    """What messages have in common that came one by one and are one to people: an album's name."""

    def describe(self) -> str:
        """The text, else the chosen title, else the attachments in words."""
        named = (f"[{a.kind}] {a.url or a.title or ''}".rstrip() for a in self.attachments)
        return self.text or self.title or self.payload or "\n".join(named) or "[message]"


class Postback(PersonEvent, tag="postback", frozen=True, kw_only=True):
    """A button was pressed."""

    payload: str = ""
    title: str | None = None
    mid: str | None = None
    referral: JSON = None

    @property
    def text(self) -> str:
        """The title of the button, else its payload."""
        return self.title or self.payload


class Reaction(PersonEvent, tag="reaction", frozen=True, kw_only=True):
    """A reaction was put on, or taken off, the message `mid`."""

    mid: str | None = None
    action: Literal["react", "unreact"] = "react"
    emoji: str | None = None
    name: str | None = None


class Referral(PersonEvent, tag="referral", frozen=True, kw_only=True):
    """A person came back through a link or an advertisement."""

    ref: str | None = None
    source: str | None = None
    details: JSON = None


class OptIn(PersonEvent, tag="optin", frozen=True, kw_only=True):
    """A person agreed to be written to, or took it back."""

    payload: str | None = None
    details: JSON = None


class Edited(PersonEvent, tag="edited", frozen=True, kw_only=True):
    """The message `mid` now reads `text`."""

    mid: str
    text: str = ""


class Deleted(PersonEvent, tag="deleted", frozen=True, kw_only=True):
    """The message `mid` was taken back."""

    mid: str


class Receipt(Event, tag="receipt", frozen=True, kw_only=True):
    """What became of messages of ours: those in `mids`, else all up to `watermark` (seconds)."""

    status: Literal["sent", "delivered", "read", "played", "failed"]
    mids: tuple[str, ...] = ()
    watermark: float | None = None
    error: JSON = None
    metadata: str | None = None
    """What we gave with the message, where the platform gives it back: the id of our send."""
    reason: str | None = None
    """Why it failed, on one line."""


class Handover(Event, tag="handover", frozen=True, kw_only=True):
    """The conversation passed to another owner, `bot`, `human` or `paused`; None leaves it."""

    action: str
    owner: Literal["bot", "human", "paused"] | None = None
    details: JSON = None


class Membership(PersonEvent, tag="membership", frozen=True, kw_only=True):
    """Somebody, perhaps we, joined or left a chat."""

    action: str
    member: Sender | None = None


class CallStarted(PersonEvent, tag="call_started", frozen=True, kw_only=True):
    """A call begins."""


class CallEnded(PersonEvent, tag="call_ended", frozen=True, kw_only=True):
    """A call is over."""

    reason: str | None = None


class Dtmf(PersonEvent, tag="dtmf", frozen=True, kw_only=True):
    """Keys were pressed on a telephone."""

    digits: str

    @property
    def text(self) -> str:
        """The digits."""
        return self.digits


class Interrupted(PersonEvent, tag="interrupted", frozen=True, kw_only=True):
    """A person broke in while we spoke, `after` seconds, and had `heard` so much."""

    after: float | None = None


class FormAnswered(PersonEvent, tag="form_answered", frozen=True, kw_only=True):
    """A form of ours was filled in."""

    data: JSON = None
    name: str | None = None
    mid: str | None = None

    def describe(self) -> str:
        """The form's name and its data as JSON."""
        return f"[form {self.name or ''}] {_compact(self.data)}"


class OrderPlaced(PersonEvent, tag="order_placed", frozen=True, kw_only=True):
    """A cart was sent."""

    items: JSON = None
    note: str | None = None
    mid: str | None = None

    def describe(self) -> str:
        """The cart as JSON."""
        return f"[order] {_compact(self.items)}"


class AccountLinked(PersonEvent, tag="account_linked", frozen=True, kw_only=True):
    """A person linked, or unlinked, an account of theirs."""

    linked: bool = True
    code: str | None = None


class Commented(PersonEvent, tag="comment", frozen=True, kw_only=True):
    """A person wrote a comment, `mid`, under a post of ours; `parent` is the comment that it answers.

    `place` is the platform's word for where: a post, a broadcast.
    """

    text: str = ""
    mid: str | None = None
    post: str | None = None
    parent: str | None = None
    place: str | None = None


class Rated(PersonEvent, tag="rated", frozen=True, kw_only=True):
    """A person said what they think of our message `mid`; `verdict` is the platform's word for it."""

    mid: str | None = None
    verdict: str | None = None


class Notice(Event, tag="notice", frozen=True, kw_only=True):
    """The platform tells something of an account or a conversation: `name` says what, `reason` why.

    `action` is what it did, such as ``block`` of a ``policy_enforcement``.
    """

    name: str = ""
    action: str | None = None
    reason: str | None = None
    details: JSON = None


class Echo(Event, tag="echo", frozen=True, kw_only=True):
    """Something our account said: by us (`metadata` is then ours), by another app, by a human."""

    text: str = ""
    mid: str | None = None
    app_id: str | None = None
    metadata: str | None = None
    attachments: tuple[Attachment, ...] = ()
    by_human: bool | None = None
    """Whether a human said it, in the platform's own inbox or app; None where the platform does not tell."""


class Unknown(Event, tag="unknown", frozen=True, kw_only=True):
    """Something without a class of its own; `raw` has all of it, `name` the platform's word for it."""

    name: str = ""


AnyEvent: TypeAlias = (
    MessageReceived
    | Postback
    | Reaction
    | Referral
    | OptIn
    | Edited
    | Deleted
    | Receipt
    | Handover
    | Membership
    | CallStarted
    | CallEnded
    | Dtmf
    | Interrupted
    | FormAnswered
    | OrderPlaced
    | AccountLinked
    | Commented
    | Rated
    | Notice
    | Echo
    | Unknown
)
TURN_KINDS = frozenset({"message", "postback", "form_answered", "order_placed", "call_started", "dtmf"})
"""The kinds of events that an agent answers unless a channel's `turns` names more."""


# ---------------------------------------------------------------------------------------------
# What agents say


class Part(Value, tag_field="type", frozen=True, kw_only=True):
    """One thing to be shown."""


class Text(Part, tag="text", frozen=True, kw_only=True):
    """Words."""

    text: str
    format: Literal["plain", "markdown"] = "plain"


class Image(Part, tag="image", frozen=True, kw_only=True):
    """A picture by its https address."""

    url: str
    alt: str | None = None


class Audio(Part, tag="audio", frozen=True, kw_only=True):
    """A sound by its https address."""

    url: str


class Video(Part, tag="video", frozen=True, kw_only=True):
    """A film by its https address."""

    url: str


class File(Part, tag="file", frozen=True, kw_only=True):
    """A file by its https address."""

    url: str
    name: str | None = None


class Button(Value, frozen=True, kw_only=True):
    """A button: `payload` comes back as a `Postback`, `url` opens a page, `phone` calls."""

    title: str
    payload: str | None = None
    url: str | None = None
    phone: str | None = None


class Buttons(Part, tag="buttons", frozen=True, kw_only=True):
    """Words with buttons under them."""

    text: str
    buttons: tuple[Button, ...]
    format: Literal["plain", "markdown"] = "plain"


class QuickReply(Value, frozen=True, kw_only=True):
    """A suggested answer; `payload` comes back with the message that it makes.

    `ask` asks for the person's own phone number or e-mail address in place of a title.
    """

    title: str = ""
    payload: str | None = None
    image_url: str | None = None
    ask: Literal["phone", "email"] | None = None


class QuickReplies(Part, tag="quick_replies", frozen=True, kw_only=True):
    """Words with suggested answers, which vanish when one is chosen."""

    text: str
    replies: tuple[QuickReply, ...]
    format: Literal["plain", "markdown"] = "plain"


class Card(Value, frozen=True, kw_only=True):
    """One card of a carousel."""

    title: str
    subtitle: str | None = None
    image_url: str | None = None
    url: str | None = None
    buttons: tuple[Button, ...] = ()


class Carousel(Part, tag="carousel", frozen=True, kw_only=True):
    """Cards side by side."""

    cards: tuple[Card, ...]


class ListRow(Value, frozen=True, kw_only=True):
    """One row of a list; `payload` comes back as a `Postback`."""

    title: str
    payload: str | None = None
    description: str | None = None


class ListSection(Value, frozen=True, kw_only=True):
    """Rows of a list under a title of their own."""

    rows: tuple[ListRow, ...]
    title: str | None = None


class ListMenu(Part, tag="list", frozen=True, kw_only=True):
    """Words with a list to choose one row from, which `button` opens where the platform wants one."""

    text: str
    sections: tuple[ListSection, ...]
    button: str = ""
    format: Literal["plain", "markdown"] = "plain"


class Location(Part, tag="location", frozen=True, kw_only=True):
    """A place on a map, in degrees."""

    latitude: float
    longitude: float
    title: str | None = None


class Custom(Part, tag="custom", frozen=True, kw_only=True):
    """A message in the platform's own JSON."""

    json: JSON


AnyPart: TypeAlias = (
    Text | Image | Audio | Video | File | Buttons | QuickReplies | Carousel | ListMenu | Location | Custom
)


class Message(Value, tag="reply", tag_field="type", frozen=True, kw_only=True):
    """What an agent answers: parts in their order, perhaps as a reply to the message `reply_to`."""

    parts: tuple[AnyPart, ...]
    reply_to: str | None = None
    metadata: dict[str, JSON] | None = None


class Control(Value, tag_field="type", frozen=True, kw_only=True):
    """Something an agent wants done rather than said."""


class Typing(Control, tag="typing", frozen=True, kw_only=True):
    """Show, or no longer show, that an answer is being written."""

    on: bool = True


class Delta(Control, tag="delta", frozen=True, kw_only=True):
    """The next piece of a text that is still being written."""

    text: str


class Handoff(Control, tag="handoff", frozen=True, kw_only=True):
    """A human takes over; nothing the bot says afterwards is sent."""

    to: str | None = None
    note: str | None = None


class EndConversation(Control, tag="end_conversation", frozen=True, kw_only=True):
    """The conversation is over; the next message starts a new one."""


class Remember(Control, tag="remember", frozen=True, kw_only=True):
    """What the agent wants to know at its next turn here; committed with the end of this one."""

    state: JSON = None


AnyControl: TypeAlias = Typing | Delta | Handoff | EndConversation | Remember


# ---------------------------------------------------------------------------------------------
# HTTP in and out


class WebhookRequest(Value, frozen=True, kw_only=True):
    """A request as it came: header names in lower case, doubles and order kept, the body raw.

    `url` is the configured public URL with path and query as received, never the Host header's.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    url: str = ""
    client: str = ""
    received_at: float = 0.0

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of the header `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]


class WebhookResponse(Value, frozen=True, kw_only=True):
    """The answer to a webhook."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Received(Value, frozen=True, kw_only=True):
    """What a request brought: events in order, and the answer if it is not an empty 200.

    `joins` is the id of an earlier event for whose replies the platform asks again.
    """

    events: tuple[AnyEvent, ...] = ()
    response: WebhookResponse | None = None
    joins: str | None = None
    conversation: Address | None = None
    """Where `joins` is looked for."""


class Call(Value, frozen=True, kw_only=True):
    """One HTTP request that a channel wants made.

    `deadline` is in seconds over request and answer, `max_response` in bytes. `trust` is
    ``configured`` only for addresses that the operator wrote; all others are resolved and checked.
    `effect` marks the one call of a run that somebody will see.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    deadline: float = 15.0
    max_response: int = 1 << 20
    trust: Literal["configured", "content"] = "content"
    effect: bool = False
    save: bool = False
    """Whether the body of a good answer is saved as a file by whoever runs the steps, and not given here."""


class CallResult(Value, frozen=True, kw_only=True):
    """What became of a `Call`.

    ``answered``: a whole answer is here. ``not_sent``: not a byte reached the other side.
    ``unknown``: it may have been done, we cannot know.
    """

    outcome: Literal["answered", "not_sent", "unknown"]
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    elapsed: float = 0.0
    error: str = ""

    def header(self, name: str) -> str | None:
        """The first value of the header `name`, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


# ---------------------------------------------------------------------------------------------
# Sending


Scope: TypeAlias = Literal["message", "conversation", "account"]
Owner: TypeAlias = Literal["bot", "human", "paused"]


class Context(Value, frozen=True, kw_only=True):
    """What is known of a conversation when something is sent to it."""

    last_event: str | None = None
    last_at: float | None = None
    owner: Owner = "bot"
    reference: JSON = None


class Outgoing(Value, frozen=True, kw_only=True):
    """One visible send. `id` stays the same over retries; `attempt` counts from 1."""

    id: str
    address: Address
    part: AnyPart
    context: Context = Context()
    cause: str | None = None
    reply_to: str | None = None
    metadata: dict[str, JSON] | None = None
    now: float = 0.0
    attempt: int = 1
    replaces: str | None = None
    """The message or stream of ours whose place it takes."""
    partial: bool = False
    """Whether it is a text that is still being written."""


class Pace(Value, frozen=True, kw_only=True):
    """How fast a platform lets an account go on: `share` of its usual rate until `until`; 0 stops it."""

    share: float
    until: float
    reason: str = ""


class Sent(Value, frozen=True, kw_only=True):
    """The platform took it and named it."""

    mids: tuple[str, ...] = ()
    pace: Pace | None = None
    """What the platform said beside it about the account's pace; so in the other outcomes."""


class Retry(Value, frozen=True, kw_only=True):
    """Not now: again at `at`, or when the backoff says if None; `scope` waits with it."""

    at: float | None = None
    scope: Scope = "message"
    reason: str = ""
    pace: Pace | None = None


class Refused(Value, frozen=True, kw_only=True):
    """Not like this: `scope` ``message`` ends it; the wider ones stop that lane and end nothing."""

    reason: str
    scope: Scope = "message"
    pace: Pace | None = None
    expired: bool = False
    """Whether its time is over, rather than that anything is wrong: nobody need look at it."""


class UnknownOutcome(Value, frozen=True, kw_only=True):
    """It may have been shown; the platform did not say.

    `costs` tells that to send it again would cost money, whatever the channel does otherwise.
    """

    reason: str
    costs: bool = False
    pace: Pace | None = None


Outcome: TypeAlias = Sent | Retry | Refused | UnknownOutcome


class Turn(Value, frozen=True, kw_only=True):
    """What an agent is asked: the event, and what was already said in earlier attempts at it."""

    id: int
    conversation: str
    events: tuple[AnyEvent, ...]
    attempt: int = 1
    already_said: tuple[Message, ...] = ()
    state: JSON = None
    """What the agent's last `Remember` in this conversation held."""
    structured: bool = False
    """Whether text like ``/intent{…}`` in the event is the platform's or ours, not typed freely."""

    interrupted: tuple[AnyEvent, ...] = ()
    """Earlier events whose turns this one put an end to; `already_said` has what was said of them."""

    @property
    def event(self) -> AnyEvent:
        """The event that is answered: the last one, with the words of all where several are one turn."""
        return self.events[-1] if len(self.events) == 1 else merged(self.events)


def merged(events: tuple[AnyEvent, ...]) -> AnyEvent:
    """Several messages as one: the last of them, with the texts (a line each) and attachments of all."""
    last = events[-1]
    if not isinstance(last, MessageReceived):
        return last
    messages = [event for event in events if isinstance(event, MessageReceived)]
    return msgspec.structs.replace(
        last,
        text="\n".join(message.text for message in messages if message.text),
        attachments=tuple(attachment for message in messages for attachment in message.attachments),
        referral=next((message.referral for message in messages if message.referral is not None), None),
    )


# ---------------------------------------------------------------------------------------------
# JSON

AnyValue: TypeAlias = AnyEvent | AnyPart | Message | AnyControl
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyValue] = msgspec.json.Decoder(AnyValue)


def to_json(value: AnyValue) -> bytes:
    """The JSON form of an event, part, message or control."""
    return _encoder.encode(value)


def from_json(data: bytes) -> AnyValue:
    """The value that `to_json` made `data` of; an unknown ``type`` reads as `Unknown`."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        return _unknown_from(msgspec.json.decode(data))


def _unknown_from(item: JSON) -> Unknown:
    fields = item if isinstance(item, dict) else {}
    try:
        address = msgspec.convert(fields.get("address"), Address)
    except msgspec.ValidationError:
        address = Address(channel="", account="", peer="")
    return Unknown(id=str(fields.get("id", "")), address=address, name=str(fields.get("type", "")), raw=item)


def read_json(body: bytes) -> JSON:
    """The JSON that a platform sent: at most 64 levels deep, lone surrogates as U+FFFD.

    Raises `MalformedWebhook` for everything else that is wrong with it.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _read_json_leniently(body)
    if body.count(b"{") + body.count(b"[") > MAX_JSON_DEPTH and _deeper_than(value, MAX_JSON_DEPTH):
        raise MalformedWebhook(f"JSON is nested deeper than {MAX_JSON_DEPTH} levels")
    return value


def _read_json_leniently(body: bytes) -> JSON:
    try:
        text = body.decode("utf-8")
        return _without_lone_surrogates(
            json.loads(text, parse_constant=_no_constant, parse_float=_finite_number)
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedWebhook(f"not JSON: {reason}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite_number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


def _without_lone_surrogates(value: JSON) -> JSON:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_lone_surrogates(k): _without_lone_surrogates(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    return value


def _deeper_than(value: JSON, limit: int) -> bool:
    level: Sequence[JSON] = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _children(item: JSON) -> Iterable[JSON]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _compact(value: JSON) -> str:
    return _encoder.encode(value).decode()
