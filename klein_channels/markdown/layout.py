"""
A document as lines of styled runs: what all written dialects have in common.

A dialect that knows no link gets its address behind the words; tables are lines of even columns where they
are narrow, else one record for each row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeAlias

from .document import (
    Block,
    Cell,
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

WIDEST_TABLE = 48
"""Columns that a telephone held upright shows in one line, more or less."""
ACROSS = "———"

Links: TypeAlias = Literal["kept", "spelled"]


class Run(NamedTuple):
    """Words in one style; with `link`, they lead there. `ours` are the signs and spaces before an item."""

    text: str
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False
    link: str | None = None
    ours: bool = False


class Line(NamedTuple):
    """Runs side by side, within `quotes` quotes; `code` is the language of a line of a code block."""

    runs: tuple[Run, ...] = ()
    quotes: int = 0
    code: str | None = None

    @property
    def text(self) -> str:
        """The words."""
        return "".join(run.text for run in self.runs)


def lay_out(document: Document, *, links: Links, bullet: str = "• ") -> list[Line]:
    """The lines of `document`."""
    return _Layout(links, bullet).blocks(document.children)


class _Layout:
    def __init__(self, links: Links, bullet: str) -> None:
        self._spelled = links == "spelled"
        self._bullet = bullet

    def blocks(self, blocks: Iterable[Block], *, tight: bool = False) -> list[Line]:
        """The lines of blocks that follow each other; between code blocks there is always a blank one."""
        lines: list[Line] = []
        for block in blocks:
            new = self._block(block)
            both_code = bool(lines and new) and lines[-1].code is not None and new[0].code is not None
            both_quotes = bool(lines and new) and bool(lines[-1].quotes and new[0].quotes)
            if lines and new and (not tight or both_code or both_quotes):
                lines.append(Line())
            lines += new
        return lines

    def _block(self, block: Block) -> list[Line]:
        match block:
            case Paragraph():
                return self._lines(block.children)
            case Heading():
                return [line._replace(runs=_bold(line.runs)) for line in self._lines(block.children)]
            case CodeBlock():
                code = block.text.split("\n") if block.text.strip() else []
                return [Line((Run(line),) if line else (), code=block.language) for line in code]
            case ListBlock():
                return self._list(block)
            case Quote():
                return [line._replace(quotes=line.quotes + 1) for line in self.blocks(block.children)]
            case Table():
                return self.blocks(table_as_blocks(block))
            case Rule():
                return [Line((Run(ACROSS),))]

    def _list(self, block: ListBlock) -> list[Line]:
        lines: list[Line] = []
        for number, item in enumerate(block.items, block.start or 0):
            marker = self._bullet if block.start is None else f"{number}. "
            if lines and not block.tight:
                lines.append(Line())
            lines += _marked(marker, self.blocks(item, tight=block.tight))
        return lines

    # -----------------------------------------------------------------------------------------
    # Words

    def _lines(self, children: Sequence[Inline]) -> list[Line]:
        lines: list[list[Run]] = [[]]
        for run in self._runs(children, Run(""), self._spelled):
            if run.text == "\n":
                lines.append([])
            else:
                lines[-1].append(run)
        return [Line(tuple(runs)) for runs in lines]

    def _runs(self, children: Iterable[Inline], style: Run, spelled: bool) -> Iterator[Run]:
        """The runs of `children`, whose style is that of `style`; a run of one line end ends a line."""
        for child in children:
            match child:
                case Text():
                    yield style._replace(text=child.text)
                case Code():
                    yield style._replace(text=child.text, code=True)
                case LineBreak():
                    yield Run("\n")
                case Strong():
                    yield from self._runs(child.children, style._replace(bold=True), spelled)
                case Emphasis():
                    yield from self._runs(child.children, style._replace(italic=True), spelled)
                case Strike():
                    yield from self._runs(child.children, style._replace(strike=True), spelled)
                case Link():
                    yield from self._linked(child.url, child.children, style, spelled)
                case Image():
                    shown = (Text(child.alt or child.url),)
                    yield from self._linked(child.url, shown, style, spelled)

    def _linked(self, url: str, children: tuple[Inline, ...], style: Run, spelled: bool) -> Iterator[Run]:
        if style.link is not None:
            yield from self._runs(children, style, spelled)
            return
        runs = list(self._runs(children, style._replace(link=url), spelled))
        bare = is_bare(url, "".join(run.text for run in runs))
        if not spelled or bare:
            yield from runs
            return
        yield from (run._replace(link=None) for run in runs)
        yield style._replace(text=" (")
        yield style._replace(text=url, link=url)
        yield style._replace(text=")")


# ---------------------------------------------------------------------------------------------
# Tables


def table_as_blocks(table: Table) -> list[Block]:
    """What a table is shown as: code in even columns where those are narrow, else a record for each row."""
    rows = [[_plain_words(cell) for cell in row] for row in (table.head, *table.rows)]
    columns = range(len(table.head))
    widths = [max(_width(row[column]) for row in rows) for column in columns]
    if sum(widths) + 2 * len(widths) <= WIDEST_TABLE:
        return [CodeBlock("\n".join(_even(row, widths, table.aligned) for row in rows))]
    return [_record(table.head, row) for row in table.rows] or [_record((), table.head)]


def _record(head: Sequence[Cell], row: Sequence[Cell]) -> Paragraph:
    lines: list[Inline] = []
    for name, cell in zip_longest(head, row, fillvalue=()):
        title, words = _one_line(name), _one_line(cell)
        if title or words:
            named = (Strong((*title, Text(":"))), Text(" ")) if title and words else (Strong(title),)
            lines += [*([LineBreak()] if lines else []), *(named if title else ()), *words]
    return Paragraph(tuple(lines))


def _one_line(cell: Cell) -> Cell:
    return tuple(Text(" ") if isinstance(child, LineBreak) else child for child in cell)


def _plain_words(cell: Cell) -> str:
    return " ".join(line.text for line in lay_out(Document((Paragraph(cell),)), links="spelled"))


def is_bare(url: str, words: str) -> bool:
    """Whether `words` say the whole address, so that a link or a second mention adds nothing."""
    return words == url or (not url.lower().startswith("http") and words == url.partition(":")[2])


def _bold(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(run._replace(bold=True) for run in runs)


def _marked(marker: str, lines: list[Line]) -> list[Line]:
    """The lines of one item behind its marker; code and quotes keep the beginning of their lines."""
    if not lines or lines[0].code is not None or lines[0].quotes:
        return [Line((Run(marker.rstrip(), ours=True),)), *lines]
    indent = " " * len(marker)
    first, *others = lines
    return [_after(marker, first), *(_after(indent, line) for line in others)]


def _after(prefix: str, line: Line) -> Line:
    if not line.runs or line.code is not None or line.quotes:
        return line
    return line._replace(runs=(Run(prefix, ours=True), *line.runs))


def _even(row: Sequence[str], widths: Sequence[int], aligned: Sequence[str]) -> str:
    cells = (_padded(*cell) for cell in zip(row, widths, aligned, strict=True))
    return "  ".join(cells).rstrip()


def _padded(words: str, width: int, aligned: str) -> str:
    room = width - _width(words)
    before = {"right": room, "center": room // 2}.get(aligned, 0)
    return " " * before + words + " " * (room - before)


def _width(words: str) -> int:
    """Columns that `words` take where letters are of even width."""
    return sum(_columns(character) for character in words)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
