"""What Slack would send, made up: to try a server without a workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from .words import escape

PERSON, DIRECT, CHANNEL, BOT, APP = "U0000000001", "D0000000001", "C0000000001", "U0000000099", "A0000000001"
_Fields: TypeAlias = dict[str, Any]
_Made: TypeAlias = Callable[[str, str, float, str], _Fields]


def _delivery(team: str, now: float, key: str, event: _Fields) -> _Fields:
    return {
        "type": "event_callback",
        "team_id": team,
        "api_app_id": APP,
        "event_id": f"Ev{int(now * 1000):X}{key.upper()}",
        "event_time": int(now),
        "authorizations": [{"team_id": team, "user_id": BOT, "is_bot": True}],
        "event": {"event_ts": _ts(now), **event},
    }


def _ts(now: float, key: str = "0") -> str:
    """A ``ts`` of this millisecond, whose other digits are the text's."""
    return f"{now:.3f}{int(key, 16) % 1000:03d}"


def _message(channel: str, channel_type: str) -> _Made:
    def made(team: str, text: str, now: float, key: str) -> _Fields:
        said = {"type": "message", "channel": channel, "channel_type": channel_type, "user": PERSON}
        return _delivery(team, now, key, {**said, "text": escape(text), "ts": _ts(now, key)})

    return made


def _mention(team: str, text: str, now: float, key: str) -> _Fields:
    said = {"type": "app_mention", "channel": CHANNEL, "user": PERSON, "ts": _ts(now, key)}
    return _delivery(team, now, key, {**said, "text": f"<@{BOT}> {escape(text)}"})


def _reaction(team: str, text: str, now: float, key: str) -> _Fields:
    on = {"type": "message", "channel": DIRECT, "ts": _ts(now)}
    return _delivery(team, now, key, {"type": "reaction_added", "user": PERSON, "reaction": text, "item": on})


def _interaction(make: Callable[[str, float], _Fields]) -> _Made:
    def made(team: str, text: str, now: float, key: str) -> _Fields:
        person = {"id": PERSON, "username": "somebody", "team_id": team}
        trigger = {"team": {"id": team}, "user": person, "trigger_id": f"{_ts(now)}.{key}"}
        return {"payload": msgspec.json.encode({**trigger, **make(text, now)}).decode()}

    return made


def _pressed(element: str, chosen: Callable[[str], _Fields]) -> _Made:
    def make(text: str, now: float) -> _Fields:
        where = {"type": "message", "channel_id": DIRECT, "message_ts": _ts(now)}
        action = {"type": element, "action_id": "reply:0", "block_id": "b", "action_ts": _ts(now)}
        return {
            "type": "block_actions",
            "channel": {"id": DIRECT},
            "container": where,
            "actions": [{**action, **chosen(text)}],
        }

    return _interaction(make)


def _submitted(text: str, now: float) -> _Fields:
    values = {"block": {"text": {"type": "plain_text_input", "value": text}}}
    return {
        "type": "view_submission",
        "view": {"id": "V1", "callback_id": "form", "state": {"values": values}},
    }


def _command(team: str, text: str, now: float, key: str) -> _Fields:
    name, _, rest = text.partition(" ")
    return {
        "command": f"/{name.removeprefix('/')}",
        "text": rest,
        "team_id": team,
        "channel_id": DIRECT,
        "user_id": PERSON,
        "user_name": "somebody",
        "trigger_id": f"{_ts(now)}.{key}",
        "response_url": "https://hooks.slack.com/commands/none",
    }


def _label(text: str) -> _Fields:
    return {"type": "plain_text", "text": text}


TRIGGERS: dict[str, _Made] = {
    "text": _message(DIRECT, "im"),
    "channel": _message(CHANNEL, "channel"),
    "mention": _mention,
    "button": _pressed("button", lambda text: {"value": text, "text": _label(text)}),
    "select": _pressed("static_select", lambda t: {"selected_option": {"value": t, "text": _label(t)}}),
    "slash": _command,
    "shortcut": _interaction(lambda text, _: {"type": "shortcut", "callback_id": text}),
    "form": _interaction(_submitted),
    "reaction": _reaction,
}
"""Kind -> what makes it out of the workspace, the text, the time and a key that only this text has."""
