"""
What a page shows before anybody has said a word: Get Started, the greeting, ice breakers, the menu.

The configuration says it shortly (texts, titles and payloads) or in Meta's own form, with locales.
Limits: Meta, "Messenger Profile API" and "Instagram Messaging: Ice Breakers, Persistent Menu" (read
in 2026).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import ConfigError
from ..model import JSON
from .rules import Fields, Kinds, Several, Shape, Words
from .rules_messenger import URL

DEFAULT_LOCALE = "default"


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under ``profile:``. An absent key leaves things as they are, an empty one ends them."""

    get_started: Any = msgspec.UNSET
    """The payload that the button Get Started sends."""
    greeting: Any = msgspec.UNSET
    """A text, or ``[{locale, text}]``."""
    ice_breakers: Any = msgspec.UNSET
    """``[{question, payload}]``, or ``[{locale, call_to_actions: […]}]``."""
    persistent_menu: Any = msgspec.UNSET
    """``[{title, payload}]`` or with ``url``, or ``[{locale, call_to_actions: […], …}]``."""


_PAYLOAD = Words(1000)
_ITEM = Kinds(
    "type",
    {
        "postback": Fields({"title": Words(30), "payload": _PAYLOAD}),
        "web_url": Fields({"title": Words(30), "url": URL}),
    },
)
_LOCALE = Words()
_RULES: dict[str, Shape] = {
    "get_started": Fields({"payload": _PAYLOAD}),
    "greeting": Several(Fields({"locale": _LOCALE, "text": Words(160)})),
    "ice_breakers": Several(
        Fields(
            {
                "locale": _LOCALE,
                "call_to_actions": Several(Fields({"question": Words(80), "payload": _PAYLOAD}), 4),
            }
        )
    ),
    "persistent_menu": Several(Fields({"locale": _LOCALE, "call_to_actions": Several(_ITEM, 20)})),
}


def wanted_profile(channel: str, profile: Profile | None, known: tuple[str, ...]) -> dict[str, JSON]:
    """What the platform shall show, in its own form; None for what shall be taken away.

    `known` are the keys that the platform has. Raises `ConfigError`.
    """
    given = {} if profile is None else msgspec.structs.asdict(profile)
    wanted = {key: _formed(key, value) for key, value in given.items() if value is not msgspec.UNSET}
    for key, value in wanted.items():
        problem = "this platform has none" if key not in known else None
        if value is not None and problem is None:
            problem = _RULES[key].problem(value, "") or _without_default(value)
        if problem is not None:
            raise ConfigError(f"channel {channel!r}: profile: {key}: {problem}")
    if "get_started" in known and wanted.get("persistent_menu") and wanted.get("get_started", "") is None:
        raise ConfigError(f"channel {channel!r}: profile: persistent_menu: the menu needs get_started")
    return wanted


def _without_default(value: JSON) -> str | None:
    if isinstance(value, list) and all(item["locale"] != DEFAULT_LOCALE for item in value):
        return f"one of its locales must be {DEFAULT_LOCALE!r}"
    return None


def _formed(key: str, value: JSON) -> JSON:
    """The short form of a key as Meta's own."""
    if value in (None, "", [], {}):
        return None
    if key == "get_started":
        return {"payload": value} if isinstance(value, str) else value
    if key == "greeting":
        return [{"locale": DEFAULT_LOCALE, "text": value}] if isinstance(value, str) else value
    if not isinstance(value, list) or any(
        isinstance(item, dict) and "call_to_actions" in item for item in value
    ):
        return value
    actions = [_action(item) for item in value] if key == "persistent_menu" else value
    return [{"locale": DEFAULT_LOCALE, "call_to_actions": actions}]


def _action(item: JSON) -> JSON:
    if not isinstance(item, dict) or "type" in item:
        return item
    return {"type": "web_url" if "url" in item else "postback", **item}


def same(key: str, found: JSON, wanted: JSON) -> bool:
    """Whether the platform shows what it shall, whatever it adds of its own."""
    if key == "ice_breakers":
        found = _formed(key, found)  # the older form has no locales
    return _holds(found, wanted)


def _holds(found: JSON, wanted: JSON) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_holds(found.get(key), item) for key, item in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_holds(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
