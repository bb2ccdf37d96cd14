"""
Readers of text: what a person means by it, in the form that Rasa's interpreters have.

Only structured text is understood here, such as the payload of a button. Whoever wants more brings
an object with the one method of `Interpreter`.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol, TypedDict

from .errors import MalformedWebhook
from .model import JSON, read_json

PREFIXES = ("/", "_")
_BARE_NAME = re.compile(r"[^\W\d][\w.-]*")
_CONFIDENCE = re.compile(r"\d+(?:\.\d*)?|\.\d+")


class IntentGuess(TypedDict):
    """An intent and how sure its reader is, from 0 to 1; `name` is None where there is none."""

    name: str | None
    confidence: float


class EntityFound(TypedDict):
    """A value that the text names, and where: ``text[start:end]``."""

    entity: str
    start: int
    end: int
    value: JSON


class Parsed(TypedDict):
    """What an interpreter makes of a text."""

    text: str
    intent: IntentGuess
    intent_ranking: list[IntentGuess]
    entities: list[EntityFound]


class Interpreter(Protocol):
    """Anything that reads an intent and entities out of a text."""

    def parse(self, text: str) -> Parsed:
        """What `text` means."""


class RegexInterpreter:
    """Reads the three generations of Rasa's structured text; everything else has no intent.

    ``_intent[name=value,name=value]`` (the intent in lower case; what follows the last ``]`` does not
    count), ``/intent{"name": "value"}`` and ``/intent@0.8{"name": "value"}`` with a confidence. Both
    prefixes go with both ways to write entities. In a JSON object a list stands for several entities.
    Broken JSON leaves the intent and no entities.

    Without a prefix a text counts only if it is nothing but a name and a JSON object,
    ``intent{"name": "value"}``, so that no sentence of a person is ever an intent: ``hello`` has the
    intent None with confidence 0.0.

    An entity of the bracket form stands where its value stands; one of a JSON object where the whole
    object stands, as in Rasa.
    """

    def parse(self, text: str) -> Parsed:
        """What `text` means; no text makes it raise, and it takes a time linear in the length."""
        reading = _read(text)
        guess = IntentGuess(name=reading.name, confidence=reading.confidence)
        return Parsed(text=text, intent=guess, intent_ranking=[guess], entities=reading.entities)


def looks_structured(text: str) -> bool:
    """Whether an interpreter may take `text` for an intent, so that it must not come from anybody.

    True for whatever begins with ``/`` or ``_`` (white space aside), also where `RegexInterpreter`
    finds nothing in it: other interpreters are laxer.
    """
    return text.lstrip().startswith(PREFIXES) or _read(text).name is not None


class _Reading(NamedTuple):
    name: str | None
    confidence: float
    entities: list[EntityFound]


_NOTHING = _Reading(None, 0.0, [])


def _read(text: str) -> _Reading:
    start = len(text) - len(text.lstrip())
    prefixed = text.startswith(PREFIXES, start)
    opening = _first_of(text, "[{" if prefixed else "{", start)
    name, confidence = _head(text[start + prefixed : opening])
    if not prefixed:
        return _read_bare(text, opening, name, confidence)
    if not name:
        return _NOTHING
    entities = _from_brackets if text.startswith("[", opening) else _from_json
    found = entities(text, opening) or []
    return _Reading(name.lower() if text[start] == "_" else name, confidence, found)


def _read_bare(text: str, opening: int, name: str, confidence: float) -> _Reading:
    if opening == len(text) or not _BARE_NAME.fullmatch(name):
        return _NOTHING
    entities = _from_json(text, opening)
    return _NOTHING if entities is None else _Reading(name, confidence, entities)


def _first_of(text: str, marks: str, start: int) -> int:
    places = (text.find(mark, start) for mark in marks)
    return min((place for place in places if place >= 0), default=len(text))


def _head(head: str) -> tuple[str, float]:
    """The name of the intent, and the confidence behind ``@``, 1.0 without a readable one."""
    name, _, number = head.partition("@")
    # Only the first characters: a number of 100,000 digits is no confidence.
    number = number.strip()[:20]
    confidence = min(1.0, float(number)) if _CONFIDENCE.fullmatch(number) else 1.0
    return name.strip(), confidence


def _from_brackets(text: str, opening: int) -> list[EntityFound]:
    closing = text.rfind("]")
    found: list[EntityFound] = []
    at = opening + 1
    for pair in text[at : max(closing, at)].split(","):
        name, _, value = pair.partition("=")
        if name.strip() and value.strip():
            start = at + len(name) + 1 + len(value) - len(value.lstrip())
            value = value.strip()
            entity = EntityFound(entity=name.strip(), start=start, end=start + len(value), value=value)
            found.append(entity)
        at += len(pair) + 1
    return found


def _from_json(text: str, opening: int) -> list[EntityFound] | None:
    """The entities of the object that the text ends with; None if that is no JSON object."""
    try:
        values = read_json(text[opening:].encode("utf-8", "surrogatepass"))
    except MalformedWebhook:
        return None
    if not isinstance(values, dict):
        return None
    end = len(text.rstrip())
    return [
        EntityFound(entity=name.strip(), start=opening, end=end, value=value)
        for name, listed in values.items()
        for value in (listed if isinstance(listed, list) else [listed])
    ]
