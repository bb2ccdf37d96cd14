"""
What an agent wrote in Markdown, as a small tree of frozen values that every dialect is written from.

The tree that `parse` or `as_written` makes is safe: no control characters, line ends only as `LineBreak` and
in `CodeBlock`, only links that `is_safe` accepts, and a depth that recursion bears.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from ..text import clean

_SAFE = re.compile(
    r"(?:https?://[^\s<>\"|`\\^{}/?#][^\s<>\"|`\\^{}]*|(?:mailto|tel):[^\s<>\"|`\\^{}]+)", re.IGNORECASE
)
_SPACES = re.compile("[\n\r\t\v\f\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_LINE_END = re.compile("\r\n|[\r\n]")


class Node(msgspec.Struct, frozen=True):
    """One value of the tree."""


class Text(Node, frozen=True):
    """Words."""

    text: str


class Strong(Node, frozen=True):
    """What shall be noticed."""

    children: tuple[Inline, ...]


class Emphasis(Node, frozen=True):
    """What is stressed."""

    children: tuple[Inline, ...]


class Strike(Node, frozen=True):
    """What is crossed out."""

    children: tuple[Inline, ...]


class Code(Node, frozen=True):
    """A few words of code."""

    text: str


class Link(Node, frozen=True):
    """Words that lead to `url`; raises ValueError for an address that is not `is_safe`."""

    url: str
    children: tuple[Inline, ...]

    def __post_init__(self) -> None:
        if not is_safe(self.url):
            raise ValueError("a link leads to http, https, mailto or tel")


class Image(Node, frozen=True):
    """A picture at `url`, and `alt` for those who do not see it; raises ValueError like `Link`."""

    url: str
    alt: str

    def __post_init__(self) -> None:
        if not is_safe(self.url):
            raise ValueError("a picture is found by http or https")


class LineBreak(Node, frozen=True):
    """The end of a line, which chats show as it was written."""


class Paragraph(Node, frozen=True):
    """Words that belong together."""

    children: tuple[Inline, ...]


class Heading(Node, frozen=True):
    """A title; `level` 1 is the highest of 6."""

    level: int
    children: tuple[Inline, ...]


class CodeBlock(Node, frozen=True):
    """Lines of code; `language` may be empty."""

    text: str
    language: str = ""


class ListBlock(Node, frozen=True):
    """Items, numbered from `start` where it is not None; `tight` ones have no blank lines between them."""

    items: tuple[tuple[Block, ...], ...]
    start: int | None = None
    tight: bool = True


class Quote(Node, frozen=True):
    """What somebody else said."""

    children: tuple[Block, ...]


Cell: TypeAlias = "tuple[Inline, ...]"


class Table(Node, frozen=True):
    """Rows under a head; `aligned` has ``left``, ``right``, ``center`` or nothing for each column."""

    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    aligned: tuple[str, ...]


class Rule(Node, frozen=True):
    """A line across."""


class Document(Node, frozen=True):
    """A whole text."""

    children: tuple[Block, ...] = ()


Inline: TypeAlias = Text | Strong | Emphasis | Strike | Code | Link | Image | LineBreak
Block: TypeAlias = Paragraph | Heading | CodeBlock | ListBlock | Quote | Table | Rule


def as_written(text: str) -> Document:
    """The document that shows `text` as it is: plain text, or Markdown that cannot be read."""
    lines = [one_line(line) for line in _LINE_END.split(clean(text))]
    children: list[Inline] = []
    for number, line in enumerate(lines):
        if number:
            children.append(LineBreak())
        children += with_links(line)
    return Document((Paragraph(tuple(children)),)) if any(line.strip() for line in lines) else Document()


def is_safe(url: str) -> bool:
    """Whether `url` is an absolute address of http, https, mailto or tel that no markup can hide in."""
    return _SAFE.fullmatch(url) is not None and not _CONTROLS.search(url)


def one_line(text: str) -> str:
    """`text` without control characters; those that end lines or move on become spaces."""
    return _CONTROLS.sub("", _SPACES.sub(" ", text))


_BARE = re.compile(r"(?<![^\W_])https?://[^\s<>\"|`\\^{}\u0000-\u0020]+", re.IGNORECASE)
_AFTER = frozenset(".,;:!?'*_~…")
_BRACKETS = {")": "(", "]": "["}


def with_links(text: str) -> list[Inline]:
    """`text` with the addresses in it as links."""
    found: list[Inline] = []
    start = 0
    for match in _BARE.finditer(text):
        url = without_tail(match[0])
        if not is_safe(url):
            continue
        if match.start() > start:
            found.append(Text(text[start : match.start()]))
        found.append(Link(url, (Text(url),)))
        start = match.start() + len(url)
    return [*found, Text(text[start:])] if start < len(text) else found


def without_tail(url: str) -> str:
    """`url` without the signs behind it that belong to the sentence."""
    depth = {closing: url.count(closing) - url.count(opening) for closing, opening in _BRACKETS.items()}
    end = len(url)
    while end and (url[end - 1] in _AFTER or depth.get(url[end - 1], 0) > 0):
        if url[end - 1] in depth:
            depth[url[end - 1]] -= 1
        end -= 1
    return url[:end]
