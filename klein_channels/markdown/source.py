"""
A document as Markdown again, so that a piece of one can be stored and sent like anything an agent wrote.

`parse` reads back what was written, for documents that came from it. A few combinations of styles cannot
be written at all (a style that begins within a word and with a sign); who cares reads back and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .document import (
    Block,
    Code,
    CodeBlock,
    Document,
    Emphasis,
    Heading,
    Image,
    Inline,
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
)

_SIGNS = re.compile(r"[\\`*_~\[\]<>&|#]|!\Z")
_ADDRESS = re.compile(r"\b(https?):", re.IGNORECASE)
_LINE_START = re.compile(r"\A(?:(?=[-+=:>])|(\d{1,9})(?=[.)]))")
_TICKS = re.compile("`+")
_ALIGNED = {"left": ":--", "right": "--:", "center": ":-:"}
_SCHEME = re.compile(r"(?:https?|mailto|tel):", re.IGNORECASE)


def to_markdown(document: Document) -> str:
    """`document` as Markdown of one form."""
    return "\n".join(_blocks(document.children, tight=False))


# ---------------------------------------------------------------------------------------------
# Blocks


def _blocks(blocks: Iterable[Block], *, tight: bool) -> list[str]:
    """The lines of `blocks`; lists that follow each other have different signs, or they would be one."""
    lines: list[str] = []
    lists = 0
    for block in blocks:
        lists = lists + 1 if isinstance(block, ListBlock) else 0
        new = list(_list(block, lists % 2 == 0)) if isinstance(block, ListBlock) else _block(block)
        if lines and new and not tight:
            lines.append("")
        lines += new
    return lines


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph():
            return _lines(block.children)
        case Heading():
            return _heading(block)
        case CodeBlock():
            fence = _longer_than_in(block.text, 3)
            return [fence + block.language, *block.text.split("\n"), fence]
        case Quote():
            return [f"> {line}".rstrip() for line in _blocks(block.children, tight=False)]
        case Table():
            return _table(block)
        case Rule():
            return ["***"]
        case ListBlock():
            return list(_list(block, False))


def _heading(heading: Heading) -> list[str]:
    lines = _lines(heading.children)
    if len(lines) > 1:
        return [*lines, "===" if heading.level == 1 else "---"]
    return [" ".join(["#" * heading.level, *lines])]


def _list(block: ListBlock, second: bool) -> Iterator[str]:
    for number, item in enumerate(block.items, block.start or 0):
        sign = ")" if second else "."
        marker = f"{number}{sign} " if block.start is not None else "* " if second else "- "
        if not block.tight and number > (block.start or 0):
            yield ""
        first, *others = _blocks(item, tight=block.tight) or [""]
        yield (marker + first).rstrip()
        indent = " " * len(marker)
        yield from ((indent + line).rstrip() if line.strip() else "" for line in others)


def _table(table: Table) -> list[str]:
    dashes = [_ALIGNED.get(aligned, "---") for aligned in table.aligned]
    rows = [[_cell(cell) for cell in row] for row in (table.head, *table.rows)]
    return ["| " + " | ".join(row) + " |" for row in (rows[0], dashes, *rows[1:])]


def _cell(children: tuple[Inline, ...]) -> str:
    return _written(children, in_table=True).replace("\n", " ").strip()


def _longer_than_in(text: str, least: int) -> str:
    """A run of backticks that `text` has none of."""
    return "`" * max(least, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))


# ---------------------------------------------------------------------------------------------
# Words


def _lines(children: tuple[Inline, ...]) -> list[str]:
    lines = (line.strip() for line in _written(children).split("\n"))
    return [_LINE_START.sub(r"\1\\", line, count=1) for line in lines if line]


def _written(children: tuple[Inline, ...], *, in_table: bool = False) -> str:
    out = ""
    for number, child in enumerate(children):
        behind = _first(children[number + 1]) if number + 1 < len(children) else ""
        out += _word(child, out[-1:], behind, in_table)
    return out


def _word(child: Inline, before: str, behind: str, in_table: bool) -> str:
    match child:
        case Text(text=text):
            return _escaped(text)
        case Code(text=text):
            return _code(text.replace("|", "\\|") if in_table else text)
        case LineBreak():
            return "\n"
        case Link(url=url, children=(Text(text=words),)) if words == url and _SCHEME.match(url):
            # Between signs an address is read with percent signs for what is not ASCII.
            return f"<{url}>" if url.isascii() else url
        case Link(url=url, children=children):
            return f"[{_written(children, in_table=in_table)}](<{_address(url)}>)"
        case Image(url=url, alt=alt):
            return f"![{_escaped(alt)}](<{_address(url)}>)"
        case _:
            mark = _mark(child, before, behind)
            return f"{mark}{_written(child.children, in_table=in_table)}{mark}"


def _mark(style: Strong | Emphasis | Strike, before: str, behind: str) -> str:
    if isinstance(style, Emphasis):
        # Within a word ``_`` is no mark; elsewhere it keeps apart from the ``**`` beside it.
        return "*" if before.isalnum() or behind.isalnum() else "_"
    return "**" if isinstance(style, Strong) else "~~"


def _first(child: Inline) -> str:
    """The first letter of what is written for `child`, as far as it matters to the marks before it."""
    return child.text[:1] if isinstance(child, Text) else ""


def _escaped(text: str) -> str:
    return _ADDRESS.sub(r"\1\\:", _SIGNS.sub(r"\\\g<0>", text))


def _address(url: str) -> str:
    return url.replace("&", "\\&")


def _code(text: str) -> str:
    ticks = _longer_than_in(text, 1)
    pad = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
