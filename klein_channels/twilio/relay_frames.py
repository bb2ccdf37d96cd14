"""
The frames that ConversationRelay takes from us: words, sounds, keys, another language, the end.

Twilio, "ConversationRelay: WebSocket messages" (19 August 2026).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..markdown import render
from ..markdown.spoken import SpokenStream
from ..model import JSON, AnyPart, Audio, Custom, Text
from ..text import split
from .speaking import words_of

TOKEN_CHARACTERS = 1000
"""What one token of a whole text holds."""
MOST_LOOPS = 100
_KEYS = re.compile(r"[0-9A-Da-d*#wW]{1,64}")
_NAME = re.compile(r"[\w.:-]{1,100}")
_NOT_SAID = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")


def text_frame(words: str, *, last: bool, **more: Any) -> str:
    """Words to be said; `last` ends a talk, and the voice begins what it held back."""
    return _frame(type="text", token=_NOT_SAID.sub("", words), last=last, **more)


def end_frame(handoff: JSON) -> str:
    """The end of the session; `handoff` comes back at the action URL."""
    if not handoff:
        return _frame(type="end")
    return _frame(type="end", handoffData=msgspec.json.encode(handoff).decode())


def frames_of(part: AnyPart) -> tuple[list[str], str]:
    """The frames that say a whole part, and the words among them."""
    if isinstance(part, Custom):
        return _own(part.json if isinstance(part.json, dict) else {})
    if isinstance(part, Audio):
        return [_frame(type="play", source=part.url)], ""
    words = SpokenStream.of(part.text) if isinstance(part, Text) else _spoken("\n".join(words_of(part)))
    return list(_talk(words)), words


def _spoken(text: str) -> str:
    return render(text, "speech", "markdown").text


def _talk(words: str, **more: Any) -> Iterator[str]:
    pieces = [piece for piece in split(words, TOKEN_CHARACTERS, "characters") if piece.strip()]
    for number, piece in enumerate(pieces, 1):
        yield text_frame(piece, last=number == len(pieces), **more)


def _own(json: dict[str, JSON]) -> tuple[list[str], str]:
    """A custom part: another language first, then words, then a sound, then keys."""
    frames: list[str] = []
    language = json.get("language")
    if _is_name(language):
        frames.append(_frame(type="language", ttsLanguage=language, transcriptionLanguage=language))
    else:
        spoken, heard = json.get("tts_language"), json.get("transcription_language")
        known = {"ttsLanguage": spoken, "transcriptionLanguage": heard}
        known = {name: value for name, value in known.items() if _is_name(value)}
        frames += [_frame(type="language", **known)] if known else []
    text = json.get("text")
    words = SpokenStream.of(text) if isinstance(text, str) else ""
    switches = {name: json[name] for name in ("interruptible", "preemptible") if _is_switch(json.get(name))}
    frames += _talk(words, **switches)
    play = json.get("play")
    if isinstance(play, str) and play.startswith(("https://", "http://")):
        loop = json.get("loop")
        times = {"loop": loop} if type(loop) is int and 0 <= loop <= MOST_LOOPS else {}
        frames.append(_frame(type="play", source=play, **times, **switches))
    keys = json.get("send_digits")
    if isinstance(keys, str) and _KEYS.fullmatch(keys):
        frames.append(_frame(type="sendDigits", digits=keys))
    return frames, words


def _is_name(value: JSON) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_switch(value: JSON) -> bool:
    return isinstance(value, bool)


def _frame(**fields: Any) -> str:
    return msgspec.json.encode(fields).decode()
