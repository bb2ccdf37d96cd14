"""Markdown that is said while it is written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown.spoken import SpokenStream
from klein_channels.testing.hostile import for_all, st

PIECES = st.lists(
    st.sampled_from(
        [
            *("*", "**", "_", "`", "```", "~~", "[", "](", ")", "!", "<", ">", "&", "amp;", "\\", "|", "#"),
            *(" ", "\n", "\n\n", "- ", "1. ", "h", "https://", "www.", "a.example/x", "word", "é", "İ", "1"),
            *("👍", "👩‍👩‍👧", "1️⃣", "\u200b", "\0", "=", "---\n", "|---|\n"),
        ]
    ),
    max_size=14,
).map("".join) | st.text(max_size=30)


def in_pieces(text: str, size: int = 1) -> str:
    stream = SpokenStream()
    said = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*said, stream.end()])


class SpokenTests(SynchronousTestCase):
    def test_marks_are_not_said(self) -> None:
        for written, said in (
            ("Hello *you*, **all** of ~~them~~ and `code`", "Hello you, all of them and code"),
            ("# Title\nwords", "Title words"),
            ("# Title\nWords\n- one\n- two", "Title. Words. one. two"),
            ("1. first\n2. second", "1. first. 2. second"),
            ("> quoted\n\n---\n\nend", "quoted. end"),
            ("```python\nprint(1)\n```\nDone", "print(1). Done"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b, 1, 2"),
            ("snake_case and 2 * 3 < 7 & more", "snake case and 2 * 3 < 7 & more"),
            ("\\*not\\* &amp; <b>bold</b>", "*not* & bold"),
            ("great 👍👩‍👩‍👧 news 1️⃣", "great news 1"),
        ):
            self.assertEqual(SpokenStream.of(written), said, written)

    def test_of_an_address_the_host_is_said(self) -> None:
        for written, said in (
            ("See https://www.example.com/a_b?c=*d.", "See example.com."),
            ("[our page](https://example.com/x) or <https://x.example/>", "our page or x.example"),
            ("[https://a.example/b](https://a.example/b) www.b.example", "a.example b.example"),
            ("![a cat](https://a.example/c.png)", "a cat"),
        ):
            self.assertEqual(SpokenStream.of(written), said, written)

    def test_plain_letters_go_on_at_once(self) -> None:
        stream = SpokenStream()
        self.assertEqual(
            [stream.feed(piece) for piece in ("Sure", ", I", " ca", "n do")], ["Sure", ", I", " ca", "n do"]
        )

    def test_what_may_be_a_mark_waits_until_it_is_known(self) -> None:
        stream = SpokenStream()
        self.assertEqual(stream.feed("a [li"), "a")
        self.assertEqual(stream.feed("nk](https://x.ex"), "")
        self.assertEqual(stream.feed("ample) b"), " link b")
        self.assertEqual(stream.feed(" ht"), "")
        self.assertEqual(stream.feed("ml"), " html")

    def test_in_whatever_pieces_it_comes_the_words_are_the_same(self) -> None:
        def check(text: str, size: int) -> None:
            self.assertEqual(in_pieces(text, size), SpokenStream.of(text))

        for_all(check, PIECES, st.integers(1, 5), examples=150)

    def test_what_never_ends_is_said_in_the_end(self) -> None:
        stream = SpokenStream()
        said = stream.feed("[" + "x" * 5000)
        self.assertGreater(len(said), 4000)
