"""
The talk over one ConversationRelay socket: frames in, frames out, and what of it is whose.

Twilio, "ConversationRelay: WebSocket messages" (19 August 2026), and Telnyx, "ConversationRelay WebSocket
channel" (read November 2026), whose frames are nearly the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ..channel import Fed, Said
from ..errors import MalformedWebhook
from ..json_fields import lenient_identifier, lenient_words
from ..markdown.spoken import SpokenStream
from ..model import (
    JSON,
    Address,
    AnyEvent,
    CallStarted,
    Custom,
    Dtmf,
    Event,
    Interrupted,
    Membership,
    MessageReceived,
    Outgoing,
    PersonEvent,
    Refused,
    Sender,
    Text,
    Unknown,
    Value,
    read_json,
)
from .calls import NOBODY
from .relay_frames import end_frame, frames_of, text_frame

E = TypeVar("E", bound=Event)
NO_CALL = 1008
LETTERS_A_SECOND = 15.0
"""How fast a voice is taken to speak, where the platform does not say when it has ended."""
LONGEST_SPEECH = 60.0
MOST_ODD_FRAMES = 20
"""Frames of one socket that nobody understands, but that are told to observers."""
_KEYS = re.compile(r"[0-9A-Da-d*#]")


class Habits(Value, frozen=True, kw_only=True):
    """How a channel holds its calls; seconds."""

    initial_prompt: str = ""
    greets: bool = False
    """Whether the platform itself says the first words."""
    account_sid: str | None = None
    finish_on_key: str = "#"
    num_digits: int | None = None
    digits_timeout: float = 2.0
    silence_timeout: float = 0.0
    reprompt: str = ""
    max_reprompts: int = 3
    goodbye: str = ""


class RelaySession:
    """One socket of the channel `channel`; `call` is the one that its handshake was proved for, if any."""

    def __init__(self, channel: str, name: str, habits: Habits, call: str | None = None) -> None:
        self._channel = channel
        self._name = name
        self._habits = habits
        self._call = call
        self._frames = 0
        self._odd = 0
        self._address: Address | None = None
        self._sender: Sender | None = None
        self._talk: _Talk | None = None
        self._hushed: set[str] = set()
        self._heard: str | None = None
        self._digits = ""
        self._digits_end: float | None = None
        self._speaks_until = 0.0
        self._silent_at: float | None = None
        self._silences = 0
        self._farewell: JSON = None
        self._ends_at: float | None = None
        self._over = False

    @property
    def address(self) -> Address | None:
        """The call, once the platform has said which."""
        return self._address

    @property
    def wake_at(self) -> float | None:
        """When keys are complete, a silence is long, or a farewell is spoken."""
        times = [at for at in (self._digits_end, self._silent_at, self._ends_at) if at is not None]
        return min(times) if times and not self._over else None

    # In

    def feed(self, frame: str | bytes, now: float) -> Fed:
        """What a frame means; odd ones mean nothing, and the call goes on."""
        self._frames += 1
        try:
            item = read_json(frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame)
        except MalformedWebhook:
            item = None
        if not isinstance(item, dict):
            return self._odd_one("malformed", {"frame": str(frame)[:1000]})
        kind = item.get("type")
        if self._address is None:
            return self._setup(item, now) if kind == "setup" else Fed()
        return Fed() if self._over else self._told(str(kind)[:100], item, now)

    def _told(self, kind: str, item: Mapping[str, JSON], now: float) -> Fed:
        """What a frame means that comes in the midst of a call."""
        match kind:
            case "prompt":
                return self._prompt(item, now)
            case "dtmf":
                return self._dtmf(item, now)
            case "interrupt":
                return self._interrupt(item, now)
            case "error":
                return Fed(events=(self._event(Unknown, item, name="error", observe_only=True),))
            case "info" | "setup":
                return Fed()
        return self._odd_one(kind, item)

    def _setup(self, item: Mapping[str, JSON], now: float) -> Fed:
        call, account = lenient_identifier(item.get("callSid")), lenient_words(item.get("accountSid"))
        wanted = self._habits.account_sid
        if not call or (self._call is not None and call != self._call) or (wanted and account != wanted):
            return Fed(close=NO_CALL)
        ours, theirs = lenient_words(item.get("to")) or "", lenient_words(item.get("from")) or ""
        if (lenient_words(item.get("direction")) or "").lower().startswith("outbound"):
            ours, theirs = theirs, ours
        self._address = Address(channel=self._channel, account=ours, peer=theirs or NOBODY, thread=call)
        self._sender = Sender(id=theirs or NOBODY, name=lenient_words(item.get("callerName")) or None)
        self._listen(now)
        greets, said = self._habits.greets, self._habits.initial_prompt
        events: list[AnyEvent] = [
            self._event(Membership, item, action="joined"),
            # By the call's own id: who comes back on another socket does not begin the call again.
            self._event(CallStarted, item, id=call, observe_only=greets or bool(said)),
        ]
        if said:
            events.append(self._event(MessageReceived, item, id=f"{call}:initial", text=said))
        return Fed(events=tuple(events))

    def _prompt(self, item: Mapping[str, JSON], now: float) -> Fed:
        """What the caller said; words that are still being said count as a sign of life only."""
        self._listen(now)
        words = (lenient_words(item.get("voicePrompt")) or "").strip()
        if not words or item.get("last") is False:
            return Fed()
        self._answered()
        pressed = self._pressed(item)
        sender, language = self._sender or Sender(id=NOBODY), lenient_words(item.get("lang"))
        sender = msgspec.structs.replace(sender, locale=language)
        said = self._event(MessageReceived, item, text=words, sender=sender, heard=self._take_heard())
        return Fed(events=(*pressed, said))

    def _dtmf(self, item: Mapping[str, JSON], now: float) -> Fed:
        self._listen(now)
        digit = lenient_identifier(item.get("digit"))
        if not _KEYS.fullmatch(digit):
            return self._odd_one("dtmf", item)
        self._answered()
        if digit not in self._habits.finish_on_key:
            self._digits += digit
        elif not self._digits:
            return Fed(events=(self._event(Dtmf, item, digits=digit, heard=self._take_heard()),))
        most = self._habits.num_digits or len(self._digits) + 1
        if digit in self._habits.finish_on_key or len(self._digits) >= most:
            return Fed(events=self._pressed(item))
        self._digits_end = now + self._habits.digits_timeout
        return Fed()

    def _interrupt(self, item: Mapping[str, JSON], now: float) -> Fed:
        """Fall silent at once; how much the caller had heard is told with what they say next."""
        self._speaks_until = now
        self._listen(now)
        heard = lenient_words(item.get("utteranceUntilInterrupt")) or ""
        self._heard = heard
        talk, self._talk = self._talk, None
        frames: tuple[str, ...] = ()
        if talk is not None:
            self._hush(talk.cause)
            frames = (text_frame("", last=True),)
        event = self._event(Interrupted, item, heard=heard, after=_seconds(item))
        return Fed(events=(event,), frames=frames, interrupted=True)

    def _pressed(self, item: Mapping[str, JSON]) -> tuple[AnyEvent, ...]:
        digits, self._digits, self._digits_end = self._digits, "", None
        return (self._event(Dtmf, item, digits=digits, heard=self._take_heard()),) if digits else ()

    def _take_heard(self) -> str | None:
        heard, self._heard = self._heard, None
        return heard

    def _odd_one(self, name: str, item: Mapping[str, JSON]) -> Fed:
        self._odd += 1
        if self._address is None or self._odd > MOST_ODD_FRAMES:
            return Fed()
        return Fed(events=(self._event(Unknown, item, name=name, observe_only=True),))

    def _event(self, kind: type[E], item: Mapping[str, JSON], **more: Any) -> E:
        assert self._address is not None, "no event comes before the setup"
        made: dict[str, Any] = {"id": f"{self._name}:{self._frames}", "raw": dict(item), **more}
        if issubclass(kind, PersonEvent):
            made.setdefault("sender", self._sender)
        return kind(address=self._address, **made)

    def ended(self, now: float) -> Fed:
        """The socket is gone; the call perhaps not."""
        self._over = True
        if self._address is None:
            return Fed()
        self._frames += 1
        return Fed(events=(*self._pressed({}), self._event(Membership, {}, action="left")))

    # Time

    def tick(self, now: float) -> Fed:
        """Keys are complete, the caller is silent, or all was said."""
        self._frames += 1
        if self._ends_at is not None and self._ends_at <= now:
            self._over = True
            return Fed(frames=(end_frame(self._farewell),))
        if self._digits_end is not None and self._digits_end <= now:
            return Fed(events=self._pressed({}))
        if self._silent_at is not None and self._silent_at <= now:
            return self._ask_again(now)
        return Fed()

    def _ask_again(self, now: float) -> Fed:
        """Nobody said anything; after too many questions the call ends."""
        self._silences += 1
        told = self._event(Unknown, {"silences": self._silences}, name="silence", observe_only=True)
        if self._silences > self._habits.max_reprompts:
            self._silent_at = None
            self._speak(self._habits.goodbye, now)
            self._end({"reason": "silence", "hangup": True}, now)
            words = self._habits.goodbye
        else:
            words = self._habits.reprompt
            self._speak(words, now)
            self._listen(now)
        return Fed(events=(told,), frames=(text_frame(words, last=True),) if words else ())

    def _listen(self, now: float) -> None:
        """From now on, or from the end of what is being said, silence counts."""
        patience = self._habits.silence_timeout
        self._silent_at = max(now, self._speaks_until) + patience if patience else None

    def _answered(self) -> None:
        """The caller said something: until the agent answers, silence is ours."""
        self._silences = 0
        self._silent_at = None

    # Out

    def render(self, outgoing: Outgoing) -> Said:
        """Say it, or what is new of it."""
        talk, cause = self._talk, outgoing.cause
        if outgoing.replaces not in (None, self._name):
            return Said(outcome=Refused(reason="it was begun on another socket"))
        if cause is not None and cause in self._hushed:
            return self._unheard(outgoing)
        if self._over or self._address is None:
            return Said(outcome=Refused(reason="the call is over", expired=True))
        if talk is not None and talk.id == outgoing.id and isinstance(outgoing.part, Text):
            return self._go_on(talk, outgoing)
        if outgoing.replaces is not None and not outgoing.partial:
            return Said(outcome=Refused(reason="nothing of it was said here"))
        before = self._finish()
        if outgoing.partial and isinstance(outgoing.part, Text):
            self._talk = _Talk(outgoing.id, cause)
            return self._go_on(self._talk, outgoing, before)
        return Said(frames=(*before, *self._whole(outgoing)))

    def _unheard(self, outgoing: Outgoing) -> Said:
        """The caller broke in: what was begun is as said as it will be, all else is not said any more."""
        if outgoing.partial or outgoing.replaces is not None:
            return Said()
        return Said(outcome=Refused(reason="the caller broke in", expired=True))

    def _go_on(self, talk: _Talk, outgoing: Outgoing, before: tuple[str, ...] = ()) -> Said:
        assert isinstance(outgoing.part, Text), "render looked"
        text = outgoing.part.text
        if not text.startswith(talk.raw):
            # Another attempt says something else: what was said stays said.
            closing = self._finish()
            return Said(frames=(*before, *closing, *self._whole(outgoing)))
        words = talk.stream.feed(text[len(talk.raw) :])
        talk.raw = text
        if not outgoing.partial:
            words += talk.stream.end()
            self._talk = None
        self._speak(words, outgoing.now)
        if not outgoing.partial:
            self._listen(outgoing.now)
            return Said(frames=(*before, text_frame(words, last=True)))
        return Said(frames=(*before, text_frame(words, last=False)) if words else before)

    def _finish(self) -> tuple[str, ...]:
        """Close a talk that something else comes behind."""
        talk, self._talk = self._talk, None
        return (text_frame(talk.stream.end(), last=True),) if talk is not None else ()

    def _whole(self, outgoing: Outgoing) -> list[str]:
        part, now = outgoing.part, outgoing.now
        frames, words = frames_of(part)
        self._speak(words, now)
        self._listen(now)
        json = part.json if isinstance(part, Custom) and isinstance(part.json, dict) else {}
        ends = {key: json[key] for key in ("hangup", "transfer", "handoff", "note") if json.get(key)}
        if ends.keys() - {"note"}:
            self._end(ends, now)
        return frames

    def _speak(self, words: str, now: float) -> None:
        """Note how long that takes to say."""
        seconds = min(len(words) / LETTERS_A_SECOND, LONGEST_SPEECH)
        self._speaks_until = max(self._speaks_until, now) + seconds

    def _end(self, farewell: JSON, now: float) -> None:
        """End the session when all is said: what ends at once may cut the last words off."""
        self._farewell = farewell
        self._silent_at = None
        self._ends_at = max(self._speaks_until, now)

    def hush(self, cause: str) -> None:
        """Say nothing more of the answer to that event."""
        if self._talk is not None and self._talk.cause == cause:
            self._talk = None
        self._hush(cause)

    def _hush(self, cause: str | None) -> None:
        if cause is not None:
            self._hushed.add(cause)


class _Talk:
    """A text that is being said."""

    def __init__(self, id: str, cause: str | None) -> None:
        self.id = id
        self.cause = cause
        self.raw = ""
        self.stream = SpokenStream()


def _seconds(item: Mapping[str, JSON]) -> float | None:
    """How long we had spoken; Twilio writes the number as text, or not."""
    value = item.get("durationUntilInterruptMs")
    try:
        milliseconds = float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    if milliseconds is None or not 0 <= milliseconds < 1e9:
        return None
    return milliseconds / 1000
