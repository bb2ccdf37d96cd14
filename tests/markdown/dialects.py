"""Readers of what we write: small parsers of the platforms' dialects, and the texts to try them on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from hypothesis import strategies as st

from klein_channels.markdown.document import Document
from klein_channels.markdown.layout import is_bare, lay_out
from klein_channels.markdown.marks import LOOKALIKES
from klein_channels.text import clean

Styled = list[tuple[str, frozenset[str]]]

PIECES = [
    *("*", "**", "***", "_", "__", "~", "~~", "`", "``", "```", "[", "]", "](", "[a]()", "![a]()", "![", ")"),
    *(
        "](https://x.example/a_b*c)",
        "https://z.example/_a_?b=1&c=2",
        "<https://z.example>",
        "javascript:alert(1)",
    ),
    *("\n", "\n\n", "\n\n\n", "> ", ">", "- ", "* ", "1. ", "7) ", "# ", "---\n", "===\n", "    ", "\t", " "),
    *("| a | b |\n|---|---|\n", "| c ", "|", "|-", "```py\n", "~~~\n", "\\", "<", ">", "&", "&lt;", "&#10;"),
    *("<!channel>", "<!here|x>", "<@U123>", "<#C1|general>", "@everyone", "@here", "<https://y.example|z>"),
    *("<b>", "<speak>", "]]>", "<!--", "x: y", "[a]: https://q.example\n", "&#42;", "\r\n", "  \n"),
    *("word", "two words", "é", "e\u0301", "日本", "👍🏽", "👨‍👩‍👧‍👦", "𝒳", "1", "snake_case"),
    *("\u00a0", "\u2028", "\x85", "\0", "\x1b", "\ud800"),
]
hostile = st.lists(st.sampled_from(PIECES) | st.characters() | st.text(max_size=4), max_size=25).map("".join)


def expected(document: Document) -> list[tuple[str, Styled]]:
    """Each line's kind and its styled words, as they should be read back."""
    found = []
    for line in lay_out(document, links="kept"):
        kind = "code" if line.code is not None else "quote" if line.quotes else ""
        words: Styled = []
        for run in line.runs:
            styles = {name for name in ("bold", "italic", "strike", "code") if getattr(run, name)}
            if run.link:
                styles = (styles - {"code"}) | ({run.link} if not is_bare(run.link, run.text) else set())
            words.append((run.text, frozenset(styles)))
        found.append((kind, words))
    return found


def merged(words: Styled) -> Styled:
    """`words` with neighbours of one style as one; space has no style, except in code and links."""
    out: Styled = []
    for text, styles in words:
        for piece in re.findall(r"\s+|\S+", text):
            own = styles - {"bold", "italic", "strike"} if piece.isspace() else styles
            if out and out[-1][1] == own:
                out[-1] = (out[-1][0] + piece, own)
            else:
                out.append((piece, own))
    return out


def seen(text: str) -> str:
    """What a reader takes a text of ours for: look-alikes as what they look like, nothing invisible."""
    for mark, lookalike in LOOKALIKES.items():
        text = text.replace(lookalike, mark)
    return re.sub("[\u2060\u200b]", "", text)


# ---------------------------------------------------------------------------------------------
# Marks, as Slack and WhatsApp read them

_ATOM = re.compile(r"<[^<>\n]*>|`[^`\n]+`")
_TEXT = re.compile(r".[^<`*_~]*", re.DOTALL)
_STYLES = {"*": "bold", "_": "italic", "~": "strike"}


def read_marks(line: str, styles: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """The words of one line and their styles; `<…>` and code cannot be looked into."""
    position = 0
    while position < len(line):
        atom = _ATOM.match(line, position)
        if atom:
            yield atom[0], styles | ({"code"} if atom[0][0] == "`" else set())
            position = atom.end()
            continue
        end = _closer(line, position)
        if end:
            yield from read_marks(line[position + 1 : end], styles | {_STYLES[line[position]]})
            position = end + 1
            continue
        text = _TEXT.match(line, position)
        assert text is not None
        yield text[0], styles
        position = text.end()


def _closer(line: str, start: int) -> int | None:
    mark, before, behind = line[start], line[max(0, start - 1) : start], line[start + 1 : start + 2]
    if mark not in _STYLES or before.isalnum() or not behind or behind.isspace() or behind == mark:
        return None
    position = start + 1
    while position < len(line):
        if atom := _ATOM.match(line, position):
            position = atom.end()
            continue
        if (
            line[position] == mark
            and not line[position - 1].isspace()
            and not line[position + 1 :][:1].isalnum()
        ):
            return position
        position += 1
    return None


def read_slack(text: str) -> list[tuple[str, Styled]]:
    """The lines of a message as Slack reads them."""
    found: list[tuple[str, Styled]] = []
    in_code = False
    for line in text.split("\n") if text else []:
        if line == "```":
            in_code = not in_code
        elif in_code:
            found.append(("code", [(unescape(line), frozenset())]))
        else:
            quoted = line.startswith((">", "&gt;"))
            words = read_marks(line.removeprefix(">").removeprefix(" ") if quoted else line)
            found.append(("quote" if quoted else "", [_slack_atom(*word) for word in words]))
    return found


def _slack_atom(text: str, styles: frozenset[str]) -> tuple[str, frozenset[str]]:
    if text.startswith("<"):
        if not re.match(r"<(https?://|mailto:|tel:)", text):
            raise AssertionError(f"Slack obeys {text!r}")
        url, _, label = text[1:-1].partition("|")
        return (unescape(label), styles | {unescape(url)}) if label else (unescape(url), styles)
    return unescape(text[1:-1] if "code" in styles and text[0] == "`" else text), styles


# ---------------------------------------------------------------------------------------------
# Telegram


def read_telegram(text: str, entities: list[dict[str, Any]]) -> Styled:
    """Each character and its styles."""
    styles: list[set[str]] = [set() for _ in text]
    starts = [len(text[:index].encode("utf-16-le")) // 2 for index in range(len(text) + 1)]
    for entity in entities:
        first, last = starts.index(entity["offset"]), starts.index(entity["offset"] + entity["length"])
        for index in range(first, last):
            styles[index].add(entity.get("url") or entity["type"])
    return [(character, frozenset(own)) for character, own in zip(text, styles, strict=True)]


def words(text: str) -> list[str]:
    """The words in a text, whatever stands between them."""
    text = re.sub("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]", "", clean(text))
    return re.findall(r"[^\W_]+", seen(text))
