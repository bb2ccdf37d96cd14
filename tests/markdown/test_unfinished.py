from __future__ import annotations

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.markdown import parse, render, to_mrkdwn, to_plain

from .dialects import hostile, words

GROWING = """# Plan for *today*

Take **bold _steps_** and `run it` as [the guide *says*](https://x.example/a_b "Guide"), ~~not~~ later. 5 * 3

- one **two**
- three ![a map](https://x.example/map.png) end
  1. deep `x`

| Name | Age |
|:-----|----:|
| Ada | **36** |

> quoted <https://y.example/z>

```py
x = "`1`"
```
Para
- item
1. num
---
End"""

SIGNS = (
    " **",
    " `",
    " [",
    " ![",
    "\n-",
    "\n- ",
    "\n``",
    "\n```",
    "\n#",
    "\n> ",
    "\n1.",
    "\n---",
    "\n|",
    "\\",
    " <",
)


def slack(text: str) -> str:
    return to_mrkdwn(parse(text, partial=True))


class UnfinishedTests(SynchronousTestCase):
    def test_open_styles_are_closed(self) -> None:
        for text, shown in {
            "**a": "*a*",
            "**a *b": "*a _b_*",
            "**a*": "*a*",
            "***a b**": "*_a b_*",
            "*a **b* c": "_a b c_",
            "~~a": "~a~",
            "**a `b": "*a `b`*",
            "2 * 3": "2 * 3",
            "> - **a": "> • *a*",
        }.items():
            self.assertEqual(slack(text), shown, text)

    def test_signs_that_may_become_markup_are_held_back(self) -> None:
        for sign in SIGNS:
            self.assertEqual(slack(f"a{sign}").strip(), "a", sign)
        self.assertEqual(slack("a <htt"), "a htt")

    def test_half_a_link_is_its_words(self) -> None:
        for end in ("", "*", "*]", "*](", "*](https://x.exam", "*](https://x.example 'ti"):
            self.assertEqual(slack(f"a [b *c{end}"), "a b _c_", end)
        self.assertEqual(slack("![b](https://x"), "b")
        self.assertEqual(slack("[a](b c, and so on"), "[a](b c, and so on")
        self.assertEqual(slack("`a[0` b"), "`a[0` b")

    def test_code_that_is_open_is_code(self) -> None:
        self.assertEqual(slack("```py\n**a"), "```\n**a\n```")
        self.assertEqual(slack("```\na\n``"), "```\na\n```")
        self.assertEqual(slack("`a"), "`a`")

    def test_a_table_is_one_from_its_first_cell(self) -> None:
        whole = "| a | b |\n|---|---|\n"
        for cut in range(len("| a | b"), len(whole)):
            self.assertEqual(slack(whole[:cut]), "```\na  b\n```", whole[:cut])
        self.assertEqual(slack("- x\n  | a"), "• x\n  | a")
        self.assertEqual(slack("    | a"), "```\n| a\n```")

    def test_a_growing_text_only_grows(self) -> None:
        before: list[str] = []
        for cut in range(len(GROWING) + 1):
            now = words(to_plain(parse(GROWING[:cut], partial=True)))
            self.assertEqual(now[: len(before) - 1], before[:-1], GROWING[max(0, cut - 30) : cut])
            before = now
        self.assertEqual(before, words(to_plain(parse(GROWING))))

    def test_no_markup_shows_while_a_text_grows(self) -> None:
        for cut in range(GROWING.index("5 * 3")):
            self.assertNotRegex(to_plain(parse(GROWING[:cut], partial=True)), r"[*`~#\[\]]")

    @settings(deadline=None, derandomize=True)
    @given(hostile)
    def test_what_is_followed_by_a_blank_line_is_read_as_ever(self, text: str) -> None:
        whole = f"{text}\n\nend"
        if to_plain(parse(whole)).endswith("\n\nend"):
            self.assertEqual(parse(whole, partial=True), parse(whole))

    def test_any_dialect_takes_it(self) -> None:
        self.assertEqual(render("**a", "whatsapp", partial=True).text, "*a*")
        self.assertEqual(render("**a", "telegram", partial=True).entities[0]["length"], 1)
