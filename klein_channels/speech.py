"""What an agent says in one turn, on its way to the outbox: read, fitted, numbered, committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from twisted.internet.defer import Deferred

from .channel import Channel
from .errors import KleinChannelsError
from .fit import fit
from .interpreter import looks_structured
from .model import (
    AnyControl,
    AnyEvent,
    AnyPart,
    Buttons,
    Carousel,
    Delta,
    EndConversation,
    Handoff,
    Message,
    Owner,
    QuickReplies,
    Remember,
    Text,
    Turn,
)
from .replies import read_reply
from .store import EndOfTurn, Reply, StartedTurn, Store

APOLOGY_ORDINAL = 1_000_000
"""Far behind anything an agent says, so that an apology never takes the place of a reply."""


class TurnLost(KleinChannelsError):
    """The turn is no longer this process's; nothing more of it may be said."""


class Speech:
    """Turns replies into rows, and obeys controls.

    `committed(key)` is called when rows are durable, `show_typing(on)` when the agent asks for it.
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
        self._deltas: list[str] = []
        self._remember: bytes | None = None
        self._owner: Owner | None = None
        self.has_spoken = False

    @classmethod
    def apology(
        cls, store: Store, channel: Channel, started: StartedTurn, now: Callable[[], float]
    ) -> Speech:
        """The words after everything else failed."""
        speech = cls(store, channel, started, now)
        speech._ordinal = APOLOGY_ORDINAL
        return speech

    def say(self, answer: object) -> Deferred[None]:
        """Commit what an agent says while its turn goes on; fails with `TurnLost` if it has ended."""
        return Deferred.fromCoroutine(self._say(answer))

    async def _say(self, answer: object) -> None:
        messages = self._heard(answer)
        rows = tuple(row for message in messages for row in self.rows(message))
        if not rows:
            return
        turn = self._started.turn
        if not await self._store.add_replies(turn, rows, _offers(messages), self._now()):
            raise TurnLost(f"turn {turn.id} has ended")
        self.has_spoken = True
        self._committed(turn.conversation)

    def end(self, answer: object) -> EndOfTurn:
        """The end of the turn, with its last words."""
        messages = [*self._heard(answer), *self._rest()]
        return EndOfTurn(
            state="done",
            replies=tuple(row for message in messages for row in self.rows(message)),
            offers=_offers(messages),
            remember=self._remember,
            owner=self._owner,
        )

    def rows(self, message: Message) -> tuple[Reply, ...]:
        """The rows of one message: one for each thing that its platform shows."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        started = self._started
        return tuple(
            Reply(
                address=started.address,
                message=msgspec.structs.replace(message, parts=(part,)),
                attempt=self._attempt,
                ordinal=ordinal,
                part=number,
                cause=started.turn.event.id,
            )
            for number, part in enumerate(fit(message, self._channel.capabilities))
        )

    def _heard(self, answer: object) -> list[Message]:
        """The messages in an answer; its controls are obeyed."""
        messages: list[Message] = []
        for item in read_reply(answer):
            if isinstance(item, Message):
                # Nothing that the bot says after it has handed over is sent.
                messages += [*self._rest(), item] if self._owner is None else []
            else:
                self._obey(item)
        return messages

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
        return [Message(parts=(Text(text=text, format="markdown"),))] if text.strip() else []


def structured_by_offer(started: StartedTurn, channel: Channel, event: AnyEvent) -> Turn:
    """The turn as the agent gets it, with the verdict on its structured text.

    A chosen payload counts where the platform vouches for it, typed text where the channel allows
    it; both count where this conversation was offered exactly that.
    """
    if event.payload is not None:
        structured = channel.capabilities.signed_payloads or event.payload in started.offers
    else:
        structured = channel.options.allow_structured_text or event.text.strip() in started.offers
    events = (*started.turn.events[:-1], event)
    return msgspec.structs.replace(started.turn, events=events, structured=structured)


def _offers(messages: Iterable[Message]) -> tuple[str, ...]:
    payloads = (payload for message in messages for part in message.parts for payload in _payloads(part))
    return tuple(dict.fromkeys(payload for payload in payloads if payload and looks_structured(payload)))


def _payloads(part: AnyPart) -> Iterable[str | None]:
    if isinstance(part, Buttons):
        return [button.payload for button in part.buttons]
    if isinstance(part, QuickReplies):
        return [reply.payload for reply in part.replies]
    if isinstance(part, Carousel):
        return [button.payload for card in part.cards for button in card.buttons]
    return ()
