"""
A message as a platform can show it: `fit` splits what is too long and degrades what the platform lacks.

Nothing is lost. What a button, a card or a suggested answer cannot hold is said in words before it, or in
its place; a title that is cut is also given in full. Pure: the same message and capabilities give the same
parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from .channel import Capabilities
from .markdown import render, split_markdown
from .model import (
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
    ListRow,
    ListSection,
    Location,
    Message,
    QuickReplies,
    QuickReply,
    Text,
    Video,
)
from .replies import place_in_words
from .text import WIDEST, measure, shorten, split

NO_WORDS = "…"
"""Stands where a platform wants words and the message has none: over buttons, on a button, on a card."""

_Media: TypeAlias = Image | Audio | Video | File


def fit(message: Message, capabilities: Capabilities) -> list[AnyPart]:
    """The visible sends that `message` is on a platform with `capabilities`, in their order.

    Each is showable as it is. White space alone gives nothing. Markdown becomes plain words where the
    platform has no dialect of its own; elsewhere it is cut so that each piece is Markdown that is complete
    and fits in the platform's dialect, and what is added to it in words is plain. The icon of a quick
    reply goes with the quick reply.
    """
    parts = message.parts
    if capabilities.dialect == "plain":
        parts = tuple(_in_plain_words(part) for part in parts)
    return [shown for part in parts for shown in _fitted(part, capabilities)]


def _in_plain_words(part: AnyPart) -> AnyPart:
    if not isinstance(part, Text | Buttons | QuickReplies | ListMenu) or part.format == "plain":
        return part
    return msgspec.structs.replace(part, text=render(part.text, "plain").text, format="plain")


def _fitted(part: AnyPart, able: Capabilities) -> Sequence[AnyPart]:
    match part:
        case Text():
            return _pieces(part, able)
        case Buttons():
            return _fit_buttons(part, able)
        case QuickReplies():
            return _fit_quick_replies(part, able)
        case Carousel():
            return list(_fit_carousel(part, able))
        case ListMenu():
            return _fit_list(part, able)
        case Location():
            return [part] if able.location else _pieces(Text(text=place_in_words(part)), able)
        case Custom():
            return [part] if able.custom else _pieces(Text(text=_json_in_words(part)), able)
        case Image() | Audio() | Video() | File():
            return [part] if _kind(part) in able.media else _pieces(Text(text=_media_in_words(part)), able)


def _pieces(text: Text, able: Capabilities, limit: int | None = None) -> list[Text]:
    """The text in pieces of at most `limit`, or of what the platform takes."""
    limit = able.text_limit if limit is None else limit
    if text.format == "markdown":
        parts = split_markdown(text.text, limit, able.text_unit, able.dialects)
    else:
        parts = split(text.text, limit, able.text_unit)
    return [Text(text=part, format=text.format) for part in parts]


def _all_pieces(texts: Iterable[Text], able: Capabilities) -> list[Text]:
    return [piece for text in texts for piece in _pieces(text, able)]


def _kind(part: _Media) -> str:
    return type(part).__name__.lower()


def _media_in_words(part: _Media) -> str:
    name = part.alt if isinstance(part, Image) else part.name if isinstance(part, File) else None
    return _lines(name, part.url)


def _json_in_words(part: Custom) -> str:
    return msgspec.json.encode(part.json).decode()


def _lines(*lines: str | None) -> str:
    return "\n".join(line for line in lines if line and line.strip())


# ---------------------------------------------------------------------------------------------
# Buttons and quick replies


def _fit_buttons(part: Buttons, able: Capabilities) -> Sequence[AnyPart]:
    words = Text(text=part.text, format=part.format)
    buttons = tuple(map(_complete, part.buttons))
    return (
        _shown_as_buttons(words, buttons, able)
        or _shown_as_replies(words, _replies_from(buttons), able)
        or _shown_as_list(words, _list_of(buttons), able)
        or _all_pieces(_with_more(words, _listed(buttons)), able)
    )


def _fit_quick_replies(part: QuickReplies, able: Capabilities) -> Sequence[AnyPart]:
    words = Text(text=part.text, format=part.format)
    replies = tuple(_complete_reply(r) for r in part.replies if able.quick_reply_asks or not r.ask)
    buttons = tuple(Button(title=r.title, payload=r.payload) for r in replies if r.title)
    asks = any(r.ask for r in replies)
    return (
        _shown_as_replies(words, replies, able)
        or (_shown_as_buttons(words, buttons, able) if not asks else [])
        or (_shown_as_list(words, _list_of(buttons), able) if not asks else [])
        or _all_pieces(_with_more(words, _listed(buttons)), able)
    )


def _complete(button: Button) -> Button:
    """A button with a title, and with a payload if it does nothing else."""
    title = button.title.strip() or NO_WORDS
    idle = not (button.payload or button.url or button.phone)
    return msgspec.structs.replace(button, title=title, payload=title if idle else button.payload)


def _complete_reply(reply: QuickReply) -> QuickReply:
    title = reply.title.strip()
    if reply.ask:
        return msgspec.structs.replace(reply, title=title)
    return msgspec.structs.replace(reply, title=title or NO_WORDS, payload=reply.payload or title or NO_WORDS)


def _replies_from(buttons: tuple[Button, ...]) -> tuple[QuickReply, ...]:
    """The same choice as quick replies; none if there is a link or a telephone number in it."""
    if any(button.url or button.phone for button in buttons):
        return ()
    return tuple(QuickReply(title=button.title, payload=button.payload) for button in buttons)


def _shown_as_buttons(words: Text, buttons: tuple[Button, ...], able: Capabilities) -> list[AnyPart]:
    """The words with the buttons under their last piece; nothing if the platform cannot show them."""
    cut = _cut_buttons(buttons, able.buttons, able)
    room = able.button_text
    if not cut or room < WIDEST[able.text_unit]:
        return []
    *before, last = _ending_within(room, _introduced(words, buttons, cut), able)
    return [*before, Buttons(text=last.text, buttons=cut, format=last.format)]


def _shown_as_replies(words: Text, replies: tuple[QuickReply, ...], able: Capabilities) -> list[AnyPart]:
    """The words with the quick replies under their last piece; nothing if they cannot be shown."""
    cut = tuple(
        msgspec.structs.replace(r, title=_short(r.title, able.quick_reply_title, able)) for r in replies
    )
    possible = all((r.title or r.ask) and _carries(r.payload, able) for r in cut)
    if not 0 < len(cut) <= able.quick_replies or not possible:
        return []
    full = tuple(Button(title=r.title) for r in replies)
    shown = tuple(Button(title=r.title) for r in cut)
    *before, last = _ending_within(able.text_limit, _introduced(words, full, shown), able)
    return [*before, QuickReplies(text=last.text, replies=cut, format=last.format)]


def _cut_buttons(buttons: tuple[Button, ...], most: int, able: Capabilities) -> tuple[Button, ...]:
    """The buttons with titles that fit; none if one of them cannot be shown, or there are too many."""
    cut = tuple(msgspec.structs.replace(b, title=_short(b.title, able.button_title, able)) for b in buttons)
    alone = able.lone_link and len(cut) == 1
    possible = all(
        button.title
        and _carries(button.payload, able)
        and (able.button_links or not (button.url or button.phone) or (alone and not button.phone))
        and (able.button_calls or not button.phone)
        for button in cut
    )
    return cut if possible and len(cut) <= most else ()


def _carries(payload: str | None, able: Capabilities) -> bool:
    return payload is None or measure(payload, able.payload_unit or able.text_unit) <= able.payload_limit


def _short(text: str, limit: int, able: Capabilities) -> str:
    return shorten(text, limit, able.title_unit or able.text_unit)


def _introduced(words: Text, full: Sequence[Button], cut: Sequence[Button]) -> list[Text]:
    """The words, and all titles in full if one of them is cut: a list with gaps would puzzle."""
    if all(one.title == other.title for one, other in zip(full, cut, strict=True)):
        return [words]
    return _with_more(words, _numbered(button.title for button in full))


def _with_more(words: Text, more: str) -> list[Text]:
    """The words with plain ones after them; apart where they have a format that would change those."""
    if words.format != "plain" and words.text.strip():
        return [words, Text(text=more)]
    return [Text(text=_lines(words.text, more))]


def _ending_within(room: int, texts: Sequence[Text], able: Capabilities) -> list[Text]:
    """The texts in pieces, at least one, of which the last is no longer than `room`."""
    *before, last = _all_pieces(texts, able) or [Text(text=NO_WORDS)]
    return [*before, *_pieces(last, able, room)]


def _listed(buttons: Iterable[Button]) -> str:
    """The buttons in words, for a platform that has none: ``1. Title``, ``2. Title: https://…``."""
    return _numbered(": ".join(filter(None, (b.title, b.url, b.phone))) for b in buttons)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


# ---------------------------------------------------------------------------------------------
# Lists


def _fit_list(part: ListMenu, able: Capabilities) -> Sequence[AnyPart]:
    sections = tuple(
        ListSection(title=(section.title or "").strip() or None, rows=tuple(map(_complete_row, section.rows)))
        for section in part.sections
        if section.rows
    )
    menu = msgspec.structs.replace(part, sections=sections, button=part.button.strip())
    words = Text(text=part.text, format=part.format)
    rows = [row for section in sections for row in section.rows]
    replies = tuple(QuickReply(title=row.title, payload=row.payload) for row in rows)
    buttons = tuple(Button(title=row.title, payload=row.payload) for row in rows)
    told = _with_more(words, _menu_in_words(menu)) if _says_more(menu) else [words]
    return (
        _shown_as_list(words, menu, able)
        or _introducing(told, lambda last: _shown_as_replies(last, replies, able), able)
        or _introducing(told, lambda last: _shown_as_buttons(last, buttons, able), able)
        or _all_pieces(_with_more(words, _menu_in_words(menu)), able)
    )


def _complete_row(row: ListRow) -> ListRow:
    title = row.title.strip() or NO_WORDS
    description = (row.description or "").strip() or None
    return ListRow(title=title, payload=row.payload or title, description=description)


def _list_of(buttons: tuple[Button, ...]) -> ListMenu | None:
    """The same choice as a list; None if there is a link or a telephone number in it."""
    if not buttons or any(button.url or button.phone for button in buttons):
        return None
    rows = tuple(ListRow(title=button.title, payload=button.payload) for button in buttons)
    return ListMenu(text="", sections=(ListSection(rows=rows),))


def _shown_as_list(words: Text, menu: ListMenu | None, able: Capabilities) -> list[AnyPart]:
    """The words with the list under their last piece; nothing if the platform cannot show it."""
    rows = [row for section in menu.sections for row in section.rows] if menu else []
    if menu is None or not 0 < len(rows) <= able.list_rows or able.list_text < WIDEST[able.text_unit]:
        return []
    sections = tuple(_cut_section(section, able) for section in menu.sections)
    if not all(row.title and _carries(row.payload, able) for section in sections for row in section.rows):
        return []
    texts = _with_more(words, _menu_in_words(menu)) if sections != menu.sections else [words]
    *before, last = _ending_within(able.list_text, texts, able)
    button = _short(menu.button, able.button_title, able)
    return [*before, ListMenu(text=last.text, sections=sections, button=button, format=last.format)]


def _cut_section(section: ListSection, able: Capabilities) -> ListSection:
    return ListSection(
        title=_short(section.title or "", able.list_title, able) or None,
        rows=tuple(
            msgspec.structs.replace(
                row,
                title=_short(row.title, able.list_title, able),
                description=_short(row.description or "", able.list_description, able) or None,
            )
            for row in section.rows
        ),
    )


def _says_more(menu: ListMenu) -> bool:
    """Whether titles alone would leave something of the list unsaid."""
    return any(section.title or any(row.description for row in section.rows) for section in menu.sections)


def _menu_in_words(menu: ListMenu) -> str:
    """The list in words: its sections' titles, its rows numbered through, with what they describe."""
    lines: list[str] = []
    number = 0
    for section in menu.sections:
        lines += [section.title] if section.title else []
        for row in section.rows:
            number += 1
            lines.append(f"{number}. " + ": ".join(filter(None, (row.title, row.description))))
    return "\n".join(lines)


def _introducing(
    texts: Sequence[Text], show: Callable[[Text], list[AnyPart]], able: Capabilities
) -> list[AnyPart]:
    """All of `texts`, with what `show` makes of the last one; nothing if it cannot."""
    *before, last = texts
    shown = show(last)
    return [*_all_pieces(before, able), *shown] if shown else []


# ---------------------------------------------------------------------------------------------
# Carousels


def _fit_carousel(part: Carousel, able: Capabilities) -> Iterator[AnyPart]:
    """Runs of cards that can be shown as carousels, and each other card in its place by itself."""
    run: list[tuple[Card, Card]] = []
    for card in map(_complete_card, part.cards):
        cut = _cut_card(card, able)
        if run and (cut is None or len(run) == able.cards):
            yield from _shown_as_carousel(run, able)
            run = []
        if cut is None:
            yield from _unfolded(card, able)
        else:
            run.append((card, cut))
    if run:
        yield from _shown_as_carousel(run, able)


def _complete_card(card: Card) -> Card:
    return msgspec.structs.replace(
        card,
        title=card.title.strip() or NO_WORDS,
        subtitle=(card.subtitle or "").strip() or None,
        buttons=tuple(map(_complete, card.buttons)),
    )


def _cut_card(card: Card, able: Capabilities) -> Card | None:
    """The card with texts that fit; None if the platform cannot show it as a card."""
    title = _short(card.title, able.card_title, able)
    buttons = _cut_buttons(card.buttons, able.card_buttons, able)
    if able.cards == 0 or not title or len(buttons) < len(card.buttons):
        return None
    subtitle = _short(card.subtitle or "", able.card_subtitle, able) or None
    return msgspec.structs.replace(card, title=title, subtitle=subtitle, buttons=buttons)


def _shown_as_carousel(run: Sequence[tuple[Card, Card]], able: Capabilities) -> Iterator[AnyPart]:
    """One carousel; before it all its words in full if one of them is cut."""
    if any(card != cut for card, cut in run):
        full = Text(text="\n\n".join(_card_in_words(card) for card, _ in run))
        yield from _pieces(full, able)
    yield Carousel(cards=tuple(cut for _, cut in run))


def _card_in_words(card: Card) -> str:
    return _lines(card.title, card.subtitle, *(f"– {button.title}" for button in card.buttons))


def _unfolded(card: Card, able: Capabilities) -> Iterator[AnyPart]:
    """A card as a picture, and as words with its buttons."""
    if card.image_url:
        yield from _fitted(Image(url=card.image_url), able)
    words = Buttons(text=_lines(card.title, card.subtitle, card.url), buttons=card.buttons)
    yield from _fit_buttons(words, able)
