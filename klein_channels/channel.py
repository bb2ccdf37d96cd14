"""
What a channel is: a pure translator between a platform's bytes and our values.

A channel opens nothing and waits for nothing. What it wants from the network it writes as `Steps`:
a generator that yields a `Call`, is sent the `CallResult`, and returns a value. `http.run` drives
it; a test drives it with a `for` loop.

The three functions of `Channel` are all that a platform needs. What only some platforms can do
(`Live`, `Resolves`, …) are protocols of their own, found by `isinstance`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Generator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from .errors import ConfigError
from .markdown import Dialect
from .model import (
    JSON,
    Address,
    AnyControl,
    AnyEvent,
    AnyPart,
    Attachment,
    Call,
    CallResult,
    Context,
    Outcome,
    Outgoing,
    Received,
    Sender,
    Sent,
    Value,
    WebhookRequest,
    WebhookResponse,
)
from .rates import Rate
from .secret import Secret

T = TypeVar("T")
Steps: TypeAlias = Generator[Call, CallResult, T]
ENTRY_POINTS = "klein_channels.channels"
Unknowns: TypeAlias = Literal["resend", "hold", "settle"]
"""What becomes of a send whose outcome is unknown: sent once more after a while; given to the operator,
who decides; or given to him when the proof that this platform sends has not come in its time."""


class Capabilities(Value, frozen=True, kw_only=True):
    """What a platform can show and how it behaves; `fit`, `intake` and `delivery` go by it.

    A limit of 0 means that the platform has nothing of that kind. Texts are counted in `text_unit`.
    """

    dialect: Literal["plain", "own"] = "plain"
    """What becomes of Markdown: plain words, before it is cut, or ``own`` where the channel renders it."""
    dialects: tuple[Dialect, ...] = ()
    """The forms that a channel of its ``own`` dialect renders Markdown in: a piece has to fit in each of
    them. Without any the Markdown itself is measured."""
    text_limit: int = 2000
    text_unit: Literal["characters", "utf16", "bytes"] = "characters"
    quick_replies: int = 0
    quick_reply_title: int = 20
    quick_reply_asks: bool = True
    """Whether a quick reply may ask for the person's own number or address."""
    buttons: int = 0
    button_title: int = 20
    button_text: int = 640
    button_links: bool = True
    """Whether a button may open a page or call a number."""
    button_calls: bool = True
    """Whether one may call a number, where one may open a page."""
    title_unit: Literal["characters", "utf16", "bytes"] | None = None
    """What titles are counted in; None for `text_unit`."""
    lone_link: bool = False
    """Whether a link may be a button where it is the only one, whatever `button_links` says."""
    payload_limit: int = 1000
    payload_unit: Literal["characters", "utf16", "bytes"] | None = None
    """What payloads are counted in; None for `text_unit`."""
    cards: int = 0
    card_title: int = 80
    card_subtitle: int = 80
    card_buttons: int = 3
    list_rows: int = 0
    """Rows of one list, in all of its sections."""
    list_title: int = 24
    list_description: int = 72
    list_text: int = 1024
    """Words over a list."""
    media: frozenset[Literal["image", "audio", "video", "file"]] = frozenset()
    location: bool = False
    custom: bool = True
    max_body: int | None = None
    """Bytes of one webhook, where the platform needs more than the policy's default."""
    malformed_status: int = 400
    redelivery_horizon: float = 8 * 86_400.0
    """Seconds within which the platform may deliver an event again."""
    stable_timestamps: bool = False
    """Whether a redelivery carries the timestamp of the first delivery."""
    signed_payloads: bool = False
    """Whether the platform vouches that a payload is one that we offered."""
    answer_deadline: float = 10.0
    """Seconds within which a channel that `Answers` must answer a webhook."""
    answers_only: bool = False
    """Whether replies travel in answers and no other way; those that nobody fetches expire."""
    typing_lasts: float = 20.0
    """Seconds for which the platform shows that an answer is being written."""
    edit_interval: float = 0.0
    """Seconds between two edits of a growing text that the platform bears; 0 where nothing is edited."""
    socket_patience: float = 30.0
    """Seconds for which a reply waits for a socket that is gone to come back; then it expires."""
    growth_lasts: float = 0.0
    """Seconds after which the platform forgets what it shows of a growing text; 0 if it does not."""
    grouped: int = 1
    """Messages with the same `group` that people see as one, at the most: they are one turn."""
    retry_patience: float | None = None
    """Seconds within which a reply may be sent, where the platform has a window of its own."""
    rates: tuple[Rate, ...] = ()
    """How often the platform lets us send."""
    unknown: Unknowns = "resend"
    """What becomes of a send whose outcome is unknown; ``hold`` where to repeat it costs money."""


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that every channel takes; a platform's own settings class adds to them.

    Credentials are `Secret` values, so that they print as nothing anywhere.
    """

    type: str = ""
    default: bool = False
    """Whether ``<prefix>/webhook`` is this channel's."""
    turns: tuple[str, ...] = ()
    """Kinds of events, beside the usual ones, that the agent answers."""
    conversation: Literal["chat", "sender", "thread"] = "thread"
    """What makes a conversation: the chat, each sender within it, or each thread within it."""
    double_texting: Literal["enqueue", "merge", "interrupt", "reject"] = "enqueue"
    """What becomes of an event that comes while an earlier one waits or is answered."""
    busy_text: str = "One moment, please: there is still something to answer."
    """What a person reads whose event is rejected; empty for nothing."""
    allow_structured_text: bool = False
    """Whether typed text like ``/intent{…}`` counts as an intent, whoever types it."""
    echo_takes_over: Literal["human", "any", "never"] = "human"
    """Whose words, said in our name beside the bot, give the conversation to a human: those of a human
    (where the platform tells), those of anybody who is not us, or nobody's."""
    human_returns_after: float = 86_400.0
    """Seconds after which the bot has a conversation again that its agent handed over, or that a human
    took by writing there (counted from their last words); 0 for never."""
    profiles: bool = False
    """Whether the platform is asked who people are, which may need a permission."""
    fetch_media: bool = False
    """Whether the files that people send are saved on this machine before the agent is asked."""
    typing: bool = True
    mark_seen: bool = False
    debug_mode: bool = False
    """Whether each event is logged with its text; it checks nothing less."""
    rates: tuple[Rate, ...] | None = None
    """How often is sent, in place of what the platform lets us; none at all if it is empty."""
    unknown: Unknowns | None = None
    """What becomes of a send whose outcome is unknown, in place of the platform's usual."""


@runtime_checkable
class Channel(Protocol):
    """One configured connection to a platform."""

    name: str
    options: ChannelOptions
    capabilities: Capabilities

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove the sender of `request` over its raw bytes; raise `VerificationError` if that fails."""

    def parse(self, request: WebhookRequest) -> Received:
        """The events of a verified request; raise `MalformedWebhook` if it cannot be read."""

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Send one visible thing; in one run exactly one `Call` has `effect=True`."""


class ChannelClass(Protocol):
    """How a channel is made from the configuration."""

    Settings: ClassVar[type[ChannelOptions]]

    def from_settings(self, name: str, settings: Any) -> Channel:
        """The channel `name` with checked settings, an instance of `Settings`."""


@runtime_checkable
class Live(Protocol):
    """A platform that shows life signs; none of them is ever retried."""

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show that an answer is being written."""

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Show that the last message was read."""


@runtime_checkable
class Resolves(Protocol):
    """A platform whose events need a look-up: after the commit, before the turn."""

    def resolve(self, event: AnyEvent) -> Steps[AnyEvent]:
        """`event` with what the platform tells about it."""


@runtime_checkable
class KnowsPeople(Protocol):
    """A platform that tells who people are when it is asked."""

    def person(self, sender: Sender, address: Address) -> Steps[Sender | None]:
        """What the platform tells about `sender`; None if it tells nothing."""


class Fetched(Value, frozen=True, kw_only=True):
    """The end of a fetch: the result of the call that says `save`, and what the platform said of the file."""

    result: CallResult
    content_type: str | None = None
    sha256: str | None = None
    """In hexadecimal."""


@runtime_checkable
class Fetches(Protocol):
    """A platform whose files can be fetched: after the commit, before the turn."""

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch the file of `attachment`; None where it has none. The last `Call` says `save`.

        Raises `PlatformError` if the platform says no.
        """


def fetch_by_address(attachment: Attachment) -> Steps[Fetched | None]:
    """The `fetch` of platforms whose files are behind an address for whoever has it."""
    if attachment.url is None or attachment.kind not in FILES:
        return None
    result = yield Call(method="GET", url=attachment.url, deadline=60.0, save=True)
    return Fetched(result=result)


FILES = frozenset({"image", "audio", "video", "file", "sticker"})
"""The kinds of attachments that are files."""


@runtime_checkable
class KnowsAccounts(Protocol):
    """A platform with several accounts of ours behind one webhook."""

    def knows_account(self, account: str) -> bool:
        """Whether `account` is configured; events of others are shown to observers only."""


@runtime_checkable
class RenewsKeys(Protocol):
    """A platform whose signing keys are fetched; run once, throttled, after `UnknownKey`."""

    def keys(self) -> Steps[None]:
        """Fetch the keys that `verify` goes by."""


@runtime_checkable
class Edits(Protocol):
    """A platform on which a message of ours can be changed."""

    def edit(self, outgoing: Outgoing, mid: str) -> Steps[Outcome]:
        """Let our message `mid` show the part of `outgoing`; done twice it changes nothing."""


@runtime_checkable
class PacesEdits(Protocol):
    """A platform whose pace of edits depends on the chat."""

    def edit_interval(self, address: Address) -> float:
        """Seconds between two edits there, in place of `capabilities.edit_interval`."""


@runtime_checkable
class PacesSends(Protocol):
    """A platform whose rates depend on the chat."""

    def rates(self, address: Address) -> tuple[Rate, ...]:
        """How often we may send there, in place of `capabilities.rates`."""


@runtime_checkable
class Streams(Protocol):
    """A platform with streams of its own: a text is seen while it grows.

    A stream that the platform ends early is `Refused`; the text then goes on by edits, or whole.
    """

    def open_stream(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Begin a stream; `Sent` carries the name that the other calls take as `stream`."""

    def append(self, outgoing: Outgoing, stream: str, piece: str) -> Steps[Outcome]:
        """Show `piece` behind what was shown; the part of `outgoing` has all of the text so far."""

    def close_stream(self, outgoing: Outgoing, stream: str) -> Steps[Outcome]:
        """End the stream with the part of `outgoing` as its whole and final text."""


class Polled(Value, frozen=True, kw_only=True):
    """What one poll brought, and the cursor (JSON) that the next one begins at."""

    events: tuple[AnyEvent, ...] = ()
    cursor: JSON = None


@runtime_checkable
class Polls(Protocol):
    """A platform that can be asked for events, where no webhook reaches us."""

    @property
    def polled_account(self) -> str | None:
        """The account to poll for; None while webhooks are used."""

    def poll(self, cursor: JSON) -> Steps[Polled]:
        """The events behind `cursor` (None at the very first); may take as long as its `Call` says."""


class Renewed(Value, frozen=True, kw_only=True):
    """What became of credentials that end: `state` is stored, sealed; when to renew again.

    `trouble` says why they were not renewed, and is alarmed; what is stored then stays.
    """

    again_at: float
    state: JSON = None
    trouble: str = ""


@runtime_checkable
class Renews(Protocol):
    """A platform whose credentials end and are renewed before that."""

    @property
    def seal_key(self) -> Secret:
        """What they are sealed with where they are stored."""

    def renewable(self) -> tuple[str, ...]:
        """The accounts whose credentials end."""

    def restore(self, account: str, state: JSON) -> float | None:
        """Go by what was stored; when it wants to be renewed, None if it is of no use any more."""

    def renew(self, account: str, now: float) -> Steps[Renewed]:
        """Renew the credentials of `account` and go by the new ones; never raises for a refusal."""


@runtime_checkable
class Provisions(Protocol):
    """A platform that can be told where our webhook is, and what it shall show around it."""

    def provision(self, webhook_url: str, *, dry_run: bool) -> Steps[tuple[str, ...]]:
        """Change what differs from the configuration; a line for each difference."""


class Finding(Value, frozen=True, kw_only=True):
    """One thing that a platform was asked about: `text` says what, and what to do where it is not `ok`."""

    ok: bool
    text: str


@runtime_checkable
class ChecksLive(Protocol):
    """A platform that can be asked whether what is configured works there; nothing is changed."""

    def check_live(self, now: float) -> Steps[tuple[Finding, ...]]:
        """Everything that can be found out, faults and the rest; may raise `PlatformError`."""


@runtime_checkable
class Answers(Protocol):
    """A platform that takes the reply in the answer to its webhook.

    A webhook with an event for the agent waits for its turn, `capabilities.answer_deadline` seconds
    at most. The answer is stored: a redelivery gets the same one again.
    """

    def answer(self, request: WebhookRequest, outgoing: tuple[Outgoing, ...]) -> WebhookResponse:
        """The response that carries all of `outgoing`, perhaps nothing: the turn has ended."""

    def answer_later(self, request: WebhookRequest, event: str) -> WebhookResponse:
        """The response when the turn of the event with that id goes on past the deadline.

        What is said then goes out by `send`; on a platform that has no other way
        (`capabilities.answers_only`) the response makes it ask again, and the request with which it
        does so is `Received(joins=event)`.
        """


@runtime_checkable
class CarriesSome(Protocol):
    """A platform that `Answers`, but takes some kinds of replies the other way only."""

    def carries(self, outgoing: tuple[Outgoing, ...]) -> int:
        """How many of `outgoing`, from the first on, the answer can carry."""


@runtime_checkable
class ShowsControls(Protocol):
    """A platform that is told of the end of a conversation, or of a human taking over."""

    def part_for(self, control: AnyControl) -> AnyPart | None:
        """What tells it, as a part that follows the agent's words; None for what it need not know."""


class Fed(Value, frozen=True, kw_only=True):
    """What a session makes of a frame, of time or of an end: events to be stored, frames to be sent."""

    events: tuple[AnyEvent, ...] = ()
    frames: tuple[str | bytes, ...] = ()
    interrupted: bool = False
    """Whether the person broke in: the turn that is at work ends, and nothing more of it is said."""
    close: int | None = None
    """The code to close the socket with, behind `frames`."""


class Said(Value, frozen=True, kw_only=True):
    """What a session makes of something that is said: frames, and what has become of it by that."""

    frames: tuple[str | bytes, ...] = ()
    outcome: Outcome = Sent()


class Session(Protocol):
    """One socket without the socket: what its frames mean, and which frames say something.

    It opens nothing and waits for nothing, and remembers what was said on this one socket.
    """

    @property
    def address(self) -> Address | None:
        """Where what is said here is heard; None as long as the other side did not say."""

    @property
    def wake_at(self) -> float | None:
        """When `tick` is to be called."""

    def feed(self, frame: str | bytes, now: float) -> Fed:
        """What a frame of the other side means; whatever it holds, it is no accident."""

    def tick(self, now: float) -> Fed:
        """The time of `wake_at` has come."""

    def render(self, outgoing: Outgoing) -> Said:
        """Say the part of `outgoing`, or, if it is `partial`, what was not yet said of it.

        What began as a partial comes again under the same id when it is whole, with the name of this
        socket as what it `replaces`; `Refused` where it did not begin here.
        """

    def hush(self, cause: str) -> None:
        """Say nothing more of the answer to the event with that id."""

    def ended(self, now: float) -> Fed:
        """The socket is closed."""


@runtime_checkable
class Sockets(Protocol):
    """A platform that talks over a socket, which it opens: each frame goes through a `Session`.

    `verify` proves the handshake as well: a GET whose `url` begins with ``ws``.
    """

    def session(self, request: WebhookRequest, name: str) -> Session:
        """A session for the verified handshake `request`; `name` is of this one socket in all the world."""


class Grant(Value, frozen=True, kw_only=True):
    """With what an account that joined is answered; `renewal` gets a new token before `expires_at`."""

    account: str
    token: Secret
    renewal: Secret | None = None
    expires_at: float | None = None


@runtime_checkable
class Installs(Protocol):
    """A platform whose accounts join by OAuth: somebody lets us in there, and brings a code for a token."""

    @property
    def grants_key(self) -> Secret | None:
        """What states are signed and stored tokens sealed with; None where nobody can join."""

    def authorize_url(self, state: str, redirect_uri: str) -> str:
        """Where somebody is sent to let us in; `state` comes back to `redirect_uri` with a code."""

    def join(self, code: str, redirect_uri: str, now: float) -> Steps[Grant]:
        """The account that a code came from; raises `PlatformError` where there is no token for it."""

    def renew(self, grant: Grant, now: float) -> Steps[Grant]:
        """The same account's next token; raises `PlatformError`."""

    def use_grants(self, grants: Sequence[Grant]) -> None:
        """Answer the accounts of `grants` with their tokens from now on, and no others that had joined."""

    def ends_grant(self, event: AnyEvent) -> bool:
        """Whether `event` tells that its account has taken back what it granted."""


@runtime_checkable
class Triggers(Protocol):
    """A channel that can play its own platform, to try a server without an account there."""

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed webhook of the given kind; ValueError names the kinds it knows."""


@runtime_checkable
class TriggersAt(Protocol):
    """A channel that can play its own platform, whose proof covers the address that is called."""

    def trigger_at(self, kind: str, text: str, now: float, url: str) -> WebhookRequest:
        """A signed webhook of the given kind, as it comes to `url`; ValueError names the kinds."""


def able(channel: object, ability: Any) -> bool:
    """Whether the class of `channel` has `ability`, one of the protocols above; remembered.

    For what is asked with every message: `isinstance` looks through the whole protocol each time.
    """
    kind: Any = type(channel)
    return _class_is_able(kind, ability)


@lru_cache
def _class_is_able(kind: Any, ability: Any) -> bool:
    return issubclass(kind, ability)


def owner_until(options: ChannelOptions, now: float) -> float | None:
    """Until when a human owns a conversation that nobody gave them for good."""
    return now + options.human_returns_after if options.human_returns_after > 0 else None


def find_channel_class(type_name: str) -> ChannelClass:
    """The class behind ``type:``: a built-in platform, an installed one, or ``module:Class``.

    Raises `ConfigError` that names what there is.
    """
    if ":" in type_name or "." in type_name:
        return _imported(type_name)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=type_name):
        found: ChannelClass = entry.load()
        return found
    try:
        module = importlib.import_module(f"{__package__}.channels.{type_name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.channels.{type_name}":
            raise
        raise ConfigError(_no_such_type(type_name)) from None
    built_in: ChannelClass | None = getattr(module, "channel_class", None)
    if built_in is None:
        raise ConfigError(_no_such_type(type_name))
    return built_in


def known_types() -> list[str]:
    """The names that ``type:`` takes without a module path."""
    # Looked up by name, like the platforms themselves: they know this module, not it them.
    built_in = importlib.import_module(f"{__package__}.channels")
    installed = {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    return sorted(installed | {module.name for module in pkgutil.iter_modules(built_in.__path__)})


def nearest(word: str, known: Mapping[str, object] | list[str]) -> str:
    """`` (did you mean 'x'?)`` for the best guess, else the list of what there is."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(sorted(known))})"


def _no_such_type(type_name: str) -> str:
    return f"no channel type {type_name!r}{nearest(type_name, known_types())}"


def _imported(spec: str) -> ChannelClass:
    module_name, _, attribute = spec.rpartition(":" if ":" in spec else ".")
    try:
        found: ChannelClass = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"channel type {spec!r} cannot be imported: {reason}") from None
    if not hasattr(found, "Settings") or not hasattr(found, "from_settings"):
        raise ConfigError(f"channel type {spec!r} is no channel: it has no Settings or no from_settings")
    return found
