"""
What agents answer, read into our values, and our values in Rasa's form.

An agent may answer with a str, a dict in Rasa's form, a `Message`, a part of one, a control, a list or tuple
of these, or None. Agents are other people's code, and what comes out of here is stored: so every value is
checked against its type, copied, and cleaned of what no store takes (lone surrogates, NUL, cycles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from .errors import AgentReplyError
from .model import (
    JSON,
    MAX_JSON_DEPTH,
    AnyControl,
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
    Message,
    QuickReplies,
    QuickReply,
    Text,
    Value,
    Video,
)
from .text import clean

Reply: TypeAlias = Message | AnyControl
V = TypeVar("V", bound=Value)

_SPOKEN = ("text", "buttons", "quick_replies", "image", "attachment", "elements", "custom")
_KNOWN = frozenset({*_SPOKEN, "metadata", "recipient_id"})
_ASKS = {"user_phone_number": "phone", "user_email": "email"}
_CONTENT_TYPES = {ask: content_type for content_type, ask in _ASKS.items()}
_MEDIA: dict[str, Callable[[str], AnyPart]] = {
    "image": lambda url: Image(url=url),
    "audio": lambda url: Audio(url=url),
    "video": lambda url: Video(url=url),
    "file": lambda url: File(url=url),
}
_ACCEPTED = "str, dict, Message, a part, a control, a list of these, or None"


def read_reply(value: object) -> list[Reply]:
    """What an agent answered, as messages and controls in their order; nothing for None and empty texts.

    Raises `AgentReplyError` with one line that names the key and the type that are wrong, never the text
    of a person. `value` is not changed and nothing of it is shared.
    """
    return list(_read(value, 0))


def to_rasa(message: Message) -> list[dict[str, JSON]]:
    """`message` in Rasa's form, one dict per part; `metadata` goes with the first.

    What `read_reply` makes of the dicts are the parts again, except for what Rasa has no word for: the
    format of a text, the alternative text of an image, the place of a `Location` (given in words).
    """
    dicts = [_part_to_rasa(part) for part in message.parts]
    if dicts and message.metadata:
        dicts[0]["metadata"] = message.metadata
    return dicts


def place_in_words(place: Location) -> str:
    """A place for those who get no map: its title, its coordinates in degrees, and a link to a map."""
    latitude, longitude = _degrees(place.latitude), _degrees(place.longitude)
    link = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}"
    return "\n".join(line for line in (place.title, f"{latitude}, {longitude}", link) if line)


def _read(value: object, depth: int) -> Iterator[Reply]:
    if depth > MAX_JSON_DEPTH:
        raise AgentReplyError(f"a reply is nested deeper than {MAX_JSON_DEPTH} lists")
    if value is None:
        return
    if isinstance(value, list | tuple):
        for item in value:
            yield from _read(item, depth + 1)
    elif isinstance(value, AnyControl):
        yield _checked(value)
    else:
        message = _checked(_message(value))
        parts = tuple(part for part in message.parts if not _says_nothing(part))
        if parts:
            yield msgspec.structs.replace(message, parts=parts)


def _message(value: object) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, AnyPart):
        return Message(parts=(value,))
    if isinstance(value, str):
        return Message(parts=(Text(text=value),))
    if isinstance(value, Mapping):
        return _message_from_rasa(value)
    raise AgentReplyError(f"a reply must be {_ACCEPTED}, not {_name(value)}")


def _says_nothing(part: AnyPart) -> bool:
    return isinstance(part, Text) and not part.text.strip()


# ---------------------------------------------------------------------------------------------
# Checked, copied, cleaned


def _checked(value: V) -> V:
    """A clean deep copy of `value` whose fields have the types that they promise and can be stored."""
    try:
        plain = _cleaned(msgspec.to_builtins(value), 0)
        return msgspec.json.decode(msgspec.json.encode(plain), type=type(value))
    except msgspec.ValidationError as error:
        raise AgentReplyError(f"{_name(value)}: {error}") from None
    except RecursionError:
        raise AgentReplyError(f"{_name(value)}: is nested too deeply") from None
    except (TypeError, ValueError, OverflowError):
        # The texts of these errors may quote values.
        raise AgentReplyError(f"{_name(value)}: holds something that has no JSON form") from None


def _cleaned(value: JSON, depth: int) -> JSON:
    if isinstance(value, str):
        return clean(value)
    if depth > MAX_JSON_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return {_cleaned(key, depth): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, depth + 1) for item in value]
    return value


# ---------------------------------------------------------------------------------------------
# Rasa's dicts


class _Dict:
    """A dict of an agent, read key by key; knows where it stands, for the line of an error."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise AgentReplyError(f"{where} must be dict, not {_name(value)}")
        self._items: Mapping[object, object] = value
        self._where = where

    def text(self, key: str) -> str | None:
        """The str at `key`, None if there is none or an empty one."""
        found = self._items.get(key)
        if found is None or isinstance(found, str):
            return found or None
        raise AgentReplyError(f"{self._path(key)} must be str, not {_name(found)}")

    def required(self, key: str) -> str:
        """The str at `key`, which must be there."""
        found = self.text(key)
        if found is None:
            raise AgentReplyError(f"{self._path(key)} is missing")
        return found

    def child(self, key: str) -> _Dict | None:
        """The dict at `key`, None if there is none."""
        found = self._items.get(key)
        return None if found is None else _Dict(found, self._path(key))

    def children(self, key: str) -> list[_Dict]:
        """The dicts in the list at `key`, which may also be a lone dict."""
        found = self._items.get(key)
        if found is None:
            return []
        if isinstance(found, Mapping):
            found = [found]
        if not isinstance(found, list | tuple):
            raise AgentReplyError(f"{self._path(key)} must be a list of dict, not {_name(found)}")
        return [_Dict(item, f"{self._path(key)}[{place}]") for place, item in enumerate(found)]

    def only_has(self, *keys: str) -> bool:
        """Whether nothing but `keys` is in it."""
        return self._items.keys() <= set(keys)

    def _path(self, key: str) -> str:
        return f"{self._where}[{key!r}]"


def _message_from_rasa(value: Mapping[object, object]) -> Message:
    for key in value:
        if not isinstance(key, str):
            raise AgentReplyError(f"the keys of a reply must be str, not {_name(key)}")
    reply = _Dict(value, "reply")
    extra = {key: item for key, item in value.items() if key not in _KNOWN}
    if extra and not any(key in value for key in _SPOKEN):
        raise AgentReplyError(f"a reply has none of the keys {', '.join(_SPOKEN)}")
    if reply.child("metadata"):
        extra = {**_as_dict(value["metadata"]), **extra}
    # The order is that of Rasa's OutputChannel.send_response (rasa 3.6, core/channels/channel.py).
    parts = [*_said(reply), *_custom(value.get("custom"))]
    if url := reply.text("image"):
        parts.append(Image(url=url))
    parts.extend(_attached(reply, value.get("attachment")))
    if cards := tuple(_card(element) for element in reply.children("elements")):
        parts.append(Carousel(cards=cards))
    return Message(parts=tuple(parts), metadata=extra or None)  # type: ignore[arg-type]  # keys were checked


def _as_dict(value: object) -> Mapping[object, object]:
    assert isinstance(value, Mapping)
    return value


def _said(reply: _Dict) -> Iterator[AnyPart]:
    text = reply.text("text")
    replies = tuple(_quick_reply(item) for item in reply.children("quick_replies"))
    buttons = tuple(_button(item) for item in reply.children("buttons"))
    if replies:
        yield QuickReplies(text=text or "", replies=replies)
    elif buttons:
        yield Buttons(text=text or "", buttons=buttons)
    elif text:
        yield Text(text=text)


def _custom(value: object) -> Iterator[AnyPart]:
    if value is not None and value not in ({}, [], ""):
        yield Custom(json=value)


def _attached(reply: _Dict, value: object) -> Iterator[AnyPart]:
    """An attachment: an address, other words, or a dict as Messenger has it."""
    if isinstance(value, Mapping) and value:
        yield _media(_Dict(value, "reply['attachment']")) or Custom(json={"attachment": value})
    elif value is not None and not isinstance(value, Mapping) and (words := reply.text("attachment")):
        yield File(url=words) if "://" in words else Text(text=words)


def _media(attachment: _Dict) -> AnyPart | None:
    """The part for an attachment that is no more than a kind and an address; None for all others."""
    kind = attachment.text("type") or ""
    if kind not in _MEDIA or not attachment.only_has("type", "payload"):
        return None
    payload = attachment.child("payload")
    if payload is None or not payload.only_has("url", "src", "name", "is_reusable"):
        return None
    url = payload.text("url") or payload.text("src")
    if url is None:
        return None
    name = payload.text("name")
    return File(url=url, name=name) if kind == "file" and name else _MEDIA[kind](url)


def _button(item: _Dict) -> Button:
    title, payload, url = item.required("title"), item.text("payload"), item.text("url")
    if item.text("type") == "phone_number":
        return Button(title=title, phone=payload)
    return Button(title=title, payload=payload, url=url)


def _quick_reply(item: _Dict) -> QuickReply:
    ask = _ASKS.get(item.text("content_type") or "")
    title = item.text("title") if ask else item.required("title")
    return QuickReply(
        title=title or "",
        payload=item.text("payload"),
        image_url=item.text("image_url"),
        ask=ask,  # type: ignore[arg-type]  # a value of _ASKS
    )


def _card(element: _Dict) -> Card:
    action = element.child("default_action")
    return Card(
        title=element.required("title"),
        subtitle=element.text("subtitle"),
        image_url=element.text("image_url"),
        url=action.text("url") if action else None,
        buttons=tuple(_button(item) for item in element.children("buttons")),
    )


# ---------------------------------------------------------------------------------------------
# The other direction


def _part_to_rasa(part: AnyPart) -> dict[str, JSON]:  # noqa: PLR0911  (one for each kind of part)
    match part:
        case Text():
            return {"text": part.text}
        case Buttons():
            return {"text": part.text, "buttons": [_button_to_rasa(button) for button in part.buttons]}
        case QuickReplies():
            return {"text": part.text, "quick_replies": [_quick_reply_to_rasa(r) for r in part.replies]}
        case ListMenu():
            rows = [row for section in part.sections for row in section.rows]
            return {"text": part.text, "buttons": [_present(title=r.title, payload=r.payload) for r in rows]}
        case Carousel():
            return {"elements": [_card_to_rasa(card) for card in part.cards]}
        case Image():
            return {"image": part.url}
        case Audio() | Video() | File():
            return {"attachment": _attachment_to_rasa(part)}
        case Location():
            return {"text": place_in_words(part)}
        case Custom():
            return {"custom": part.json}


def _attachment_to_rasa(part: Audio | Video | File) -> str | dict[str, JSON]:
    name = part.name if isinstance(part, File) else None
    if isinstance(part, File) and not name and "://" in part.url:
        return part.url
    return {"type": type(part).__name__.lower(), "payload": _present(url=part.url, name=name)}


def _button_to_rasa(button: Button) -> dict[str, JSON]:
    if button.phone is not None:
        return {"title": button.title, "type": "phone_number", "payload": button.phone}
    kind = "web_url" if button.url is not None else None
    return _present(title=button.title, type=kind, url=button.url, payload=button.payload)


def _quick_reply_to_rasa(reply: QuickReply) -> dict[str, JSON]:
    return _present(
        content_type=_CONTENT_TYPES[reply.ask] if reply.ask else "text",
        title=reply.title or None,
        payload=reply.payload,
        image_url=reply.image_url,
    )


def _card_to_rasa(card: Card) -> dict[str, JSON]:
    return _present(
        title=card.title,
        subtitle=card.subtitle,
        image_url=card.image_url,
        default_action={"type": "web_url", "url": card.url} if card.url else None,
        buttons=[_button_to_rasa(button) for button in card.buttons] or None,
    )


def _present(**fields: JSON) -> dict[str, JSON]:
    return {key: value for key, value in fields.items() if value is not None}


def _degrees(value: float) -> str:
    """A coordinate without an exponent, to a decimetre."""
    return f"{value:z.6f}".rstrip("0").rstrip(".")


def _name(value: object) -> str:
    return type(value).__name__
