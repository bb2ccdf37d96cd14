"""
Where everything that waits is kept.

One protocol, `Store`, for every engine. Each method is one durable transaction (several callers may
share its commit); its Deferred fires after the commit, or fails with `StoreError` and then nothing
was changed. Times are passed in, so that a test's clock is the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from ..errors import ConfigError
from ..model import (
    JSON,
    Address,
    AnyEvent,
    Context,
    Message,
    Owner,
    Sender,
    Turn,
    Value,
)
from .database import Database
from .purging import NO_OTHERS, Cutoffs

T = TypeVar("T")
STORE_RETRY = 1.0
"""Seconds between two attempts to write down what is known nowhere else, while the store is away."""


DoubleTexting: TypeAlias = Literal["enqueue", "merge", "interrupt", "reject"]
REJECTED = -1
"""In place of a number: the event is stored, and no turn will take it."""


class Queueing(Value, frozen=True, kw_only=True):
    """How the events of a conversation wait for each other; the same for a whole channel."""

    double_texting: DoubleTexting = "enqueue"
    most: int = 0
    """Events that may wait in a conversation; 0 for any number. More are rejected."""
    busy: tuple[Message, ...] = ()
    """What a person reads whose event is rejected, once while that lasts; each is one visible send."""

    window: float = 0.0
    """Seconds for which a message waits for others that join it, where they are merged,"""
    longest: float = 0.0
    """and for which the first of them may be kept waiting so."""
    together: int = 1
    """Messages of one person that may become one turn."""
    grouped: int = 1
    """Messages of one group, such as an album, that become one turn whatever else comes."""


IN_ORDER = Queueing()


class Arrival(Value, frozen=True, kw_only=True):
    """An event on its way in, with what `intake` decided about it."""

    event: AnyEvent
    conversation: str
    dedupe: bytes
    turn: bool
    """Whether an agent answers it."""
    by_person: bool
    """Whether it counts as the last thing a person did here."""
    owner: Owner | None = None
    """The owner that it sets."""
    owner_until: float | None = None
    """When the bot owns the conversation again, where nobody needs to say so."""
    implied: bool = False
    """Whether the owner is only a conclusion: what an operator has paused stays paused."""
    settles: int | None = None
    """The outbox row that it proves to have been shown, or to have failed."""
    failure: str | None = None
    """Why that one failed after the platform had taken it."""
    mid: str | None = None
    exchange: Literal["none", "open", "only"] = "none"
    """Whether its webhook waits for the replies; ``only`` where they have no other way."""
    due_at: float | None = None
    """When its turn may start; None for at once."""
    queueing: Queueing = IN_ORDER
    begins: bool = False
    """Whether its turn would begin at once: then it is started with the commit, if nothing goes before it."""


class Cursor(Value, frozen=True, kw_only=True):
    """How far a poll has read: the platform's own JSON, under the name of the poll."""

    name: str
    value: bytes


class Exchange(Value, frozen=True, kw_only=True):
    """A webhook whose answer carries replies; `response` is JSON, once there is one."""

    state: Literal["open", "ready", "answered", "closed"]
    response: bytes | None = None
    carried: tuple[int, ...] = ()
    """The rows that the response carries, for the caller who had it made and nobody else."""


class NotNow(Value, frozen=True, kw_only=True):
    """There is work in this conversation, but it waits; the store's `due` tells when."""

    until: float | None = None
    """When its time comes, where only that is waited for."""


class Acquaintance(Value, frozen=True, kw_only=True):
    """What a platform told about somebody, and until when that is believed."""

    person: Sender
    until: float


class StartedTurn(Value, frozen=True, kw_only=True):
    """A turn that was started for the caller, and the structured payloads offered here before."""

    turn: Turn
    address: Address
    failures: int = 0
    first_failure: float | None = None
    offers: frozenset[str] = frozenset()
    people: tuple[Acquaintance, ...] = ()
    """Who was asked for here before."""
    context: Context = Context()
    more: bool = False
    """Whether other events may wait behind it."""
    released: tuple[str, ...] = ()
    """The ids of events whose webhooks wait for no reply any more: another event of this turn has it."""


class Reply(Value, frozen=True, kw_only=True):
    """One row for the outbox: a message with exactly one visible part."""

    address: Address
    message: Message
    attempt: int = 1
    """The attempt of its turn; 0 for a deterministic agent, whose attempts continue each other."""
    ordinal: int = 0
    part: int = 0
    cause: str | None = None
    by_answer: bool = False
    """Whether it travels in the answer to the webhook of its cause, while one waits."""
    takes_stream: bool = False
    """Whether it takes the place of what grew in its turn, if anything did."""
    stream: str | None = None
    """What the platform will call what grows, where that is known before it is shown."""


class Claim(Value, frozen=True, kw_only=True):
    """A row of the outbox that the caller, and nobody else, sends now."""

    row: int
    id: str
    conversation: str
    address: Address
    message: Message
    cause: str | None
    context: Context
    tries: int
    """How often it was tried, this time included."""
    first_at: float
    repeated: bool = False
    replaces: str | None = None
    """What the platform calls that of it which is seen already."""
    unsure: bool = False
    """Whether the outcome of the try before is unknown."""


class Settlement(Value, frozen=True, kw_only=True):
    """What became of a claim; `due_at` for the states that wait."""

    state: Literal["sent", "waiting", "unknown", "held", "expired", "dead"]
    due_at: float = 0.0
    mids: tuple[str, ...] = ()
    error: str | None = None
    anew: bool = False
    """Whether what is seen of it cannot be changed any more: it is sent anew, and marked."""
    unsent: bool = False
    """Whether nothing was sent after all: this try does not count."""


class EndOfTurn(Value, frozen=True, kw_only=True):
    """How a turn ends, with its last replies, in one transaction.

    ``done`` is the ordinary end, ``retry`` starts again at `due_at`, ``dead`` is a dead letter.
    `state` is what the agent wants to remember, as JSON text; None changes nothing.
    """

    state: Literal["done", "retry", "dead"]
    replies: tuple[Reply, ...] = ()
    offers: tuple[str, ...] = ()
    remember: bytes | None = None
    owner: Owner | None = None
    owner_until: float | None = None
    due_at: float | None = None
    error: str | None = None
    answers: str | None = None
    """The id of the event whose webhook waits for the replies, where the channel answers so."""
    streamed: bool = False
    """Whether something of it was shown as it grew."""
    claims: bool = False
    """Whether the caller sends the first reply at once, if nothing goes before it there."""
    failed: bool = False
    """Whether this attempt counts as a failure (a stop of the server, an absent agent do not)."""
    first_failure: float | None = None
    """When the trouble with this turn began; None keeps what is known, or is the time of a failure."""


class Ended(Value, frozen=True, kw_only=True):
    """A turn that has ended, and its first reply if that was claimed for the caller."""

    claim: Claim | None = None


class DeadLetter(Value, frozen=True, kw_only=True):
    """Something that was given up: a turn (``turn-7``) or a reply (``reply-9``)."""

    id: str
    kind: Literal["turn", "reply"]
    conversation: str
    at: float
    reason: str
    content: JSON
    """The events of a turn, the message of a reply, as JSON."""


class Due(Value, frozen=True, kw_only=True):
    """Conversations with something whose time has come."""

    turns: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    """Webhooks of ours whose replies are there: the conversation, and the id of the event."""
    owners: bool = False
    """Whether there are owners whose time is over."""


class Conversation(Value, frozen=True, kw_only=True):
    """A conversation and who answers it: until a time (then the bot does), or for good if None."""

    key: str
    owner: Owner
    until: float | None = None
    last_at: float | None = None
    """When a person was last there."""


class Stats(Value, frozen=True, kw_only=True):
    """How much waits: events, open replies, dead letters; `oldest` is a time or None."""

    waiting_events: int
    open_replies: int
    dead_letters: int
    oldest: float | None


class Store(Protocol):
    """What every engine does."""

    server: int
    """Who we are among the servers of one database; 0 where there is but one."""
    instance: str
    """Random, made with the store: begins the id of every send, so that echoes of ours are known."""

    def open(self, now: float) -> None:
        """Connect and bring the schema up to date; raise `StartError`.

        What a dead process had begun is taken over: its sends become ``unknown``.
        """

    def close(self) -> Deferred[None]:
        """Finish what was asked and let go."""

    def enqueue(
        self, arrivals: Sequence[Arrival], now: float, cursor: Cursor | None = None
    ) -> Deferred[list[int | None]]:
        """Store events; their numbers in the order of acceptance, None for a duplicate, or `REJECTED`.

        `cursor` is moved with the last of them: what was polled is never asked for again unstored.
        """

    def cursor(self, name: str) -> Deferred[Cursor | None]:
        """How far the poll of that name has read."""

    def start_turn(
        self, conversation: str, now: float, *, deterministic: bool, queueing: Queueing = IN_ORDER
    ) -> Deferred[StartedTurn | NotNow | None]:
        """Start, or start again, the next turn of a conversation; None when nothing waits there.

        A turn that is started again withdraws its unclaimed replies, unless it is deterministic. So does
        one that goes on and is interrupted: the new one takes its place in the same transaction.
        """

    def interrupting(self, turn: Turn) -> Deferred[float | None]:
        """When an event that waits puts an end to `turn`: 0 for at once, None if there is none."""

    def add_replies(
        self, turn: Turn, replies: Sequence[Reply], offers: Sequence[str], now: float
    ) -> Deferred[bool]:
        """Commit replies while their turn goes on; False if the turn is no longer the caller's."""

    def open_stream(self, turn: Turn, reply: Reply, now: float) -> Deferred[Claim | NotNow]:
        """A row for a text that is shown as it grows; `NotNow` while earlier replies are unsettled.

        What grew in an earlier attempt of the turn goes on growing.
        """

    def note_stream(self, claim: Claim, name: str | None) -> Deferred[None]:
        """Note what the platform calls what it shows; without a name, that it shows nothing."""

    def end_turn(self, turn: Turn, end: EndOfTurn, now: float) -> Deferred[Ended | None]:
        """End a turn; None if it is no longer the caller's."""

    def post(
        self, conversation: str, replies: Sequence[Reply], key: str | None, now: float
    ) -> Deferred[bool]:
        """Commit a message that nobody asked for; False if one with the same `key` was there."""

    def answer_exchange(
        self,
        conversation: str,
        event: str,
        render: Callable[[tuple[Claim, ...]], tuple[bytes, int]],
        now: float,
    ) -> Deferred[Exchange | None]:
        """Make one response of the replies to `event` if its turn has ended, and keep it.

        `render` is pure; what it does not carry goes the channel's other way.
        """

    def close_exchange(self, conversation: str, event: str, now: float) -> Deferred[None]:
        """Nobody waits any more: let the replies go the channel's other way, if it has one."""

    def recall_answer(
        self, conversation: str, event: str, carried: Sequence[int], now: float
    ) -> Deferred[None]:
        """Nobody got the answer with the rows `carried`: let them go the channel's other way.

        Where there is none, the answer stays, to be fetched.
        """

    def claim_reply(self, conversation: str, now: float) -> Deferred[Claim | NotNow | None]:
        """Claim the oldest unsent reply of a conversation; the claim checks its owner."""

    def settle_reply(
        self, claim: Claim, settlement: Settlement, now: float, *, claim_next: bool
    ) -> Deferred[Claim | NotNow | None]:
        """Record what became of a claim and, if asked to, claim the next one."""

    def hasten(self, conversation: str, now: float) -> Deferred[None]:
        """Let the open replies of a conversation be tried now: what they waited for is there."""

    def set_owner(
        self, conversation: str, owner: Owner, now: float, *, until: float | None = None
    ) -> Deferred[None]:
        """Give a conversation to the bot, a human or nobody; `until` a time, or for good.

        What waits there when a human takes it is withheld for good.
        """

    def rest(self, conversation: str, now: float, until: float) -> Deferred[bool]:
        """Pause a conversation of the bot's until a time; False if it is somebody else's."""

    def note_person(self, conversation: str, learnt: Acquaintance) -> Deferred[None]:
        """Remember somebody with a conversation that is there."""

    def return_owners(self, now: float, limit: int) -> Deferred[Due]:
        """Give the bot back what was somebody's for a time that is over; who may go on."""

    def conversations(
        self, owners: Sequence[Owner], after: str | None, limit: int, now: float
    ) -> Deferred[list[Conversation]]:
        """Conversations by their keys, behind `after`: all, or those of one of `owners`."""

    def waiting(self) -> Deferred[Due]:
        """All conversations with anything open, oldest first; asked once, at the start."""

    def due(self, now: float, limit: int) -> Deferred[Due]:
        """Conversations with a retry, a replay or a reply whose time has come."""

    def replies_due(self, prefix: str, after: str, now: float, limit: int) -> Deferred[tuple[str, ...]]:
        """Conversations with a reply whose time has come, in the order of their keys.

        Those that begin with `prefix` (an account) and come behind `after`.
        """

    def dead_letters(self, after: str | None, limit: int) -> Deferred[list[DeadLetter]]:
        """Dead letters, oldest first, behind the one named `after`."""

    def dead_letter(self, letter_id: str) -> Deferred[DeadLetter | None]:
        """One dead letter."""

    def redrive(self, letter_id: str, action: Literal["replay", "discard"], now: float) -> Deferred[bool]:
        """Try a dead letter again under its old id, or put it away; False if there is none."""

    def look(self, work: Callable[[Database], T]) -> Deferred[T]:
        """What `work` finds in the tables, over the connection for reading: an operator's question."""

    def operate(self, work: Callable[[Database], T], *conversations: str) -> Deferred[T]:
        """Do `work`, which changes nothing but `conversations`, in one durable transaction: an order."""

    def stats(self) -> Deferred[Stats]:
        """How much waits."""

    def close_abandoned(self, now: float, expired_before: float) -> Deferred[int]:
        """Let replies expire that travel in answers only and were not fetched; how many exchanges."""

    def keep_alive(self, now: float) -> Deferred[None]:
        """Renew our lease, and make what dead servers had begun nobody's; asked again and again."""

    def is_alive(self) -> bool:
        """Whether our lease holds. If not, others may go on with what we began: nothing more is shown."""

    def listen(self, heard: Callable[[Due], None]) -> None:
        """Have `heard` called with what other servers hint at; polling finds the same, later."""

    def may_poll(self, name: str) -> Deferred[bool]:
        """Whether the poll of that name is ours; of all servers, one has it."""

    def hold_socket(self, conversation: str) -> Deferred[None]:
        """The other end of this conversation is connected to us: as long as we live, we send there."""

    def drop_socket(self, conversation: str) -> Deferred[None]:
        """It is not connected to us any more: any server sends there."""

    def purge(self, seen_before: float, finished_before: float, own: Cutoffs = NO_OTHERS) -> Deferred[int]:
        """Delete one chunk of what is over; 0 means that all of it is gone.

        `own` has the times of tables with a retention of their own.
        """


def open_url(url: str) -> tuple[Literal["sqlite", "memory", "postgres"], str]:
    """The engine, and the path or address, that a store URL names; raise `ConfigError` for any other."""
    if url == "memory:":
        return "memory", ""
    scheme, colon, _ = url.partition(":")
    _, found, path = url.partition(":///")
    if scheme == "sqlite" and found and path:
        return "sqlite", path
    if scheme in ("postgresql", "postgres") and url.startswith(f"{scheme}://"):
        return "postgres", url
    # What stands behind the scheme may hold a password.
    shown = f"{scheme}:…" if colon and scheme != "sqlite" else url
    raise ConfigError(
        f"store: {shown!r} is no store; use sqlite:///PATH (four slashes for /PATH),"
        " postgresql://HOST/DATABASE or memory:"
    )
