"""
Makes the requests with which Telegram is told to show something.

Limits are not looked at here: `fit` has cut the parts by the channel's capabilities. Methods:
Telegram, "Bot API 10.3" (24 August 2026).
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from ..markdown import render
from ..model import (
    JSON,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
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
from ..text import measure, shorten
from .keyboards import in_place_of_own, needs_payloads, under_message
from .places import is_business, is_private, number_or_text, target

TEXT_UNITS, CAPTION_UNITS = 4096, 1024
"""UTF-16 units of a text and of what stands under a picture."""
MOST_ENTITIES = 100
_MEDIA: dict[type, tuple[str, str]] = {
    Image: ("sendPhoto", "photo"),
    Audio: ("sendAudio", "audio"),
    Video: ("sendVideo", "video"),
    File: ("sendDocument", "document"),
}
_RASA: tuple[tuple[tuple[str, ...], str], ...] = (
    (("text",), "sendMessage"),
    (("photo",), "sendPhoto"),
    (("audio",), "sendAudio"),
    (("document",), "sendDocument"),
    (("sticker",), "sendSticker"),
    (("video",), "sendVideo"),
    (("video_note",), "sendVideoNote"),
    (("animation",), "sendAnimation"),
    (("voice",), "sendVoice"),
    (("media",), "sendMediaGroup"),
    (("latitude", "longitude", "title", "address"), "sendVenue"),
    (("latitude", "longitude"), "sendLocation"),
    (("phone_number", "first_name"), "sendContact"),
    (("game_short_name",), "sendGame"),
    (("action",), "sendChatAction"),
    (("title", "description", "payload", "currency", "prices"), "sendInvoice"),
    (("question", "options"), "sendPoll"),
)
"""The keys by which a message in Rasa's form for Telegram names its method; the first match counts."""
_KEPT_FROM_AGENTS = frozenset({"setwebhook", "deletewebhook", "getupdates", "logout", "close"})
"""Methods that would end the channel."""


class Request(NamedTuple):
    """A method and its parameters; `ours` unless an agent chose the method."""

    method: str
    body: dict[str, Any]
    ours: bool = True


def request_of(outgoing: Outgoing) -> Request:
    """The request that shows `outgoing`; ValueError says why there is none."""
    where = target(outgoing.address)
    if outgoing.reply_to is not None:
        # A message that was deleted meanwhile must not take the answer with it.
        replied = {"message_id": number_or_text(outgoing.reply_to), "allow_sending_without_reply": True}
        where["reply_parameters"] = replied
    made = _request(outgoing.part, outgoing)
    # Where it goes is said by the conversation, whatever a custom part names.
    return made._replace(body={**made.body, **where})


def edit_of(outgoing: Outgoing, mid: str) -> Request:
    """The request after which our message `mid` shows `outgoing`; ValueError says why there is none."""
    made = _request(outgoing.part, outgoing)
    if made.method != "sendMessage" or "keyboard" in made.body.get("reply_markup", {}):
        raise ValueError(f"Telegram changes only texts, not {type(outgoing.part).__name__}")
    where = target(outgoing.address)
    place: dict[str, Any] = {key: where[key] for key in ("chat_id", "business_connection_id") if key in where}
    return Request("editMessageText", {**made.body, **place, "message_id": number_or_text(mid)})


def draft_of(outgoing: Outgoing, draft: int, words: str) -> Request:
    """The request that shows `words` as a text that still grows."""
    where = target(outgoing.address)
    shown = _words(shorten(words, TEXT_UNITS, "utf16"), "markdown", partial=True)
    return Request("sendMessageDraft", {**where, "draft_id": draft, **shown})


def as_link(outgoing: Outgoing) -> Request | None:
    """A picture or file in words, for when Telegram could not fetch it; None for all other parts."""
    match outgoing.part:
        case Image(url=url) | Audio(url=url) | Video(url=url):
            words = url
        case File(url=url, name=name):
            words = f"{name}\n{url}" if name else url
        case Carousel(cards=(Card(image_url=str()) as card,)):
            return Request("sendMessage", {**_card_in_words(card), **target(outgoing.address)})
        case _:
            return None
    where = {key: value for key, value in request_of(outgoing).body.items() if key in _PLACE}
    return Request("sendMessage", {"text": words, **where})


_PLACE = frozenset(
    {
        "chat_id",
        "business_connection_id",
        "message_thread_id",
        "direct_messages_topic_id",
        "reply_parameters",
    }
)


def _request(part: AnyPart, outgoing: Outgoing) -> Request:
    match part:
        case Text():
            return Request("sendMessage", _words(part.text, part.format, partial=outgoing.partial))
        case Buttons(buttons=buttons):
            words = _words(part.text, part.format)
            return Request("sendMessage", {**words, "reply_markup": under_message(buttons)})
        case QuickReplies():
            words = _words(part.text, part.format)
            return Request("sendMessage", {**words, "reply_markup": _replies(part, outgoing)})
        case Image(url=url) | Audio(url=url) | Video(url=url) | File(url=url):
            method, key = _MEDIA[type(part)]
            return Request(method, {key: url})
        case Location():
            return _place(part)
        case Carousel(cards=(card,)):
            return _card(card)
        case Carousel():
            raise ValueError("Telegram shows one card at a time")
        case ListMenu():
            raise ValueError("Telegram has no lists to choose from")
        case Custom(json=dict(json)):
            return _custom(json)
        case Custom():
            raise ValueError("a custom part must be a JSON object")


def _words(text: str, format: Literal["plain", "markdown"], *, partial: bool = False) -> dict[str, Any]:
    """A text with its entities; as it was written, if its rendering is longer than Telegram takes."""
    if format == "plain":
        return {"text": text}
    rendered = render(text, "telegram", partial=partial)
    if not rendered.text.strip() or measure(rendered.text, "utf16") > TEXT_UNITS:
        return {"text": text}
    entities = list(rendered.entities[:MOST_ENTITIES])
    return {"text": rendered.text, "entities": entities} if entities else {"text": rendered.text}


def _replies(part: QuickReplies, outgoing: Outgoing) -> dict[str, Any]:
    """Under the message where payloads matter, or where no other keyboard is shown: business chats."""
    address = outgoing.address
    asks = any(reply.ask for reply in part.replies)
    if not asks and (needs_payloads(part.replies) or is_business(address)):
        return under_message([Button(title=r.title, payload=r.payload) for r in part.replies])
    return in_place_of_own(part.replies, is_private(address) and not is_business(address))


def _place(part: Location) -> Request:
    spot: dict[str, Any] = {"latitude": part.latitude, "longitude": part.longitude}
    if not part.title:
        return Request("sendLocation", spot)
    address = f"{part.latitude:.5f}, {part.longitude:.5f}"
    return Request("sendVenue", {**spot, "title": part.title, "address": address})


def _card(card: Card) -> Request:
    """A card as a picture with words and buttons under it, or as the words alone."""
    words = _card_in_words(card)
    if not card.image_url or measure(words["text"], "utf16") > CAPTION_UNITS:
        return Request("sendMessage", words)
    words["caption"], words["caption_entities"] = words.pop("text"), words.pop("entities")
    return Request("sendPhoto", {"photo": card.image_url, **words})


def _card_in_words(card: Card) -> dict[str, Any]:
    """The title in bold, linked to where the card leads, and the subtitle below it."""
    span = {"offset": 0, "length": measure(card.title, "utf16")}
    entities = [{"type": "bold", **span}]
    if card.url:
        entities.append({"type": "text_link", **span, "url": card.url})
    text = f"{card.title}\n{card.subtitle}" if card.subtitle else card.title
    made: dict[str, Any] = {"text": text, "entities": entities}
    return {**made, "reply_markup": under_message(card.buttons)} if card.buttons else made


def _custom(json: dict[str, JSON]) -> Request:
    """A method by its name under ``"method"``, or by the keys that Rasa goes by."""
    body = {key: value for key, value in json.items() if key != "method"}
    method = json.get("method")
    if method is None:
        method = next((m for keys, m in _RASA if all(json.get(key) is not None for key in keys)), None)
    if not isinstance(method, str) or not re.fullmatch(r"[A-Za-z]{1,64}", method):
        raise ValueError('a custom part names no method of the Bot API: {"method": "sendDice", …}')
    if method.lower() in _KEPT_FROM_AGENTS:
        raise ValueError(f"{method} is not for replies")
    return Request(method, body, ours=False)
