"""
Makes the blocks in which Slack shows what is more than words.

Limits that `fit` does not know are kept here: of a section's text and of a message's blocks. Sizes:
Slack, "Block Kit reference" (docs.slack.dev, read November 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from ..markdown import split_markdown
from ..model import Button, Card, Image
from ..text import shorten, split
from .interactions import LINK
from .words import Format, escape, is_address, link, render_with_links

Block: TypeAlias = dict[str, Any]
SECTION_TEXT = 3000
ROW = 25
TITLE = 75
VALUE = 2000
URL = 3000
ALT_TEXT = 2000
MAX_BLOCKS = 50
REPLY = "reply:"
_WORST_ESCAPE = 5  # "&" becomes "&amp;"
_NO_WORDS = "…"
_PICTURE = "image"


def sections(text: str, format: Format = "plain") -> list[Block]:
    """The words as sections, as many as they need."""
    return [_section(piece) for piece in _section_texts(text, format)]


def button_blocks(buttons: Iterable[Button], first: int = 0) -> list[Block]:
    """Rows of buttons, numbered from `first` on; a telephone number is a button's link."""
    elements = [_element(button, number) for number, button in enumerate(buttons, first)]
    return [
        {"type": "actions", "elements": elements[start : start + ROW]}
        for start in range(0, len(elements), ROW)
    ]


def image_block(image: Image) -> Block | None:
    """The picture; None where Slack could not fetch it, being no web address or too long a one."""
    if not image.url.lower().startswith(("https://", "http://")) or len(image.url) > URL:
        return None
    words = shorten(image.alt or "", ALT_TEXT, "characters") or _PICTURE
    return {"type": "image", "image_url": image.url, "alt_text": words}


def card_blocks(cards: Sequence[Card]) -> list[Block]:
    """The cards one under the other, with lines between them."""
    blocks: list[Block] = []
    buttons = 0
    for card in cards:
        blocks += [{"type": "divider"}] if blocks else []
        blocks += _card(card)
        blocks += button_blocks(card.buttons, buttons)
        buttons += len(card.buttons)
    return blocks


def checked(blocks: list[Block]) -> list[Block]:
    """`blocks` if a message may have as many; ValueError otherwise."""
    if len(blocks) > MAX_BLOCKS:
        raise ValueError(f"{len(blocks)} blocks; Slack shows {MAX_BLOCKS} in a message")
    return blocks


def _section(text: str) -> Block:
    # Verbatim: names of channels and people in plain words stay plain words.
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _section_texts(text: str, format: Format) -> Iterator[str]:
    if format == "markdown":
        pieces = split_markdown(text, SECTION_TEXT, "characters", ("slack",))
        yield from (render_with_links(piece, format) for piece in pieces)
        return
    for piece in split(text, SECTION_TEXT, "characters"):
        shown = render_with_links(piece, format)
        if len(shown) <= SECTION_TEXT:
            yield shown
        else:
            yield from (escape(part) for part in split(piece, SECTION_TEXT // _WORST_ESCAPE, "characters"))


def _element(button: Button, number: int) -> dict[str, Any]:
    title = shorten(button.title.strip() or _NO_WORDS, TITLE, "characters")
    element: dict[str, Any] = {
        "type": "button",
        "action_id": f"{REPLY}{number}",
        "text": {"type": "plain_text", "text": title, "emoji": True},
    }
    target = button.url or (f"tel:{button.phone}" if button.phone else None)
    if target is not None:
        if not is_address(target) or len(target) > URL:
            raise ValueError("a button's address must be one of the web, and not longer than 3000 characters")
        return {**element, "action_id": f"{LINK}{number}", "url": target}
    value = button.payload or button.title or _NO_WORDS
    if len(value) > VALUE:
        raise ValueError(f"a button's payload has {len(value)} characters; Slack takes {VALUE}")
    return {**element, "value": value}


def _card(card: Card) -> list[Block]:
    title = link(card.url, card.title) if card.url and len(card.url) < 500 else escape(card.title)
    lines = [f"*{title}*" if card.title.strip() else title, escape(card.subtitle or "")]
    if card.url and len(card.url) >= 500:
        lines.append(link(card.url))
    text = "\n".join(line for line in lines if line) or _NO_WORDS
    made = [_section(text)] if len(text) <= SECTION_TEXT else sections(f"{card.title}\n{card.subtitle or ''}")
    picture = image_block(Image(url=card.image_url, alt=card.title)) if card.image_url else None
    if picture is not None:
        made[0]["accessory"] = picture
    return made
