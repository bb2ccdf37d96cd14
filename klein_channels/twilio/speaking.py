"""
Makes what a caller hears: the verbs of TwiML that say, play and ask, hang up and transfer.

Twilio, "TwiML Voice: <Say>, <Gather>, <Dial>" (read November 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import msgspec

from ..markdown import render
from ..model import (
    JSON,
    AnyPart,
    Audio,
    Buttons,
    Card,
    Carousel,
    Custom,
    File,
    Image,
    Location,
    QuickReplies,
    Text,
    Video,
)
from ..text import split
from .position import Position
from .twiml import MOST_BYTES, allowed, element, size

SAY_BYTES = 1500
"""What one ``<Say>`` holds: the voices take 3,000 characters and more, but 4,500 percent-encoded."""
LONGEST_PAUSE = 30
DIAL_SECONDS = 30


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are held unless a URL or the agent says otherwise; names are those of ``<Gather>``."""

    voice: str | None = None
    language: str | None = None
    input: str = "speech dtmf"
    timeout: int = 5
    speech_timeout: str = "5"
    speech_model: str = "default"
    enhanced: bool = False
    num_digits: int | None = None
    finish_on_key: str = "#"
    hints: str | None = None
    barge_in: bool = True


class Spoken(NamedTuple):
    """What replies come to: verbs, what a last one of them does to the call, how to listen on."""

    verbs: list[Element]
    ending: Element | None
    listening: dict[str, Any]
    language: str | None
    voice: str | None


class Speaker:
    """Speaks at one position of a call."""

    def __init__(self, manner: Manner, position: Position) -> None:
        self._manner = manner
        self._position = position
        self._language = position.language
        self._voice = position.voice

    def replies(self, parts: Iterable[AnyPart]) -> list[Element]:
        """The verbs that say `parts`, and then hang up, transfer, or listen."""
        spoken = self._spoken(parts)
        verbs = within(spoken.verbs)
        if spoken.ending is not None:
            return [*verbs, spoken.ending]
        return [self.listen(verbs, **spoken.listening)]

    def listen(self, verbs: Iterable[Element], *, silent: int = 0, **listening: Any) -> Element:
        """A ``<Gather>`` around `verbs`; silence is told to us as well."""
        manner = msgspec.structs.replace(self._manner, **listening)
        speech = "speech" in manner.input
        following = self._position.next_turn(silent=silent, language=self._language, voice=self._voice)
        gather = element(
            "Gather",
            input=manner.input,
            action=following,
            method="POST",
            actionOnEmptyResult=True,
            timeout=manner.timeout,
            numDigits=manner.num_digits,
            finishOnKey=manner.finish_on_key,
            bargeIn=manner.barge_in,
            language=(self._language or manner.language) if speech else None,
            speechTimeout=manner.speech_timeout if speech else None,
            speechModel=manner.speech_model if speech else None,
            enhanced=True if speech and manner.enhanced else None,
            hints=manner.hints if speech else None,
        )
        gather.extend(verbs)
        return gather

    def say(self, text: str) -> list[Element]:
        """The verbs that say a text; marks, addresses and emoji become words or pauses."""
        words = allowed(render(text, "speech", "markdown").text)
        return [
            element(
                "Say",
                piece,
                voice=self._voice or self._manner.voice,
                language=self._language or self._manner.language,
            )
            for piece in split(words, SAY_BYTES, "bytes")
            if piece.strip()
        ]

    def wait_for(self, event: str, phrase: str) -> list[Element]:
        """The verbs that bridge the time until the replies to `event`."""
        verbs = self.say(phrase) if phrase and self._position.waited == 0 else []
        return [*verbs, element("Redirect", self._position.waiting(event), method="POST")]

    def _spoken(self, parts: Iterable[AnyPart]) -> Spoken:
        verbs: list[Element] = []
        ending: Element | None = None
        listening: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, Custom) and isinstance(part.json, dict):
                self._turn_to(part.json)
                listening.update(_listening(part.json.get("gather")))
                verbs += self._own_verbs(part.json)
                ending = self._ending(part.json)
            elif isinstance(part, Audio):
                verbs.append(element("Play", part.url))
            else:
                verbs += self.say("\n".join(words_of(part)))
            if ending is not None:
                break
        return Spoken(verbs, ending, listening, self._language, self._voice)

    def _turn_to(self, json: dict[str, JSON]) -> None:
        """Speak in another language or voice from here on, to the end of the call."""
        for key in ("language", "voice"):
            value = json.get(key)
            if isinstance(value, str) and 0 < len(value) <= 100:
                setattr(self, f"_{key}", value)

    def _own_verbs(self, json: dict[str, JSON]) -> list[Element]:
        verbs: list[Element] = []
        if isinstance(json.get("text"), str):
            verbs += self.say(json["text"])
        if isinstance(json.get("play"), str):
            verbs.append(element("Play", json["play"]))
        seconds = json.get("pause")
        if isinstance(seconds, int | float) and 0 < seconds <= LONGEST_PAUSE:
            verbs.append(element("Pause", length=max(1, round(seconds))))
        return verbs

    def _ending(self, json: dict[str, JSON]) -> Element | None:
        to = json.get("transfer")
        if isinstance(to, str) and to.strip():
            return self._transfer(to.strip())
        return element("Hangup") if json.get("hangup") is True else None

    def _transfer(self, to: str) -> Element:
        """A ``<Dial>``; when it ends we are told how."""
        kind, _, name = to.partition(":")
        if kind == "queue":
            return element("Enqueue", name)
        following = self._position.next_turn(language=self._language, voice=self._voice)
        dial = element("Dial", action=following, method="POST", timeout=DIAL_SECONDS)
        if kind in ("sip", "sips"):
            dial.append(element("Sip", to))
        elif kind in ("client", "conference"):
            dial.append(element(kind.capitalize(), name))
        else:
            dial.append(element("Number", name if kind == "tel" else to))
        return dial


def within(verbs: Iterable[Element]) -> list[Element]:
    """As many of `verbs`, from the first, as one document holds: nobody listens to the rest."""
    room, held = MOST_BYTES, []
    for verb in verbs:
        room -= size(verb)
        if room < 0:
            break
        held.append(verb)
    return held


def _listening(wishes: JSON) -> dict[str, Any]:
    """How the agent wants to listen once, as far as it can be."""
    if not isinstance(wishes, dict):
        return {}
    try:
        wanted = msgspec.convert(wishes, Manner, strict=False)
    except msgspec.ValidationError:
        return {}
    own = {"voice", "language"}
    return {
        name: getattr(wanted, name) for name in Manner.__struct_fields__ if name in wishes and name not in own
    }


def words_of(part: AnyPart) -> Iterator[str]:
    """What is said of a part that is no sound; an address of a picture is nothing for the ear."""
    match part:
        case Text(text=text):
            yield text
        case Buttons(text=text, buttons=buttons):
            yield from (text, *(f"{n}. {b.title}" for n, b in enumerate(buttons, 1)))
        case QuickReplies(text=text, replies=replies):
            yield from (text, *(f"{n}. {r.title}" for n, r in enumerate(replies, 1) if not r.ask))
        case Carousel(cards=cards):
            for number, card in enumerate(cards, 1):
                yield from _card_words(number, card)
        case Image(alt=name) | File(name=name):
            yield name or ""
        case Location(title=title):
            yield title or ""
        case Video() | Audio() | Custom():
            return


def _card_words(number: int, card: Card) -> Iterator[str]:
    yield f"{number}. {card.title}"
    yield from filter(None, [card.subtitle, *(button.title for button in card.buttons)])
