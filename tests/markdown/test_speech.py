from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import parse, to_speech, xml_text

from .dialects import hostile, words


def said(text: str) -> str:
    return to_speech(parse(text))


class SpeechTests(SynchronousTestCase):
    def test_lines_end_with_a_pause(self) -> None:
        shown = "Title.\nWell, yes!\nNo.\na.\nb?\n3. c."
        self.assertEqual(said("# Title\nWell, **yes**!\nNo\n- a\n- b?\n\n3. c"), shown)

    def test_rows_are_told_with_their_heads(self) -> None:
        self.assertEqual(said("|City|Sky|\n|-|-|\n|Bonn|grey|"), "City: Bonn, Sky: grey.")

    def test_of_an_address_only_the_host_is_said(self) -> None:
        self.assertEqual(said("https://www.x.example/a?b"), "x.example.")
        self.assertEqual(said("[here](https://x.example) <tel:+49> https://[x"), "here +49 https://[x.")

    def test_emoji_are_dropped_unless_there_is_nothing_else(self) -> None:
        self.assertEqual(said("Fine 👍🏽 👨‍👩‍👧‍👦 1️⃣ 20 °C ❶"), "Fine 1 20 °C ❶.")
        self.assertEqual(said("👍"), "thumbs up sign.")
        self.assertEqual(said("—"), "")

    @settings(deadline=None, derandomize=True)
    @given(hostile)
    def test_no_control_character_is_said(self, text: str) -> None:
        unsaid = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
        self.assertNotRegex(said(text), unsaid)

    @settings(deadline=None, derandomize=True)
    @given(
        st.lists(st.sampled_from(["w", "*a*", "- b", "`c`", "> d", "\n", "\n\n", "**", "# "]), max_size=20)
    )
    def test_all_words_are_said(self, pieces: list[str]) -> None:
        text = " ".join(pieces)
        self.assertEqual(words(said(text)), words(text))


class XmlTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True)
    @given(hostile | st.text() | st.text(st.sampled_from("<>&'\"\r\n\t\x00\x0b\ufffe\uffff\ud800]!-")))
    def test_xml_reads_what_was_written(self, text: str) -> None:
        element = ElementTree.fromstring(f"<say as='{xml_text(text)}'>{xml_text(text)}</say>")
        allowed = "".join(filter(is_allowed, text))
        self.assertEqual(element.text or "", allowed)
        self.assertEqual(list(element), [])


def is_allowed(character: str) -> bool:
    """Whether it is a `Char` of XML 1.0."""
    code = ord(character)
    return code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
