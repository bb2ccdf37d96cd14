"""
The TwiML that connects a call to our socket, and what becomes of the call when its session has ended.

Twilio, "TwiML Voice: <ConversationRelay>" and "<Connect>" (read November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

import msgspec

from ..credentials import Credentials
from ..errors import MalformedWebhook
from ..model import JSON, read_json
from .position import Position
from .twiml import element

MOST_SESSIONS = 20
"""How often one call is connected: who comes back without end is hung up on."""
_ATTRIBUTE = re.compile(r"[a-z][A-Za-z]{0,60}")
_OURS = frozenset({"url", "welcomeGreeting", "welcomeGreetingInterruptible", "language", "voice"})


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are connected; names are those of ``<ConversationRelay>``."""

    language: str | None = None
    voice: str | None = None
    welcome_greeting: str = ""
    welcome_greeting_interruptible: str | None = None
    interruptible: str | None = None
    dtmf_detection: bool = True
    attributes: Mapping[str, str] = {}
    """All others, in Twilio's own spelling."""
    languages: Mapping[str, Mapping[str, str]] = {}
    parameters: Mapping[str, str] = {}
    action_url: str | None = None


def check_relay(credentials: Credentials, relay: Relay) -> None:
    """Refuse what is no attribute; raises `ConfigError`."""
    for key in ("welcome_greeting_interruptible", "interruptible"):
        if getattr(relay, key) not in (None, "none", "dtmf", "speech", "any"):
            raise credentials.problem(key, "must be none, dtmf, speech or any")
    for name in relay.attributes:
        if not _ATTRIBUTE.fullmatch(name) or name in _OURS:
            raise credentials.problem("attributes", f"has no place for {name!r}")
    for code, own in relay.languages.items():
        if not all(_ATTRIBUTE.fullmatch(name) for name in own):
            raise credentials.problem("languages", f"{code}: names are Twilio's, like ttsProvider")


def connect(relay: Relay, position: Position, socket_url: str, *, greeting: str | None = None) -> Element:
    """The verb that connects the call to `socket_url`; who comes back there is greeted with `greeting`."""
    first = position.turn is None
    greeting = (relay.welcome_greeting if first else "") if greeting is None else greeting
    made = element("Connect", action=relay.action_url or position.next_turn())
    noun = element(
        "ConversationRelay",
        url=socket_url,
        welcomeGreeting=greeting or None,
        welcomeGreetingInterruptible=relay.welcome_greeting_interruptible if greeting else None,
        language=position.language or relay.language,
        voice=position.voice or relay.voice,
        interruptible=relay.interruptible,
        dtmfDetection=relay.dtmf_detection,
        **relay.attributes,
    )
    for code, own in relay.languages.items():
        noun.append(element("Language", code=code, **own))
    for name, value in relay.parameters.items():
        noun.append(element("Parameter", name=name, value=value))
    made.append(noun)
    return made


def handoff_of(fields: Mapping[str, str]) -> dict[str, JSON]:
    """What our last frame said about the rest of the call."""
    try:
        json = read_json(fields.get("HandoffData", "").encode())
    except MalformedWebhook:
        return {}
    return json if isinstance(json, dict) else {}
