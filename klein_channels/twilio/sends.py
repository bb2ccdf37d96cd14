"""Makes what shows one part as a message: the fields for the REST API, or a ``<Message>`` of TwiML."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from xml.etree.ElementTree import Element

import msgspec

from ..markdown import render
from ..model import (
    JSON,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Custom,
    File,
    Image,
    Location,
    Outgoing,
    QuickReplies,
    Text,
    Video,
)
from ..replies import place_in_words
from ..text import measure, shorten
from .messages import REPLY, is_whatsapp
from .twiml import MOST_BYTES, element, size

TEXT_LIMIT = 1600
"""Characters of a message; more is error 21617."""
MOST_MEDIA = 10
BUTTONS, BUTTON_TITLE, BUTTON_TEXT, BUTTON_ID = 3, 20, 1024, 200
"""What WhatsApp shows without approval (Twilio, "twilio/quick-reply", read November 2026)."""
_NAMES = {"from_": "From", "messaging_service_sid": "MessagingServiceSid"}
_OURS = frozenset({"To", "From"})


class Content(NamedTuple):
    """What a message shows: words, the addresses of media, or fields that only the API knows."""

    body: str = ""
    media: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    @property
    def in_twiml(self) -> bool:
        """Whether an answer can carry it."""
        return not self.more


def content_of(outgoing: Outgoing, *, mms: bool = True) -> Content:
    """What shows the part of `outgoing`; ValueError says why there is nothing.

    Without `mms` media go as links, except on WhatsApp and the like.
    """
    part = outgoing.part
    if isinstance(part, Custom):
        return _own_fields(part.json)
    url = part.url if isinstance(part, Image | Audio | Video | File) else None
    if url is not None and not url.lower().startswith(("https://", "http://")):
        raise ValueError("media must be at a web address")
    # Only plain numbers are reached by SMS and MMS.
    if url is not None and (mms or ":" in outgoing.address.peer):
        return Content(body=_caption(part), media=(url,))
    return Content(body=_words(part, "whatsapp" if is_whatsapp(outgoing.address.peer) else "plain"))


def message_verb(content: Content, callback: str | None) -> Element:
    """A ``<Message>`` of TwiML to whom the webhook came from."""
    message = element("Message", statusCallback=callback)
    if content.body:
        message.append(element("Body", content.body))
    message.extend(element("Media", url) for url in content.media)
    return message


def carried(messages: Iterable[Element]) -> int:
    """How many of `messages`, from the first, one document can hold."""
    room, count = MOST_BYTES, 0
    for message in messages:
        room -= size(message)
        if room < 0:
            break
        count += 1
    return count


def rest_fields(
    outgoing: Outgoing, content: Content, number: str, callback: str | None
) -> list[tuple[str, str]]:
    """The fields that send `content` to the conversation, from the number that it is held with."""
    ours = outgoing.address.account or number
    more = dict(content.more)
    fields = [("To", outgoing.address.peer)]
    if "MessagingServiceSid" not in more:
        fields.append(("MessagingServiceSid" if ours.startswith("MG") else "From", ours))
    if content.body:
        fields.append(("Body", content.body))
    fields += [("MediaUrl", url) for url in content.media]
    if callback and "StatusCallback" not in more:
        fields.append(("StatusCallback", callback))
    return fields + list(content.more)


def callback_url(base: str | None, outgoing: Outgoing) -> str | None:
    """Where Twilio shall tell what became of a message: it then also tells our own id of it."""
    if not base:
        return None
    parts = urlsplit(base)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), (REPLY, outgoing.id)])
    return urlunsplit(parts._replace(query=query, fragment=""))


def choices_of(part: AnyPart) -> tuple[Button, ...]:
    """The buttons of a part that can be pressed on WhatsApp; none where it has to be words."""
    if isinstance(part, QuickReplies):
        buttons = tuple(Button(title=r.title, payload=r.payload) for r in part.replies if not r.ask)
    else:
        buttons = part.buttons if isinstance(part, Buttons) else ()
    return buttons if all(button.payload for button in buttons) and len(buttons) <= BUTTONS else ()


def template_of(choices: tuple[Button, ...]) -> dict[str, Any]:
    """The content template for buttons like these under any words; its name is that of the buttons."""
    actions = [{"type": "QUICK_REPLY", "title": b.title, "id": b.payload} for b in choices]
    name = hashlib.sha256(msgspec.json.encode(actions)).hexdigest()[:24]
    return {
        "friendly_name": f"klein_channels_{name}",
        "language": "en",
        "variables": {"1": "text"},
        "types": {
            "twilio/quick-reply": {"body": "{{1}}", "actions": actions},
        },
    }


def templated(content_sid: str, text: str) -> Content:
    """A message by a template that `template_of` made."""
    variables = msgspec.json.encode({"1": text or "…"}).decode()
    return Content(more=(("ContentSid", content_sid), ("ContentVariables", variables)))


def words_over(part: AnyPart, dialect: Literal["plain", "whatsapp"]) -> str:
    """The words over buttons."""
    if isinstance(part, Buttons | QuickReplies):
        return _rendered(part.text, part.format, dialect, BUTTON_TEXT)
    return ""


def _caption(part: AnyPart) -> str:
    if isinstance(part, Image):
        return shorten(part.alt or "", TEXT_LIMIT, "utf16")
    return shorten(part.name or "", TEXT_LIMIT, "utf16") if isinstance(part, File) else ""


def _words(part: AnyPart, dialect: Literal["plain", "whatsapp"]) -> str:
    match part:
        case Text(text=text, format=format):
            return _rendered(text, format, dialect, TEXT_LIMIT)
        case Buttons() | QuickReplies():
            titles = _titles(part)
            return "\n".join([words_over(part, dialect), *titles])
        case Location():
            return place_in_words(part)
        case Image(url=url) | Audio(url=url) | Video(url=url) | File(url=url):
            return "\n".join(filter(None, (_caption(part), url)))
    raise ValueError("there is no message for cards")


def _titles(part: Buttons | QuickReplies) -> list[str]:
    if isinstance(part, QuickReplies):
        titles = [reply.title for reply in part.replies if not reply.ask]
    else:
        titles = [": ".join(filter(None, (b.title, b.url, b.phone))) for b in part.buttons]
    return [f"{number}. {title}" for number, title in enumerate(titles, 1)]


def _rendered(
    text: str, format: Literal["plain", "markdown"], dialect: Literal["plain", "whatsapp"], limit: int
) -> str:
    shown = render(text, dialect, format).text
    # Guarded signs and spelled-out links can make a text longer than the piece that fitted.
    return shown if shown.strip() and measure(shown, "utf16") <= limit else text


def _own_fields(json: JSON) -> Content:
    """A custom part: the fields of a message in Twilio's names or Rasa's, without whom it is from and to."""
    if not isinstance(json, dict):
        raise ValueError("a custom part must be a JSON object")  # noqa: TRY004
    pairs = [(_name(key), text) for key, value in json.items() for text in _texts(value)]
    body = "\n".join(text for name, text in pairs if name == "Body")
    media = tuple(text for name, text in pairs if name == "MediaUrl")
    more = tuple(pair for pair in pairs if pair[0] not in _OURS | {"Body", "MediaUrl"})
    if not (body or media or any(name == "ContentSid" for name, _ in more)):
        raise ValueError("a custom part must have a body, a media_url or a content_sid")
    return Content(body=body, media=media[:MOST_MEDIA], more=more)


def _name(key: str) -> str:
    """``media_url`` as ``MediaUrl``."""
    return _NAMES.get(key) or "".join(word[:1].upper() + word[1:] for word in key.strip("_").split("_"))


def _texts(value: JSON) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, dict):
        return [msgspec.json.encode(value).decode()]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [str(value)]
