"""
From markdown-it-py's tokens to our tree: the only module, with `unfinished`, that knows that library.

Where the library would drop what was written, this keeps it: deeper nesting than it bears, cells that no
column has a head for, definitions of links that nothing refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.parser_block import ParserBlock
from markdown_it.rules_block import StateBlock, reference, table
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_inline import StateInline, image
from markdown_it.token import Token

from .document import (
    Block,
    Cell,
    CodeBlock,
    Document,
    Heading,
    Inline,
    LineBreak,
    ListBlock,
    Paragraph,
    Quote,
    Rule,
    Table,
    Text,
    is_safe,
    one_line,
    with_links,
)
from .inlines import bare_address, inlines
from .unfinished import close_unfinished, complete_table, without_last_signs

DEEPEST_BLOCK = 12
"""Levels of quotes (one each) and lists (two each); what lies deeper is shown as it was written."""
_IMAGES_WITHIN = 2
_LINE_END = re.compile("\r\n|[\r\n]")
_LANGUAGE = re.compile(r"[\w.+#-]{1,32}")


def read(text: str, *, partial: bool) -> Document:
    """The document in `text`, which is `clean`."""
    if not partial and not _MAY_BE_MORE_THAN_WORDS.search(text):
        return _in_paragraphs(text)
    if partial:
        text = complete_table(without_last_signs(text), _blocks_of)
    tokens = (_partial_reader if partial else _reader)().parse(text, {})
    return Document(tuple(_Tree(tokens).blocks()))


_MAY_BE_MORE_THAN_WORDS = re.compile(
    r"[\\`*_~\[\]<>&|#]|://|[^\S \n]|[\x00-\x09\x0b-\x1f\x7f-\x9f]|^[ ]|[ ]$|^[-+=:]|^[0-9]{1,9}[.)]",
    re.MULTILINE,
)
_BLANK_LINES = re.compile("\n\n+")


def _in_paragraphs(text: str) -> Document:
    """The document in a text that has no sign of Markdown's: most texts, which need no library to be read."""
    found = [_lines_of(words) for words in _BLANK_LINES.split(text.strip("\n")) if words]
    return Document(tuple(Paragraph(children) for children in found))


def _lines_of(words: str) -> tuple[Inline, ...]:
    first, *others = words.split("\n")
    children: list[Inline] = [Text(first)]
    for line in others:
        children += (LineBreak(), Text(line))
    return tuple(children)


def end_of_settled(text: str) -> int:
    """Where the last block of a text begins: what comes before it stays what it is."""
    starts = [token.map[0] for token in _blocks_of(text) if token.level == 0 and token.map]
    lines = [end.end() for end in _LINE_END.finditer(text)]
    return lines[starts[-1] - 1] if starts and starts[-1] else 0


def _blocks_of(text: str) -> list[Token]:
    """The tokens of the blocks in `text`, with nothing read inside them."""
    tokens: list[Token] = []
    reader = _reader()
    reader.block.parse(text, reader, {}, tokens)
    return tokens


# ---------------------------------------------------------------------------------------------
# The library, made to keep everything


class _Blocks(ParserBlock):
    """Blocks to a depth; the lines of what lies deeper are one paragraph."""

    def tokenize(self, state: StateBlock, startLine: int, endLine: int) -> None:
        if state.level < DEEPEST_BLOCK:
            super().tokenize(state, startLine, endLine)
            return
        end = startLine + 1
        while end < endLine and (state.isEmpty(end) or state.sCount[end] >= state.blkIndent):
            end += 1
        _push_paragraph(state, startLine, end)
        state.line = end


class _Reader(MarkdownIt):
    """CommonMark and tables, with links that are safe, and text for all that is not."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "maxNesting": 20})
        self.block = _Blocks()
        self.configure("commonmark", {"html": False, "maxNesting": 20})
        self.enable(["table", "strikethrough"])
        self.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
        self.block.ruler.at("reference", _definition, {"alt": []})
        self.inline.ruler.at("image", _image)
        self.inline.ruler.after("text", "bare_address", bare_address)

    def normalizeLink(self, url: str) -> str:
        try:
            return super().normalizeLink(url)
        except ValueError:
            return ""

    def normalizeLinkText(self, link: str) -> str:
        return link

    def validateLink(self, url: str) -> bool:
        return is_safe(url)


@cache
def _reader() -> MarkdownIt:
    return _Reader()


@cache
def _partial_reader() -> MarkdownIt:
    reader = _Reader()
    close_unfinished(reader)
    return reader


def _push_paragraph(state: StateBlock, start: int, end: int) -> None:
    state.push("paragraph_open", "p", 1).map = [start, end]
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(start, end, state.blkIndent, False).strip()
    inline.map = [start, end]
    inline.children = []
    state.push("paragraph_close", "p", -1)


def _definition(state: StateBlock, startLine: int, endLine: int, silent: bool) -> bool:
    """The rule for ``[name]: address``; remembers the lines, in case that nothing refers to it."""
    known = len(state.env.get("references", ()))
    if not reference(state, startLine, endLine, silent):
        return False
    references = state.env.get("references", {})
    if silent or len(references) == known:
        state.line = startLine
        return silent
    token = state.push("definition", "", 0)
    token.content = state.getLines(startLine, state.line, state.blkIndent, False).strip()
    token.meta["url"] = references[next(reversed(references))]["href"]
    return True


def _table(state: StateBlock, startLine: int, endLine: int, silent: bool) -> bool:
    """The rule for tables; cells beyond the last column go into the last column."""
    first = len(state.tokens)
    if not table(state, startLine, endLine, silent):
        return False
    last: Token | None = None
    row: list[str] = []
    columns = 0
    for token in [] if silent else state.tokens[first:]:
        if token.type == "tr_open" and token.map:
            line = token.map[0]
            row = _cells(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
            columns = 0
        elif token.type == "inline":
            last, columns = token, columns + 1
        elif token.type == "tr_close" and last is not None and len(row) > columns:
            last.content = " | ".join(filter(None, [last.content, *(c.strip() for c in row[columns:])]))
    return True


def _cells(line: str) -> list[str]:
    cells = escapedSplit(line.strip(" \t"))
    return cells[cells[0] == "" : len(cells) - (cells[-1] == "")]


def _image(state: StateInline, silent: bool) -> bool:
    """The rule for pictures; those within the description of a picture end somewhere."""
    if silent:
        return image(state, True)
    depth = state.env.get("images", 0)
    if depth >= _IMAGES_WITHIN:
        return False
    state.env["images"] = depth + 1
    try:
        return image(state, False)
    finally:
        state.env["images"] = depth


# ---------------------------------------------------------------------------------------------
# The tree


class _Tree:
    """Reads the blocks out of a flat list of tokens, in one pass."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = iter(tokens)
        self._used = set(_addresses(tokens))

    def blocks(self, until: str = "") -> Iterator[Block]:
        """The blocks up to the token `until`, or all."""
        for token in self._tokens:
            if token.type == until:
                return
            yield from self._block(token)

    def _block(self, token: Token) -> Iterator[Block]:
        match token.type:
            case "paragraph_open":
                if inlines := self._inlines("paragraph_close"):
                    yield Paragraph(inlines)
            case "heading_open":
                if inlines := self._inlines("heading_close"):
                    yield Heading(int(token.tag[1:]), inlines)
            case "fence" | "code_block":
                yield CodeBlock(_lines(token.content), _language(token.info))
            case "hr":
                yield Rule()
            case "blockquote_open":
                if children := tuple(self.blocks("blockquote_close")):
                    yield Quote(children)
            case "bullet_list_open" | "ordered_list_open":
                yield self._list(token)
            case "table_open":
                yield self._table()
            case "definition" if token.meta["url"] not in self._used:
                yield Paragraph(tuple(with_links(one_line(token.content))))

    def _inlines(self, until: str) -> tuple[Inline, ...]:
        found: tuple[Inline, ...] = ()
        for token in self._tokens:
            if token.type == until:
                break
            found = inlines(token.children or [])
        return found

    def _list(self, opened: Token) -> ListBlock:
        numbered = opened.type == "ordered_list_open"
        close = "ordered_list_close" if numbered else "bullet_list_close"
        items: list[tuple[Block, ...]] = []
        tight = True
        for token in self._tokens:
            if token.type == close:
                break
            if token.type == "list_item_open":
                hidden: list[bool] = []
                items.append(tuple(self._item(hidden)))
                tight = tight and all(hidden)
        start = int(opened.attrs.get("start", 1)) if numbered else None
        return ListBlock(tuple(items), start, tight)

    def _item(self, hidden: list[bool]) -> Iterator[Block]:
        """The blocks of an item; whether each paragraph of its own has no blank line about it."""
        for token in self._tokens:
            if token.type == "list_item_close":
                return
            if token.type == "paragraph_open":
                hidden.append(token.hidden)
            yield from self._block(token)

    def _table(self) -> Table:
        rows: list[list[Cell]] = []
        aligned: list[str] = []
        for token in self._tokens:
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "th_open":
                aligned.append(str(token.attrs.get("style", "")).removeprefix("text-align:"))
            elif token.type == "inline":
                rows[-1].append(inlines(token.children or []))
        head, *others = map(tuple, rows)
        return Table(head, tuple(others), tuple(aligned))


def _addresses(tokens: list[Token]) -> Iterator[str]:
    """Where the links and pictures in `tokens` lead."""
    for token in tokens:
        for child in token.children or ():
            yield str(child.attrs.get("href") or child.attrs.get("src") or "")
            if child.type == "image":
                yield from (str(c.attrs.get("href") or c.attrs.get("src")) for c in child.children or ())


def _language(info: str) -> str:
    found = _LANGUAGE.match(info.strip())
    return found[0] if found else ""


def _lines(code: str) -> str:
    return "\n".join(map(_code_line, code.removesuffix("\n").split("\n")))


def _code_line(line: str) -> str:
    return "\t".join(map(one_line, line.split("\t"))).expandtabs(4)
