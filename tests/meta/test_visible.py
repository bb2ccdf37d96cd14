"""What people see of a message: every word of it, in its order, within the platform's limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels import facebook, instagram
from klein_channels.fit import fit
from klein_channels.meta.sends import INSTAGRAM, MESSENGER
from klein_channels.model import Address, Buttons, Carousel, Message, Outgoing, QuickReplies, Text
from klein_channels.testing.hostile import WORDS, for_all, parts, st

PLATFORMS = ((facebook.CAPABILITIES, MESSENGER), (instagram.CAPABILITIES, INSTAGRAM))
ADDRESS = Address(channel="x", account="1", peer="2")
SHOWN = frozenset({"text", "title", "subtitle"})
"""Keys of a body whose texts people see."""


def seen(body: Any) -> Iterator[str]:
    """The words that a body shows, in their order."""
    if isinstance(body, dict):
        for key, value in body.items():
            if key in SHOWN and isinstance(value, str):
                yield value
            else:
                yield from seen(value)
    elif isinstance(body, list):
        for item in body:
            yield from seen(item)


def said(message: Message) -> Iterator[str]:
    """The words that have to be seen, part by part: a text before what is under it."""
    for part in message.parts:
        match part:
            case Text(text=text):
                yield text
            case Buttons(text=text, buttons=buttons):
                yield text
                yield from (button.title for button in buttons)
            case QuickReplies(text=text, replies=replies):
                yield text
                yield from (reply.title for reply in replies if not reply.ask)
            case Carousel(cards=cards):
                for card in cards:
                    yield from (card.title, card.subtitle or "", *(button.title for button in card.buttons))


class VisibleTests(SynchronousTestCase):
    def check(self, message: Message) -> None:
        for capabilities, format in PLATFORMS:
            shown = []
            for part in fit(message, capabilities):
                body = format.send_body(Outgoing(id="o1", address=ADDRESS, part=part, cause="m"))
                problem = format.rules.problem(body, "")
                self.assertIsNone(problem, f"{format.platform}: {part}")
                shown += list(seen(body))
            self.in_order(message, "".join("".join(shown).split()), format.platform)

    def in_order(self, message: Message, everything: str, platform: str) -> None:
        at = 0
        for words in said(message):
            for word in words.split():
                found = everything.find(word, at)
                self.assertGreaterEqual(found, 0, f"{platform}: {word!r}, {at}: {everything!r}")
                at = found + len(word)

    def test_no_word_is_lost_or_moved_and_no_limit_broken(self) -> None:
        plain = parts(WORDS).filter(lambda part: getattr(part, "format", "plain") == "plain")
        for_all(self.check, st.lists(plain, min_size=1, max_size=3).map(message), examples=30)


def message(parts: list[Any]) -> Message:
    return Message(parts=tuple(parts))
