from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import as_written, parse, to_plain, to_whatsapp

from .dialects import hostile, read_marks, seen


def whatsapp(text: str) -> str:
    return to_whatsapp(parse(text))


class WhatsAppTests(SynchronousTestCase):
    def test_markup_becomes_whatsapps(self) -> None:
        self.assertEqual(whatsapp("# a\n**b *c*** ~~d~~ `e`"), "*a*\n\n*b _c_* ~d~ `e`")
        self.assertEqual(whatsapp("[a](https://x.example) b"), "a (https://x.example) b")
        self.assertEqual(whatsapp("> a\n\n- b\n\n1. c\n\n```\nd\n```"), "> a\n\n- b\n\n1. c\n\n```\nd\n```")

    def test_a_style_within_a_word_is_left_out(self) -> None:
        self.assertEqual(whatsapp("un**believ**able **a*b*** c"), "unbelievable *ab* c")

    def test_addresses_stay_whole(self) -> None:
        self.assertEqual(whatsapp("https://x.example/a_b"), "https://x.example/a_b")
        self.assertEqual(whatsapp("[a](https://x.example/_b_*c*)"), "a (https://x.example/%5Fb%5F%2Ac%2A)")

    def test_signs_at_the_beginning_of_a_line_begin_nothing(self) -> None:
        for text in ("- a", "* a", "> a", "1. a", "12) a"):
            self.assertEqual(seen(to_whatsapp(as_written(text))), text)
            self.assertNotRegex(to_whatsapp(as_written(text)), r"^(?:[-*>]|\d)")
        self.assertEqual(whatsapp("-5 or 1.5"), "-5 or 1.5")

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(hostile)
    def test_a_text_is_read_as_it_was_written(self, text: str) -> None:
        document = as_written(text)
        styled = [word for line in to_whatsapp(document).split("\n") for word in read_marks(line)]
        self.assertEqual({styles for _, styles in styled} - {frozenset()}, set())
        shown = "\n".join(line.rstrip() for line in to_whatsapp(document).split("\n"))
        self.assertEqual(unquote(seen(shown)), unquote(seen(to_plain(document))))
