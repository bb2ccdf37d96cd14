"""
Reads what people do with buttons, menus, forms, shortcuts and slash commands.

Slack sends these form-encoded, once, and waits three seconds for an answer that closes a form or
takes a pressed button's spinner away; an empty one does. Shapes: Slack, "Interaction payloads" and
"Implementing slash commands" (docs.slack.dev, read November 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from ..json_fields import (
    MalformedItem,
    an_object,
    digest,
    identifier,
    lenient_identifier,
    lenient_words,
    words,
)
from ..model import (
    JSON,
    Address,
    AnyEvent,
    Event,
    FormAnswered,
    MessageReceived,
    PersonEvent,
    Postback,
    Sender,
    Unknown,
)
from .places import Places, moment, named_event, sender_of

E = TypeVar("E", bound=Event)

LINK = "link:"
"""Begins the ``action_id`` of a button that opens a page: that it was pressed is told, and is no answer."""


@dataclass(frozen=True, slots=True)
class _Interaction:
    """One payload, with what every event made of it shares."""

    json: dict[str, Any]
    address: Address
    user: Sender | None
    answerable: bool

    def event(self, kind: type[E], key: str | None = None, **fields: Any) -> E:
        """An event of `kind`; `key` tells the events of one payload apart."""
        if issubclass(kind, PersonEvent):
            fields.setdefault("sender", self.user)
        if not self.answerable or self.user is None:
            fields["observe_only"] = True
        fields.setdefault("timestamp", moment(self.json.get("action_ts")))
        return kind(id=self._id(key), address=self.address, raw=self.json, **fields)

    def _id(self, key: str | None) -> str:
        """A trigger is made for each thing that somebody does, and is gone with it."""
        trigger = lenient_identifier(self.json.get("trigger_id")) or digest(self.json)
        return named_event(trigger if key is None else f"{trigger}#{key}", self.user.id if self.user else "")


class InteractionReader:
    """Reads interactions and slash commands for one channel."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def read(self, payload: dict[str, Any]) -> tuple[AnyEvent, ...]:
        """The events of an interaction's payload: one, or one for each element that was used."""
        name = lenient_words(payload.get("type")) or "malformed"
        interaction = self._located(payload)
        try:
            reader = _READERS.get(name)
            return tuple(reader(interaction)) if reader else (_told(interaction, name),)
        except MalformedItem:
            return (_told(interaction, "malformed"),)

    def read_command(self, fields: dict[str, str]) -> AnyEvent:
        """A slash command: what was typed, as it was typed."""
        user = fields.get("user_id", "")
        account = self._places.account([fields.get("team_id"), fields.get("enterprise_id")])
        channel = lenient_identifier(fields.get("channel_id")) or lenient_identifier(user)
        address = self._places.at(account, channel, None, fields.get("thread_ts"))
        sender = sender_of({"id": user, "username": fields.get("user_name")})
        command = _Interaction(dict(fields), address, sender, self._places.answers(address))
        text = f"{fields.get('command', '')} {fields.get('text', '')}".strip()
        return command.event(MessageReceived, "command", text=text)

    def _located(self, payload: dict[str, Any]) -> _Interaction:
        user = payload.get("user")
        user_fields = user if isinstance(user, dict) else {}
        teams = [_id_in(payload.get("team")), user_fields.get("team_id"), _id_in(payload.get("enterprise"))]
        account = self._places.account(teams)
        address = self._address(payload, account, lenient_identifier(user_fields.get("id")))
        return _Interaction(payload, address, sender_of(user_fields), self._places.answers(address))

    def _address(self, payload: dict[str, Any], account: str, user: str) -> Address:
        """The chat in which it was done; in a form, the one that the form names; else the person's."""
        view = payload.get("view")
        if isinstance(view, dict):
            named = self._places.named(view.get("private_metadata"), account)
            if named is not None:
                return named
        container = _object_in(payload.get("container"))
        message = _object_in(payload.get("message"))
        channel = _id_in(payload.get("channel")) or container.get("channel_id") or _form_channel(payload)
        ts = message.get("ts") or container.get("message_ts") or payload.get("message_ts")
        thread_ts = message.get("thread_ts") or container.get("thread_ts")
        return self._places.at(account, lenient_identifier(channel) or user, ts, thread_ts)


# ---------------------------------------------------------------------------------------------
# One reader per type


def _actions(interaction: _Interaction) -> Iterator[AnyEvent]:
    actions = interaction.json.get("actions")
    if not isinstance(actions, list) or not actions:
        raise MalformedItem
    for number, item in enumerate(actions):
        action = an_object(item)
        key = str(number) if len(actions) > 1 else None
        if (lenient_words(action.get("action_id")) or "").startswith(LINK):
            yield interaction.event(Unknown, key, name="link_button", observe_only=True)
            continue
        payload, title = chosen(action)
        yield interaction.event(
            Postback,
            key,
            payload=payload,
            title=title or payload or (lenient_words(action.get("action_id")) or None),
            mid=_message_ts(interaction.json),
            timestamp=moment(action.get("action_ts")) or moment(interaction.json.get("action_ts")),
        )


def _shortcut(interaction: _Interaction) -> Iterator[AnyEvent]:
    name = identifier(interaction.json.get("callback_id"))
    if not name:
        raise MalformedItem
    yield interaction.event(Postback, payload=name, mid=_message_ts(interaction.json))


def _view_submitted(interaction: _Interaction) -> Iterator[AnyEvent]:
    view = an_object(interaction.json.get("view"))
    yield interaction.event(FormAnswered, name=words(view.get("callback_id")), data=form_data(view))


def _dialog_submitted(interaction: _Interaction) -> Iterator[AnyEvent]:
    name = words(interaction.json.get("callback_id"))
    yield interaction.event(FormAnswered, name=name, data=interaction.json.get("submission"))


_READERS: dict[str, Callable[[_Interaction], Iterator[AnyEvent]]] = {
    "block_actions": _actions,
    "interactive_message": _actions,
    "shortcut": _shortcut,
    "message_action": _shortcut,
    "view_submission": _view_submitted,
    "dialog_submission": _dialog_submitted,
}


def _told(interaction: _Interaction, name: str) -> Unknown:
    return interaction.event(Unknown, name=name, observe_only=True)


# ---------------------------------------------------------------------------------------------
# What was chosen


def form_data(view: dict[str, Any]) -> dict[str, dict[str, JSON]]:
    """What stands in a form: its blocks, and in each its elements with what was entered or chosen."""
    blocks = _object_in(_object_in(view.get("state")).get("values"))
    return {
        block: {name: _entered(element) for name, element in _object_in(elements).items()}
        for block, elements in blocks.items()
    }


def chosen(action: dict[str, Any]) -> tuple[str, str | None]:
    """The value of an element that was used, as text, and the words on it."""
    value, title = _entered(action), None
    options = action.get("selected_option") or action.get("selected_options")
    if isinstance(options, dict):
        title = _label(options.get("text"))
    elif isinstance(options, list):
        title = ", ".join(filter(None, (_label(_object_in(option).get("text")) for option in options)))
        if action.get("type") == "select":  # a menu of the time before blocks: one choice, in a list
            value = value[0] if isinstance(value, list) and len(value) == 1 else value
    elif action.get("type") == "button":
        title = _label(action.get("text"))
    if value is None:
        return "", title or None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode(), title or None


def _entered(element: JSON) -> JSON:
    """The value in any kind of element; a list where several may be chosen, None where nothing is."""
    fields = _object_in(element)
    options = fields.get("selected_options")
    if isinstance(options, list):
        return [_object_in(option).get("value") for option in options]
    option = fields.get("selected_option")
    if isinstance(option, dict):
        return option.get("value")
    # selected_user, selected_channels, selected_date, selected_date_time …
    named = (fields[key] for key in fields if key.startswith("selected_"))
    found = next((value for value in named if value is not None), None)
    if found is None:
        found = fields.get("rich_text_value", fields.get("files"))
    return fields.get("value") if found is None else found


def _label(text: JSON) -> str | None:
    return lenient_words(text.get("text")) if isinstance(text, dict) else lenient_words(text)


def _message_ts(payload: dict[str, Any]) -> str | None:
    container = _object_in(payload.get("container"))
    message = _object_in(payload.get("message"))
    ts = container.get("message_ts") or message.get("ts") or payload.get("message_ts")
    return lenient_identifier(ts) or None


def _form_channel(payload: dict[str, Any]) -> JSON:
    """The chat that a person chose in a form, where the form asked for one to answer in."""
    urls = payload.get("response_urls")
    first = urls[0] if isinstance(urls, list) and urls else None
    return _object_in(first).get("channel_id")


def _id_in(value: JSON) -> JSON:
    return value.get("id") if isinstance(value, dict) else value


def _object_in(value: JSON) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
