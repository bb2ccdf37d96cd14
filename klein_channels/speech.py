"""What an agent says in one turn, on its way to the outbox: read, fitted, numbered, committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import msgspec
from twisted.internet.defer import Deferred

from .channel import Answers, Channel, ShowsControls, able, owner_until
from .errors import KleinChannelsError
from .fit import fit
from .interpreter import looks_structured
from .live import Growing
from .markdown import end_of_settled
from .model import (
    AnyControl,
    AnyEvent,
    AnyPart,
    Buttons,
    Carousel,
    Delta,
    EndConversation,
    Handoff,
    ListMenu,
    Message,
    Owner,
    QuickReplies,
    Remember,
    Text,
    Turn,
    merged,
)
from .replies import read_reply
from .store import Claim, EndOfTurn, NotNow, Reply, StartedTurn, Store
from .text import clean

APOLOGY_ORDINAL = 1_000_000
"""Far behind anything an agent says, so that an apology never takes the place of a reply."""

PARAGRAPHS_FROM = 400
"""Characters of whole paragraphs that are worth a message of their own."""


class TurnLost(KleinChannelsError):
    """The turn is no longer this process's; nothing more of it may be said."""


class Speech:
    """Turns replies into rows, and obeys controls.

    `committed(key)` is called when rows are durable, `show_typing(on)` when the agent asks for it.
    A text that comes in pieces is shown as it grows where `grow` makes that possible, under the name
    `stream` where that is known before; elsewhere its paragraphs are said one by one.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        started: StartedTurn,
        now: Callable[[], float],
        *,
        committed: Callable[[str], None] = lambda key: None,
        show_typing: Callable[[bool], None] = lambda on: None,
        grow: Callable[[Claim], Growing] | None = None,
        stream: str | None = None,
        deterministic: bool = False,
    ) -> None:
        self._store = store
        self._channel = channel
        self._started = started
        self._now = now
        self._committed = committed
        self._show_typing = show_typing
        self._attempt = 0 if deterministic else started.turn.attempt
        self._ordinal = 0
        self._grow = grow
        self._growing: Growing | None = None
        self._stream = stream
        self._takes_stream = started.turn.attempt > 1
        self._streamed = False
        self._by_answer = able(channel, Answers)
        self._deltas: list[str] = []
        self._looked_until = -1
        self._remember: bytes | None = None
        self._owner: Owner | None = None
        self.has_ended = False
        self.is_interrupted = False
        self.has_spoken = False

    @classmethod
    def apology(
        cls, store: Store, channel: Channel, started: StartedTurn, now: Callable[[], float]
    ) -> Speech:
        """The words after everything else failed."""
        speech = cls(store, channel, started, now)
        speech._ordinal = APOLOGY_ORDINAL
        speech._takes_stream = True
        return speech

    def say(self, answer: object) -> Deferred[None]:
        """Commit what an agent says while its turn goes on; fails with `TurnLost` if it has ended."""
        return Deferred.fromCoroutine(self._say(answer))

    async def _say(self, answer: object) -> None:
        if self.is_interrupted:
            raise TurnLost(f"turn {self._started.turn.id} was interrupted")
        messages = [*self._heard(answer), *self._paragraphs()]
        if messages:
            await self._commit(messages)
        elif self._deltas:
            await self._show_growth()

    async def _commit(self, messages: list[Message]) -> None:
        turn = self._started.turn
        await self._stop_growing()
        rows = tuple(row for message in messages for row in self.rows(message))
        if not rows:
            return
        if not await self._store.add_replies(turn, rows, _offers(messages), self._now()):
            raise TurnLost(f"turn {turn.id} has ended")
        self.has_spoken = True
        self._committed(turn.conversation)

    async def end(self, answer: object) -> EndOfTurn:
        """The end of the turn, with its last words; nothing interrupts it from here on."""
        self.has_ended = True
        messages = [*self._heard(answer), *self._rest()]
        await self._stop_growing()
        return EndOfTurn(
            state="done",
            replies=tuple(row for message in messages for row in self.rows(message)),
            offers=_offers(messages),
            remember=self._remember,
            owner=self._owner,
            owner_until=owner_until(self._channel.options, self._now()) if self._owner else None,
            streamed=self._streamed,
        )

    def cut_off(self, heard: str) -> EndOfTurn:
        """The end of a turn into which a person broke; of what grew, what they heard is what was said."""
        message = Message(parts=(Text(text=clean(heard)),))
        replies = self.rows(message) if self._streamed and self._takes_stream and heard.strip() else ()
        return EndOfTurn(
            state="done",
            replies=replies,
            remember=self._remember,
            owner=self._owner,
            # Perhaps it was about to grow: nothing may be left open behind it.
            streamed=True,
        )

    def hush(self) -> None:
        """Show nothing more: the turn did not end well."""
        if self._growing is not None:
            self._growing.stop()

    def interrupt(self) -> None:
        """Take nothing more: another turn is about to take the place of this one."""
        self.is_interrupted = True

    async def break_off(self) -> None:
        """Let what is seen of a text that was growing stay as it is, as a reply like any other."""
        growing, self._growing = self._growing, None
        if growing is None:
            return
        await growing.settled()
        if growing.seen:
            row = self._row(as_message(growing.seen), self._ordinal, 0)
            row = msgspec.structs.replace(row, takes_stream=True)
            if await self._store.add_replies(self._started.turn, (row,), (), self._now()):
                self._committed(self._started.turn.conversation)

    async def _show_growth(self) -> None:
        """Show what there is of a text, if the platform can and earlier replies are out."""
        if self._grow is None or self._owner is not None:
            return
        text = "".join(self._deltas)
        if self._growing is None and text.strip():
            # Pieces are never stored: the row gets its words when they are whole.
            row = msgspec.structs.replace(self._row(as_message(""), self._ordinal, 0), stream=self._stream)
            claim = await self._store.open_stream(self._started.turn, row, self._now())
            if isinstance(claim, NotNow):
                return
            self._growing = self._grow(claim)
            self._takes_stream = self._streamed = self.has_spoken = True
        if self._growing is not None:
            self._growing.feed(text)

    async def _stop_growing(self) -> None:
        if self._growing is not None:
            await self._growing.settled()
            self._growing = None

    def rows(self, message: Message) -> tuple[Reply, ...]:
        """The rows of one message: one for each thing that its platform shows."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        parts = fit(message, self._channel.capabilities)
        rows = [
            self._row(msgspec.structs.replace(message, parts=(part,)), ordinal, number)
            for number, part in enumerate(parts)
        ]
        if rows and self._takes_stream:
            rows[0] = msgspec.structs.replace(rows[0], takes_stream=True)
            self._takes_stream = False
        return tuple(rows)

    def _row(self, message: Message, ordinal: int, part: int) -> Reply:
        started = self._started
        return Reply(
            address=started.address,
            message=message,
            attempt=self._attempt,
            ordinal=ordinal,
            part=part,
            cause=started.turn.event.id,
            by_answer=self._by_answer,
        )

    def _heard(self, answer: object) -> list[Message]:
        """The messages in an answer; its controls are obeyed."""
        messages: list[Message] = []
        for item in read_reply(answer):
            if isinstance(item, Message):
                messages += [*self._rest(), item] if self._owner is None else []
            else:
                messages += self._shown(item)
                self._obey(item)
        return messages

    def _shown(self, control: AnyControl) -> list[Message]:
        """What a platform is told of a control, behind the words that went before it."""
        if self._owner is not None or not able(self._channel, ShowsControls):
            return []
        part = cast("ShowsControls", self._channel).part_for(control)
        return [*self._rest(), Message(parts=(part,))] if part is not None else []

    def _obey(self, control: AnyControl) -> None:
        if isinstance(control, Delta):
            # Nor are pieces of a text that begin after a hand-over.
            self._deltas += [control.text] if self._owner is None else []
        elif isinstance(control, Handoff):
            self._owner = "human"
        elif isinstance(control, Remember):
            self._remember = msgspec.json.encode(control.state)
        elif isinstance(control, EndConversation):
            self._remember = b"null"
        else:
            self._show_typing(control.on)

    def _rest(self) -> list[Message]:
        """A text that came in pieces and is whole now."""
        text, self._deltas = "".join(self._deltas), []
        return [as_message(text)] if text.strip() else []

    def _paragraphs(self) -> list[Message]:
        """What is complete of a text that cannot be seen while it grows."""
        text = "".join(self._deltas)
        blank = text.rfind("\n\n")
        if self._grow is not None or blank < PARAGRAPHS_FROM or blank == self._looked_until:
            return []
        self._looked_until = blank
        border = end_of_settled(text)
        if border < PARAGRAPHS_FROM:
            return []
        self._deltas, self._looked_until = [text[border:]], -1
        return [as_message(text[:border].rstrip())]


def as_message(text: str) -> Message:
    """A text that came in pieces: agents write Markdown."""
    return Message(parts=(Text(text=clean(text), format="markdown"),))


def structured_by_offer(started: StartedTurn, channel: Channel, events: tuple[AnyEvent, ...]) -> Turn:
    """The turn as the agent gets it, of `events` and with the verdict on its structured text.

    A chosen payload counts where the platform vouches for it, typed text where the channel allows
    it; both count where this conversation was offered exactly that.
    """
    event = events[0] if len(events) == 1 else merged(events)
    if event.payload is not None:
        structured = channel.capabilities.signed_payloads or event.payload in started.offers
    else:
        structured = channel.options.allow_structured_text or event.text.strip() in started.offers
    return msgspec.structs.replace(started.turn, events=events, structured=structured)


def _offers(messages: Iterable[Message]) -> tuple[str, ...]:
    payloads = (payload for message in messages for part in message.parts for payload in _payloads(part))
    return tuple(dict.fromkeys(payload for payload in payloads if payload and looks_structured(payload)))


def _payloads(part: AnyPart) -> Iterable[str | None]:
    if isinstance(part, Buttons):
        return [button.payload for button in part.buttons]
    if isinstance(part, QuickReplies):
        return [reply.payload for reply in part.replies]
    if isinstance(part, ListMenu):
        return [row.payload for section in part.sections for row in section.rows]
    if isinstance(part, Carousel):
        return [button.payload for card in part.cards for button in card.buttons]
    return ()
