"""Makes what Slack is asked to do for one visible send: which method, with which fields."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..model import (
    JSON,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Carousel,
    Custom,
    File,
    Image,
    ListMenu,
    Location,
    Outgoing,
    QuickReplies,
    Text,
    Video,
)
from ..replies import place_in_words
from ..text import shorten
from .blocks import Block, button_blocks, card_blocks, checked, image_block, sections
from .events import REPLY_METADATA
from .places import message_of, person_of
from .words import escape, link, render

NOTICE = 1000
"""Characters of the words that a notification shows in place of blocks."""


class Request(NamedTuple):
    """A method of the Web API with its fields, or a body for a ``response_url``."""

    method: str
    body: dict[str, Any]
    response_url: str | None = None


def send_request(outgoing: Outgoing) -> Request:
    """What shows `outgoing`; ValueError says why there is nothing."""
    custom = outgoing.part.json if isinstance(outgoing.part, Custom) else None
    if isinstance(custom, dict) and "view" in custom:
        return _form(outgoing, custom)
    if isinstance(custom, dict) and "reaction" in custom:
        return _reaction(outgoing, custom)
    content = part_content(outgoing.part)
    url = content.pop("response_url", None) or _wish(outgoing, "response_url")
    if url is not None:
        return _response(outgoing, content, url)
    body = {**content, "channel": outgoing.address.peer}
    thread = outgoing.address.thread or outgoing.reply_to
    if thread:
        body.setdefault("thread_ts", thread)
    only_for = _wish(outgoing, "ephemeral")
    if only_for:
        user = only_for if isinstance(only_for, str) else person_of(outgoing.cause)
        if not user:
            raise ValueError("ephemeral: nobody is named who is to see it")
        return Request("chat.postEphemeral", {**body, "user": user})
    ours = {"event_type": REPLY_METADATA, "event_payload": {"id": outgoing.id}}
    return Request("chat.postMessage", {"metadata": ours, **body})


def edit_request(outgoing: Outgoing, channel: str, ts: str) -> Request:
    """What makes our message `ts` show the part of `outgoing`, and nothing of what it showed before."""
    content = {"blocks": [], **part_content(outgoing.part)}
    # Without "none" this method reads the text as if a person had typed it, names and all.
    return Request("chat.update", {"parse": "none", **content, "channel": channel, "ts": ts})


def part_content(part: AnyPart) -> dict[str, Any]:
    """The ``text`` and ``blocks`` that show a part; ValueError says why there are none."""
    match part:
        case Buttons(text=text, buttons=buttons, format=format):
            return _blocks(text, [*sections(text, format), *button_blocks(buttons)])
        case QuickReplies(text=text, replies=replies, format=format):
            buttons = tuple(Button(title=r.title, payload=r.payload) for r in replies if not r.ask)
            return _blocks(text, [*sections(text, format), *button_blocks(buttons)])
        case Carousel(cards=cards):
            return _blocks("\n".join(card.title for card in cards), card_blocks(cards))
        case Image():
            block = image_block(part)
            return _blocks(part.alt or part.url, [block]) if block else _words(_link(part.url, part.alt))
        case Custom(json=json):
            return _own_fields(json)
        case ListMenu():
            raise ValueError("lists to choose from are said in words")
    return _words(_in_words(part))


def _in_words(part: Text | File | Audio | Video | Location) -> str:
    match part:
        case Text(text=text, format=format):
            return render(text, format)
        case File(url=url, name=name):
            return _link(url, name)
        case Audio(url=url) | Video(url=url):
            return link(url)
        case Location():
            return escape(place_in_words(part))


def _link(url: str, name: str | None) -> str:
    """A link under its name, which no limit of `fit` has cut."""
    return link(url, shorten(name, NOTICE, "characters") if name else name)


def _own_fields(json: JSON) -> dict[str, Any]:
    if isinstance(json, dict):
        return dict(json)
    if isinstance(json, list):
        return {"blocks": json}
    raise ValueError("a custom part must be a JSON object, or a list of blocks")


def _words(mrkdwn: str) -> dict[str, Any]:
    return {"text": mrkdwn, "link_names": False}


def _blocks(words: str, blocks: list[Block]) -> dict[str, Any]:
    return {**_words(escape(shorten(words, NOTICE, "characters"))), "blocks": checked(blocks)}


def _form(outgoing: Outgoing, custom: dict[str, Any]) -> Request:
    """A modal or a home tab; its answer comes back to this conversation unless it says otherwise."""
    view = custom["view"]
    if not isinstance(view, dict):
        raise ValueError("the view of a custom part must be a JSON object")  # noqa: TRY004
    # ``Address`` as text fits: a form may carry 3000 characters of its own.
    body = {**custom, "view": {"private_metadata": str(outgoing.address), **view}}
    if "view_id" in custom or "external_id" in custom:
        return Request("views.update", body)
    if "user_id" in custom:
        return Request("views.publish", {**body, "view": view})
    return Request("views.open", body)


def _reaction(outgoing: Outgoing, custom: dict[str, Any]) -> Request:
    """An emoji on a message: the one that is named, else the one that is answered."""
    ts = custom.get("timestamp") or outgoing.reply_to or message_of(outgoing.cause)
    if not ts:
        raise ValueError("reaction: no message is named to put it on")
    body = {"channel": outgoing.address.peer, "timestamp": ts, "name": custom["reaction"]}
    return Request("reactions.remove" if custom.get("remove") else "reactions.add", body)


def _response(outgoing: Outgoing, content: dict[str, Any], url: JSON) -> Request:
    """An answer by the address that came with an interaction or a command."""
    if not isinstance(url, str):
        raise ValueError("response_url must be a text")  # noqa: TRY004
    body = dict(content)
    for key in ("response_type", "replace_original", "delete_original"):
        wish = _wish(outgoing, key)
        if wish is not None:
            body.setdefault(key, wish)
    if outgoing.address.thread:
        body.setdefault("thread_ts", outgoing.address.thread)
    return Request("", body, url)


def _wish(outgoing: Outgoing, key: str) -> JSON:
    """What a message's metadata asks of Slack."""
    return (outgoing.metadata or {}).get(key)
