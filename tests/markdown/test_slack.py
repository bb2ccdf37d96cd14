from __future__ import annotations

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import as_written, parse, to_mrkdwn
from klein_channels.markdown.document import Document, Emphasis, Paragraph, Strong, Text

from .dialects import Styled, expected, hostile, merged, read_slack, seen

COMMANDS = ("<!channel>", "<!here|x>", "<@U1>", "<#C1>", "&lt;!everyone&gt;", "<!date^1^{date}|x>")


def slack(text: str) -> str:
    return to_mrkdwn(parse(text))


class MrkdwnTests(SynchronousTestCase):
    def test_markup_becomes_slacks(self) -> None:
        self.assertEqual(slack("# a\n**b *c*** ~~d~~ `e`"), "*a*\n\n*b _c_* ~d~ `e`")
        self.assertEqual(slack("[a *b*](https://x.example/?c&d)"), "<https://x.example/?c&amp;d|a b>")
        self.assertEqual(
            slack("*[a](https://x.example)* https://y.example."),
            "_<https://x.example|a>_ <https://y.example>.",
        )
        self.assertEqual(slack("> a\n>\n> b\n\n```py\n<c>\n```"), "> a\n>\n> b\n\n```\n&lt;c&gt;\n```")
        self.assertEqual(slack("- a\n  1. b\n- c"), "• a\n  1. b\n• c")
        self.assertEqual(slack("|a|b|\n|-|-|\n|cc|d|"), "```\na   b\ncc  d\n```")

    def test_styles_within_a_word_get_borders(self) -> None:
        self.assertEqual(slack("un**believ**able"), "un\u200b*believ*\u200bable")

    def test_space_gets_no_marks(self) -> None:
        words = Strong((Text(" "),)), Text("a"), Emphasis((Text(" b "),)), Text("c")
        self.assertEqual(to_mrkdwn(Document((Paragraph(words),))), " a _b_ c")

    def test_a_wide_table_is_told_row_by_row(self) -> None:
        head, row = "a" * 30, "b" * 30
        shown = f"*{head}:* {row}\n*c:* <https://x.example|d>"
        self.assertEqual(slack(f"|{head}|c|\n|-|-|\n|{row}|[d](https://x.example)|"), shown)

    def test_nobody_is_mentioned(self) -> None:
        for text in (*COMMANDS, "`<@U1>`", "```\n<!here>\n```", "[<!here>](https://x.example)"):
            for document in (parse(text), as_written(text)):
                self.assertNotRegex(to_mrkdwn(document), "<[^h]")
        for text in ("@channel", "@HERE", "`@everyone`", "```\n@here\n```"):
            self.assertNotRegex(slack(text).lower(), "@(channel|here|everyone)")
        self.assertEqual(slack("me@hereford.example"), "me@hereford.example")

    def test_literal_marks_are_no_markup(self) -> None:
        self.assertEqual(slack("snake_case 2 * 3"), "snake_case 2 * 3")
        for text in (r"\*a\*", r"\_a\_", "~a~", r"\`a\`", "``a`b``", "```\na\n ```b```\n```"):
            shown = slack(text).removeprefix("```").removesuffix("```")
            self.assertNotRegex(shown.strip("`"), r"[*_~`]\S+[*_~`]", text)
        self.assertFalse(slack(r"\> a").startswith(("&gt;", ">")))


class ReadBackTests(SynchronousTestCase):
    def assert_read_back(self, document: Document) -> None:
        read, want = as_seen(read_slack(to_mrkdwn(document))), as_seen(expected(document))
        self.assertEqual([(k, plain(line)) for k, line in read], [(k, plain(line)) for k, line in want])
        for (kind, line), (_, wanted) in zip(read, want, strict=True):
            if kind != "code" and not any("http" in style for _, styles in wanted for style in styles):
                self.assertEqual(trimmed(line), trimmed(wanted))

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(hostile)
    def test_slack_reads_what_was_meant(self, text: str) -> None:
        self.assert_read_back(parse(text))

    @settings(deadline=None, derandomize=True)
    @given(hostile)
    def test_slack_reads_a_text_as_it_was_written(self, text: str) -> None:
        self.assert_read_back(as_written(text))


def as_seen(lines: list[tuple[str, Styled]]) -> list[tuple[str, Styled]]:
    return [(kind, [(seen(text), styles) for text, styles in line]) for kind, line in lines]


def plain(line: Styled) -> str:
    return "".join(text for text, _ in line).rstrip()


def trimmed(line: Styled) -> Styled:
    """Without space at the end, which Slack does not show."""
    words = merged(line)
    while words and not words[-1][0].strip():
        words.pop()
    return [*words[:-1], (words[-1][0].rstrip(), words[-1][1])] if words else []
