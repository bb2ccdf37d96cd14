"""A document with less to it: for what its styles, or even its blocks, cannot be written with."""

from __future__ import annotations

from itertools import groupby

import msgspec

from .document import (
    Block,
    Document,
    Emphasis,
    Heading,
    Inline,
    LineBreak,
    Link,
    ListBlock,
    Paragraph,
    Quote,
    Strike,
    Strong,
    Table,
    Text,
)
from .layout import lay_out

_Words = tuple[Inline, ...]


def without_styles(document: Document) -> Document:
    """`document` with nothing bold, slanted or crossed out."""
    return Document(_blocks(document.children))


def in_lines(document: Document) -> Document:
    """The words of `document` in paragraphs of plain lines."""
    lines = [line.text for line in lay_out(document, links="kept")]
    groups = (list(group) for filled, group in groupby(lines, lambda line: bool(line.strip())) if filled)
    return Document(tuple(Paragraph(_joined(group)) for group in groups))


def _joined(lines: list[str]) -> _Words:
    words: list[Inline] = [Text(lines[0])]
    for line in lines[1:]:
        words += [LineBreak(), Text(line)]
    return tuple(words)


def _blocks(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(map(_block, blocks))


def _block(block: Block) -> Block:
    match block:
        case Paragraph() | Heading():
            return msgspec.structs.replace(block, children=_words(block.children))
        case ListBlock():
            return msgspec.structs.replace(block, items=tuple(map(_blocks, block.items)))
        case Quote():
            return Quote(_blocks(block.children))
        case Table():
            rows = tuple(tuple(map(_words, row)) for row in block.rows)
            return msgspec.structs.replace(block, head=tuple(map(_words, block.head)), rows=rows)
        case _:
            return block


def _words(children: _Words) -> _Words:
    return tuple(word for child in children for word in _unstyled(child))


def _unstyled(child: Inline) -> _Words:
    if isinstance(child, Strong | Emphasis | Strike):
        return _words(child.children)
    if isinstance(child, Link):
        return (Link(child.url, _words(child.children)),)
    return (child,)
