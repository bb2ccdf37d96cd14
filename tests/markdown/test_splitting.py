"""Long Markdown in pieces: each is whole, each fits as it is sent, and together they are all there is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import Dialect, parse, render, split_markdown
from klein_channels.markdown.cutting import cut, has_letters
from klein_channels.markdown.document import Document
from klein_channels.markdown.layout import lay_out
from klein_channels.markdown.source import to_markdown
from klein_channels.markdown.telegram import MOST_ENTITIES
from klein_channels.text import Unit, clusters, measure

from .dialects import hostile

UNITS: dict[Dialect, Unit] = {
    "telegram": "utf16",
    "slack": "characters",
    "whatsapp": "characters",
    "plain": "bytes",
    "speech": "characters",
}
long_hostile = st.lists(hostile, min_size=2, max_size=4).map("\n".join)
SANE = st.lists(
    st.sampled_from(
        [
            "# A title",
            "Words with **some bold words**, _slanted ones_ and `code`.",
            "**" + "bold " * 12 + "end**",
            "- one\n- two **bold**\n  1. three\n  2. four\n- five",
            "7. seven\n8. eight and [a link to somewhere](https://x.example/a_b?c=1&d=2) in it",
            "> said _somebody_\n> else",
            "```py\ndef f(a):\n    return {'a': `a`}\n\n\nf(1)\n```",
            "````\n```\nfence in a fence\n```\n````",
            "| a | b |\n|---|--:|\n| 1 | 2 |\n| **x** | `y` |",
            "| name | what there is to say of it |\n|---|---|\n| one | " + "long words " * 6 + "|",
            "https://x.example/a/b_c?d=e&f=g and <https://y.example>",
            "a ~~struck~~ word, a \\*star\\*, 1 < 2 & 3 > 2",
            "***",
            "👨‍👩‍👧‍👦" * 9,
        ]
    ),
    min_size=1,
    max_size=8,
).map("\n\n".join)


def letters(text: str) -> str:
    """What is visible of a Markdown text."""
    lines = lay_out(parse(text), links="kept")
    return "".join("".join(run.text for line in lines for run in line.runs if not run.ours).split())


def looks(text: str) -> list[tuple[object, ...]]:
    """Each visible letter and how it looks."""
    return [
        (letter, run[1:6], line.quotes, line.code)
        for line in lay_out(parse(text), links="kept")
        for run in line.runs
        if not run.ours
        for letter in run.text
        if not letter.isspace()
    ]


class PieceTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(long_hostile, st.sampled_from(sorted(UNITS)), st.integers(40, 120))
    def test_whatever_is_written_each_piece_fits_as_it_is_sent(
        self, text: str, dialect: Dialect, limit: int
    ) -> None:
        for piece in split_markdown(text, limit, UNITS[dialect], (dialect,)):
            shown = render(piece, dialect)
            self.assertLessEqual(measure(shown.text, UNITS[dialect]), limit, piece)
            self.assertLessEqual(len(shown.entities), MOST_ENTITIES)

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(long_hostile, st.integers(40, 120))
    def test_nothing_is_lost_and_nothing_changes_places(self, text: str, limit: int) -> None:
        pieces = split_markdown(text, limit, "utf16", ("telegram",))
        whole, found = letters(text), iter("".join(map(letters, pieces)))
        # An address that had to be spelled out may come on top.
        self.assertTrue(not whole or all(letter in found for letter in whole), (text, pieces))

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(SANE, st.integers(60, 300), st.sampled_from(["telegram", "slack", "whatsapp"]))
    def test_what_is_open_at_a_cut_is_open_again_behind_it(
        self, text: str, limit: int, dialect: Dialect
    ) -> None:
        pieces = split_markdown(text, limit, UNITS[dialect], (dialect,))
        self.assertEqual([look for piece in pieces for look in looks(piece)], looks(text))

    @settings(deadline=None, derandomize=True, max_examples=25)
    @given(SANE, st.integers(60, 300))
    def test_no_letter_is_cut(self, text: str, limit: int) -> None:
        pieces = split_markdown(text, limit, "utf16", ("telegram",))
        joined = [c for piece in pieces for c in clusters(letters(piece))]
        self.assertEqual(joined, list(clusters(letters(text))))

    def test_a_text_that_fits_stays_as_it_was_written(self) -> None:
        for text in ("*a*  b", "- x\n- y", "```\na", "| a |\n|---|"):
            self.assertEqual(split_markdown(text, 100, "characters", ("slack",)), [text])

    def test_what_counts_is_what_is_sent_and_not_what_is_written(self) -> None:
        amps = "&" * 30
        self.assertEqual(len(split_markdown(amps, 100, "characters", ("telegram",))), 1)
        self.assertGreater(len(split_markdown(amps, 100, "characters", ("slack",))), 1)
        link = "[a](https://x.example/" + "b" * 90 + ")"
        self.assertEqual(split_markdown(link, 50, "utf16", ("telegram",)), [link])

    def test_a_piece_fits_in_each_dialect_of_a_channel(self) -> None:
        text = "[word](https://x.example) " * 20
        for piece in split_markdown(text, 160, "characters", ("plain", "telegram")):
            self.assertLessEqual(len(render(piece, "plain").text), 160)

    def test_telegram_gets_no_more_entities_than_it_shows(self) -> None:
        pieces = split_markdown("**a** b " * 150, 4096, "utf16", ("telegram",))
        self.assertEqual([len(render(piece, "telegram").entities) for piece in pieces], [100, 50])

    def test_code_is_cut_between_lines_and_keeps_its_fence_and_indent(self) -> None:
        lines = [f"    line {number}" for number in range(8)]
        pieces = split_markdown("```py\n" + "\n".join(lines) + "\n```", 30, "utf16", ("telegram",))
        shown = [render(piece, "telegram") for piece in pieces]
        self.assertEqual("\n".join(one.text for one in shown).split("\n"), lines)
        self.assertEqual({one.entities[0]["language"] for one in shown}, {"py"})
        self.assertTrue(all(piece.startswith("```py\n") and piece.endswith("\n```") for piece in pieces))

    def test_numbers_of_a_list_go_on(self) -> None:
        pieces = split_markdown("\n".join(f"{n}. item {n}" for n in range(3, 9)), 30, "utf16", ("plain",))
        self.assertEqual(
            "\n".join(render(piece, "plain").text for piece in pieces).split("\n"),
            [f"{n}. item {n}" for n in range(3, 9)],
        )

    def test_a_title_is_not_left_behind(self) -> None:
        pieces = split_markdown("words " * 10 + "\n\n# Title\n\n" + "more " * 12, 80, "utf16", ("plain",))
        self.assertEqual([piece.startswith("# Title") for piece in pieces], [False, True])

    def test_a_link_is_kept_whole_where_it_can_be(self) -> None:
        text = "word " * 8 + "[a link of five words](https://x.example) word word"
        first, second = split_markdown(text, 50, "utf16", ("telegram",))
        self.assertNotIn("](", first)
        self.assertIn("[a link of five words](<https://x.example>)", second)

    def test_marks_that_show_nothing_are_shown(self) -> None:
        pieces = split_markdown("~~~~ " + "words " * 40, 60, "characters", ("slack",))
        self.assertEqual("".join(map(letters, pieces)), "~~~~" + "words" * 40)
        self.assertEqual(split_markdown(" \n", 60, "characters", ("slack",)), [])

    def test_without_a_dialect_the_markdown_itself_is_measured(self) -> None:
        for piece in split_markdown("**bold words** and `code` " * 20, 90, "bytes"):
            self.assertLessEqual(len(piece.encode()), 90)


class SourceTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(SANE)
    def test_a_document_written_as_markdown_is_read_as_the_same(self, text: str) -> None:
        document = parse(text)
        again = parse(to_markdown(document))
        self.assertEqual(lay_out(again, links="spelled"), lay_out(document, links="spelled"))

    def test_what_stands_for_itself_is_kept_from_being_markup(self) -> None:
        for text in ("\\# a", "1\\. a", "\\- a", "a \\*b\\*", "\\<https://x.example>", "a!\\[b](c)"):
            written = to_markdown(parse(text))
            self.assertEqual(parse(written), parse(text), written)

    def test_lists_that_follow_each_other_stay_two(self) -> None:
        document = parse("- a\n- b\n\n* c\n\n1. d\n\n1) e")
        self.assertEqual(len(document.children), 4)
        self.assertEqual(parse(to_markdown(document)), document)


class CutTests(SynchronousTestCase):
    def test_where_not_even_one_letter_fits_it_still_ends(self) -> None:
        document = parse("> - **a** b\n\n***\n\n| c |\n|---|\n\n```\nx\n```")
        pieces = cut(document, lambda piece: False)
        self.assertEqual("".join(letters(to_markdown(piece)) for piece in pieces), "ab———cx")
        self.assertEqual(cut(Document(), lambda piece: False), [])

    def test_of_a_long_text_little_is_looked_at_again_and_again(self) -> None:
        for text in ("word **b** " * 800, "w" * 8000, "- a\n" * 1600, "```\n" + "line\n" * 1600):
            seen = 0

            def fits(piece: Document) -> bool:
                nonlocal seen
                if has_letters(piece, 400):
                    return False
                size = len(to_markdown(piece))
                seen += size
                return size <= 400

            self.assertGreater(len(cut(parse(text), fits)), 15)
            self.assertLess(seen, 25 * len(text))
