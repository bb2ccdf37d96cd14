from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import parse, to_telegram

from .dialects import Styled, expected, hostile, read_telegram

Entities = list[dict[str, Any]]
NAMES = {"strikethrough": "strike", "blockquote": "quote", "pre": "code"}


def entity(kind: str, offset: int, length: int, **more: str) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


class EntityTests(SynchronousTestCase):
    def test_offsets_are_utf16_units(self) -> None:
        text, entities = to_telegram(parse("👍 **a𝒳** `b`"))
        self.assertEqual(text, "👍 a𝒳 b")
        self.assertEqual(entities, [entity("bold", 3, 3), entity("code", 7, 1)])

    def test_links_code_and_quotes_are_entities(self) -> None:
        url = "https://x.example"
        text, entities = to_telegram(parse(f"[a]({url}) {url}\n\n> b\n>\n> c\n\n```py\nd\n```"))
        self.assertEqual(text, f"a {url}\n\nb\n\nc\n\nd")
        at = len(f"a {url}\n\n")
        quote, code = entity("blockquote", at, 4), entity("pre", at + 6, 1, language="py")
        self.assertEqual(entities, [entity("text_link", 0, 1, url=url), quote, code])

    def test_markup_of_telegram_in_the_text_is_text(self) -> None:
        self.assertEqual(to_telegram(parse("<b>a</b> \\*b\\*")), ("<b>a</b> *b*", []))

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(hostile)
    def test_telegram_reads_what_was_meant(self, text: str) -> None:
        document = parse(text)
        shown, entities = to_telegram(document)
        wanted: Styled = []
        for kind, line in expected(document):
            around = frozenset({kind}) if kind else frozenset()
            inner = kind != "code"
            wanted += [(words, around | (alone(styles) if inner else around)) for words, styles in line]
        read = read_telegram(shown, entities)
        read = [(character, frozenset(NAMES.get(s, s) for s in styles)) for character, styles in read]
        self.assertEqual(visible(read), visible(wanted))

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(hostile)
    def test_entities_are_nested_and_code_stands_alone(self, text: str) -> None:
        _, entities = to_telegram(parse(text))
        spans = [(e["offset"], e["offset"] + e["length"], e["type"]) for e in entities]
        for number, (start, end, kind) in enumerate(spans):
            self.assertLess(start, end)
            for first, last, other in spans[number + 1 :]:
                self.assertTrue(first >= end or (start <= first and last <= end))
                self.assertFalse(first < end and kind in ("code", "pre"))
                self.assertFalse(first < end and kind == other)


def alone(styles: frozenset[str]) -> frozenset[str]:
    return frozenset({"code"}) if "code" in styles else styles


def visible(words: Styled) -> Styled:
    return [(character, styles) for text, styles in words for character in text if not character.isspace()]
