from __future__ import annotations

import re
import sys
import time
from types import ModuleType
from unittest.mock import patch
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from klein_channels import markdown
from klein_channels.errors import ConfigError
from klein_channels.markdown import as_written, commonmark, parse, render, rendering, to_plain
from klein_channels.markdown.document import (
    Code,
    CodeBlock,
    Document,
    Emphasis,
    Heading,
    Image,
    LineBreak,
    Link,
    ListBlock,
    Paragraph,
    Quote,
    Rule,
    Strike,
    Strong,
    Table,
    Text,
    is_safe,
)
from klein_channels.markdown.layout import lay_out
from klein_channels.text import clean

from .dialects import hostile, read_slack, words

COSTLY = ("[", ">", "*", "*a ", "_a", "`", "``a`", "[a](", "<", "|", "- ", "a|b\n-|-\n", "![[]()", "\\", "&")
DIALECTS: tuple[markdown.Dialect, ...] = ("plain", "slack", "telegram", "whatsapp", "speech")


class TreeTests(SynchronousTestCase):
    def assert_reads(self, text: str, *blocks: object) -> None:
        self.assertEqual(parse(text), Document(blocks))  # type: ignore[arg-type]

    def test_styles_are_read(self) -> None:
        self.assert_reads(
            "**a *b*** ~~c~~ `d*`\ne",
            Paragraph(
                (
                    Strong((Text("a "), Emphasis((Text("b"),)))),
                    *(Text(" "), Strike((Text("c"),)), Text(" "), Code("d*"), LineBreak(), Text("e")),
                )
            ),
        )

    def test_blocks_are_read(self) -> None:
        self.assert_reads("## a\n\n---", Heading(2, (Text("a"),)), Rule())
        self.assert_reads("```py x\na\n\n b\n```", CodeBlock("a\n\n b", "py"))
        self.assert_reads("> a", Quote((Paragraph((Text("a"),)),)))
        one, two = (Paragraph((Text("a"),)),), (Paragraph((Text("b"),)),)
        self.assert_reads("3. a\n4. b", ListBlock((one, two), 3))
        self.assert_reads("- a\n\n- b", ListBlock((one, two), None, tight=False))

    def test_tables_are_read(self) -> None:
        a, b, c = ((Text(letter),) for letter in "abc")
        self.assert_reads("| a | b |\n|:-:|--:|\n| c |", Table((a, b), ((c, ()),), ("center", "right")))

    def test_links_are_read(self) -> None:
        url = "https://x.example/a_(b)?c=1"
        bare = Link(url, (Text(url),))
        self.assert_reads(f"<{url}>", Paragraph((bare,)))
        self.assert_reads(f"({url}).", Paragraph((Text("("), bare, Text(")."))))
        for address in ("https://x.example/_a_*b*~~c~~?d=__e__f", "http://x.example:80/a_b(c)/"):
            link = Link(address, (Text(address),))
            self.assert_reads(f"**{address}**", Paragraph((Strong((link,)),)))
            self.assert_reads(f"[{address}]", Paragraph((Text("["), link, Text("]"))))
            self.assert_reads(
                f"[{address}](https://y.example)", Paragraph((Link("https://y.example", (Text(address),)),))
            )
        self.assert_reads(f"[a]({url} 'b')", Paragraph((Link(url, (Text("a"),)),)))
        self.assert_reads(f"![a *b*]({url})", Paragraph((Image(url, "a b"),)))
        self.assert_reads(f"[a]\n\n[a]: {url}", Paragraph((Link(url, (Text("a"),)),)))

    def test_what_leads_elsewhere_is_no_link(self) -> None:
        bad = (
            "javascript:alert(1)",
            "data:text/html,x",
            "slack://x",
            "/relative",
            "//host",
            "https:///x",
            "tg://user?id=1",
        )
        for url in bad:
            self.assertFalse(is_safe(url), url)
            self.assert_reads(f"[a]({url})", Paragraph((Text(f"[a]({url})"),)))
            self.assertRaises(ValueError, Link, url, (Text("a"),))
        for url in ("https://a|b", "https://a b", "https://a>b", "https://a\nb", "https://a\x85b"):
            self.assertFalse(is_safe(url), url)

    def test_html_is_text(self) -> None:
        self.assert_reads("<b>a</b> <!-- c -->", Paragraph((Text("<b>a</b> <!-- c -->"),)))
        self.assert_reads("<script>\na", Paragraph((Text("<script>"), LineBreak(), Text("a"))))

    def test_control_characters_are_gone(self) -> None:
        self.assert_reads("a\x1b[1m&#10;b\u2028c\0", Paragraph((Text("a[1m b c"),)))
        self.assert_reads("```\na\x08\x85b\tc\n```", CodeBlock("a b c"))


class NothingIsLostTests(SynchronousTestCase):
    def assert_says(self, text: str, *parts: str) -> None:
        plain = to_plain(parse(text))
        for part in parts:
            self.assertIn(part, plain)

    def test_cells_without_a_column_stay(self) -> None:
        self.assert_says("| a |\n|---|\n| b | c \\| d | e |", "b | c | d | e")

    def test_definitions_that_nothing_refers_to_stay(self) -> None:
        self.assert_says(
            "[Alice]: hello\n\n[1]: https://x.example\n\n- [2]: https://y.example 'z'", "[Alice]: hello"
        )
        self.assert_says("[1]: https://x.example", "[1]: https://x.example")
        self.assert_says("[1]: https://x.example\n[1]: https://y.example", "y.example")
        self.assert_says("[1]: https://x.example 'z'", "'z'")
        self.assertEqual(to_plain(parse("[a][1]\n\n[1]: https://x.example")), "a (https://x.example)")

    def test_what_lies_too_deep_stays(self) -> None:
        self.assert_says(">" * 50 + " a", "a")
        self.assert_says(
            "\n".join("  " * n + f"- item{n}" for n in range(60)), *(f"item{n}" for n in range(60))
        )
        self.assert_says("*a _b " * 50 + "c" + "_ d*" * 50, "c")

    def test_the_end_after_something_too_deep_stays(self) -> None:
        deep = "\n".join("  " * n + "- a" for n in range(30))
        self.assert_says(f"{deep}\n- last\n\nend", "• last", "\nend")

    @settings(deadline=None, derandomize=True)
    @given(hostile)
    def test_all_dialects_say_the_words_of_the_plain_text(self, text: str) -> None:
        document = parse(text)
        plain = words(to_plain(document))
        linked = words(markdown.to_telegram(document)[0])
        slack = ["".join(text for text, _ in line) for _, line in read_slack(markdown.to_mrkdwn(document))]
        self.assertEqual(words("\n".join(slack)), linked)
        self.assertEqual(words(unquote(markdown.to_whatsapp(document))), words(unquote(to_plain(document))))
        # Those that know links leave addresses out, and nothing else.
        rest = iter(plain)
        self.assertTrue(all(word in rest for word in linked))
        runs = [run for line in lay_out(document, links="kept") for run in line.runs]
        addresses = words(" ".join(run.link or "" for run in runs))
        self.assertLessEqual(set(plain) - set(linked), set(addresses))

    @settings(deadline=None, derandomize=True)
    @given(hostile)
    def test_plain_text_is_shown_as_it_is(self, text: str) -> None:
        self.assertEqual(words(to_plain(as_written(text))), words(text))


class HostileTests(SynchronousTestCase):
    def test_long_runs_of_markup_take_linear_time(self) -> None:
        for piece in COSTLY:
            for partial in (False, True):
                spent = [self.time_for((piece * n)[:n], partial=partial) for n in (5_000, 40_000)]
                # Eight times the text: a quadratic way would take some sixty times as long.
                self.assertLess(spent[1], 24 * spent[0] + 0.2, f"{piece!r} {spent}")

    def time_for(self, text: str, *, partial: bool) -> float:
        before = time.process_time()
        render(text, "slack", partial=partial)
        return time.process_time() - before

    def test_pictures_within_pictures_end(self) -> None:
        for partial in (False, True):
            render("![" * 500 + "a" + "](https://x.example)" * 500, "slack", partial=partial)

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(hostile)
    def test_nothing_raises(self, text: str) -> None:
        for dialect in DIALECTS:
            for cut in range(0, len(text) + 1, 3):
                render(text[:cut], dialect, partial=True)
            render(text, dialect)
            render(text, dialect, "plain")


class ShortWayTests(SynchronousTestCase):
    """Texts without a sign of Markdown's are read without the library, and are the same."""

    WORDS = st.lists(
        st.sampled_from(
            [
                *(
                    "word",
                    "é",
                    "12",
                    "1.",
                    "3)",
                    "-",
                    "=",
                    ": a",
                    "!",
                    "...",
                    " ",
                    "\n",
                    "\n\n",
                    "👍🏽",
                    "(a)",
                ),
                *("'q'", '"q"', "a@b.c", "50%", "a/b", "{x}", "$", "^", "+", "http:", "www.a.b"),
            ]
        )
        | st.characters(),
        max_size=12,
    ).map("".join)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(WORDS)
    def test_it_leads_to_the_same_document(self, text: str) -> None:
        text = clean(text)
        short = commonmark.read(text, partial=False)
        with patch.object(commonmark, "_MAY_BE_MORE_THAN_WORDS", re.compile("")):
            self.assertEqual(short, commonmark.read(text, partial=False), repr(text))

    def test_it_is_taken(self) -> None:
        self.assertIsNone(commonmark._MAY_BE_MORE_THAN_WORDS.search("Yes, it is (see p. 3)!\n\nMore: 50%."))


class WithoutTheExtraTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours = [f"{markdown.__name__}.{name}" for name in ("commonmark", "unfinished", "inlines")]
        for name in [*ours, "markdown_it"]:
            self.addCleanup(self._restore, name, sys.modules.pop(name, None))
        sys.modules["markdown_it"] = None  # type: ignore[assignment]
        rendering._warn_once.cache_clear()
        rendering.forget()
        self.addCleanup(rendering.forget)
        self.addCleanup(rendering._warn_once.cache_clear)

    def _restore(self, name: str, module: ModuleType | None) -> None:
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module

    def test_it_is_asked_for_in_one_line(self) -> None:
        error = self.assertRaises(ConfigError, parse, "a")
        self.assertIn("klein_channels[markdown]", str(error))

    def test_the_text_goes_out_as_written_and_the_log_says_so_once(self) -> None:
        with capturedLogs() as logged:
            self.assertEqual(render("**a** <!here>\n- b", "plain").text, "**a** <!here>\n- b")
            self.assertNotIn("<!here", render("**a** <!here>", "slack").text)
        self.assertEqual(len(logged), 1)
