"""Nothing that is said mentions everyone or becomes markup: rendered, cut, unfinished, and read back."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import render, split_markdown, xml_text

from .dialects import hostile, read_slack, read_telegram, words

SLACK_LINK = re.compile(r"<(?:https?://|mailto:|tel:)[^<>|]*(?:\|[^<>]*)?>")
EVERYONE = re.compile(r"@(?:channel|here|everyone|group)\b", re.IGNORECASE)
forms = st.tuples(hostile, st.booleans(), st.sampled_from(["plain", "markdown"]))


class SafetyTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(forms)
    def test_slack_is_told_to_call_nobody(self, form: tuple[str, bool, str]) -> None:
        text, partial, format = form
        shown = render(text, "slack", format, partial=partial).text  # type: ignore[arg-type]
        rest = SLACK_LINK.sub("", shown)
        self.assertNotIn("<", rest)
        self.assertIsNone(EVERYONE.search(SLACK_LINK.sub("", shown)), shown)
        read_slack(shown)  # fails for whatever Slack would obey

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(hostile, st.integers(40, 90))
    def test_nor_is_it_by_a_piece(self, text: str, limit: int) -> None:
        for piece in split_markdown(text, limit, "characters", ("slack",)):
            shown = render(piece, "slack").text
            self.assertNotIn("<", SLACK_LINK.sub("", shown))
            self.assertIsNone(EVERYONE.search(SLACK_LINK.sub("", shown)), shown)

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(forms)
    def test_telegrams_entities_lie_within_the_text_and_lead_where_links_may(
        self, form: tuple[str, bool, str]
    ) -> None:
        text, partial, format = form
        shown = render(text, "telegram", format, partial=partial)  # type: ignore[arg-type]
        read_telegram(shown.text, list(shown.entities))  # fails where one begins or ends outside
        for entity in shown.entities:
            self.assertIn(entity["type"], ALLOWED)
            self.assertRegex(entity.get("url", "https://"), "(?i)^(https?://|mailto:|tel:)")

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(forms)
    def test_xml_holds_it_as_words(self, form: tuple[str, bool, str]) -> None:
        text, partial, format = form
        said = render(text, "speech", format, partial=partial).text  # type: ignore[arg-type]
        for inside in (said, text):
            document = ET.fromstring(f'<Say a="{xml_text(inside)}">{xml_text(inside)}</Say>')
            self.assertEqual((len(document), document.tag), (0, "Say"))
            self.assertEqual(words(document.text or ""), words(xml_text_kept(inside)))


ALLOWED = {"bold", "italic", "strikethrough", "code", "pre", "text_link", "blockquote"}


def xml_text_kept(text: str) -> str:
    """What XML can hold of a text."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
