"""
Long documents in pieces, each of them whole: what is open at a cut is closed, and opened again behind it.

Cut is between blocks where that is possible, else between items, lines of code and rows, then words, and
within words only between letters as readers see them. Nothing but white space at a cut is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from ..text import cut_at
from .document import (
    Block,
    Code,
    CodeBlock,
    Document,
    Heading,
    Image,
    Inline,
    LineBreak,
    Link,
    ListBlock,
    Paragraph,
    Quote,
    Rule,
    Table,
    Text,
)
from .layout import is_bare, table_as_blocks

Fits: TypeAlias = Callable[[Document], bool]
_Blocks: TypeAlias = Sequence[Block]
_BlocksFit: TypeAlias = Callable[[_Blocks], bool]
_Words: TypeAlias = tuple[Inline, ...]
_NO_BREAK = "\u00a0"
_WHITE = re.compile(r"[ \n]")
_WINDOW = 64
_ENDLESS = 1 << 40


def cut(document: Document, fits: Fits) -> list[Document]:
    """`document` in pieces that `fits` says yes to, as few as that needs.

    A piece that cannot be made small enough, because one letter with all that is around it does not fit,
    is left too large.
    """
    pieces: list[Document] = []
    rest: _Blocks = document.children
    while rest:
        taken, rest = _fill(rest, lambda blocks: fits(Document(tuple(blocks))))
        pieces.append(Document(tuple(taken)))
    return pieces


def has_letters(document: Document, more_than: int) -> bool:
    """Whether the words of `document` have more letters than that; most of it is then not looked at."""
    for size in _sizes(document.children):
        more_than -= size
        if more_than < 0:
            return True
    return False


def _sizes(blocks: Iterable[Block]) -> Iterator[int]:
    for block in blocks:
        match block:
            case Paragraph() | Heading():
                yield from map(_size, block.children)
            case CodeBlock():
                yield len(block.text)
            case Quote():
                yield from _sizes(block.children)
            case ListBlock():
                yield from (size for item in block.items for size in _sizes(item))
            case Table():
                yield from (_size(child) for row in block.rows for cell in row for child in cell)
            case Rule():
                yield 1


def _fill(blocks: _Blocks, fits: _BlocksFit) -> tuple[_Blocks, _Blocks]:
    """What of `blocks` fits together, at least a part of the first, and the rest."""
    count = _most(len(blocks), lambda count: fits(blocks[:count]))
    if count > 1 and count < len(blocks) and isinstance(blocks[count - 1], Heading):
        count -= 1  # A title belongs to what comes after it.
    if count or not blocks:
        return blocks[:count], blocks[count:]
    head, tail = _halves(blocks[0], fits)
    return head, [*tail, *blocks[1:]]


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `most` that fits, found without trying much larger ones; 0 if none does."""
    low, step = 0, 1
    while low < most and fits(min(low + step, most)):
        low = min(low + step, most)
        step *= 2
    high = min(low + step, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _halves(block: Block, fits: _BlocksFit) -> tuple[_Blocks, _Blocks]:
    """A block that is too large: what of it fits, and the rest, either perhaps as other blocks."""
    match block:
        case ListBlock():
            return _list_halves(block, fits)
        case Quote():
            head, tail = _fill(block.children, lambda part: fits([Quote(tuple(part))]))
            return [Quote(tuple(head))], [Quote(tuple(tail))] if tail else []
        case CodeBlock():
            return _code_halves(block, fits)
        case Table():
            return _fill(table_as_blocks(block), fits)
        case Paragraph() | Heading():
            before, behind = _word_halves(block.children, lambda words: fits([_with(block, words)]))
            return _with_any(block, before), _with_any(block, behind)
        case Rule():
            return [block], []


def _with(block: Paragraph | Heading, words: _Words) -> Block:
    return msgspec.structs.replace(block, children=words)


def _with_any(block: Paragraph | Heading, words: _Words) -> list[Block]:
    return [_with(block, words)] if words else []


def _list_halves(block: ListBlock, fits: _BlocksFit) -> tuple[_Blocks, _Blocks]:
    """Items that fit; or the beginning of the first one, whose rest stands behind it without a sign."""
    count = _most(len(block.items), lambda count: fits([_items(block, 0, count)]))
    if count or not block.items[0]:
        count = max(count, 1)
        return [_items(block, 0, count)], _others(block, count)
    first = msgspec.structs.replace(block, items=())
    head, tail = _fill(
        block.items[0], lambda part: fits([msgspec.structs.replace(first, items=(tuple(part),))])
    )
    return [msgspec.structs.replace(first, items=(tuple(head),))], [*tail, *_others(block, 1)]


def _items(block: ListBlock, first: int, last: int) -> ListBlock:
    start = None if block.start is None else block.start + first
    return msgspec.structs.replace(block, items=block.items[first:last], start=start)


def _others(block: ListBlock, first: int) -> list[Block]:
    return [_items(block, first, len(block.items))] if first < len(block.items) else []


def _code_halves(block: CodeBlock, fits: _BlocksFit) -> tuple[_Blocks, _Blocks]:
    lines = block.text.split("\n")
    count = _most(len(lines), lambda count: fits([_code(block, "\n".join(lines[:count]))]))
    if count:
        head, tail = "\n".join(lines[:count]), "\n".join(lines[count:])
    else:
        furthest = _most(len(lines[0]), lambda count: fits([_code(block, lines[0][:count])]))
        # Spaces of code are not for cutting: none of them may be lost.
        end, _ = _cut(lines[0].replace(" ", _NO_BREAK), max(furthest, 1))
        head, tail = block.text[:end], block.text[end:]
    return [_code(block, head)], [_code(block, tail)] if tail.strip() else []


def _code(block: CodeBlock, text: str) -> CodeBlock:
    return msgspec.structs.replace(block, text=text)


def _cut(text: str, furthest: int) -> tuple[int, int]:
    """Where to cut `text`, at `furthest` at the latest, and where it goes on."""
    return cut_at(text[: 2 * furthest + _WINDOW], furthest)


# ---------------------------------------------------------------------------------------------
# Words


def _word_halves(children: _Words, fits: Callable[[_Words], bool]) -> tuple[_Words, _Words]:
    furthest = _most(_ENDLESS, lambda count: fits(_before(children, count)))
    if not furthest and (plainer := _loosened(children)) is not None:
        return (), plainer
    furthest = max(furthest, 1)
    end, following = cut_at(_flat(_before(children, 2 * furthest + _WINDOW)), furthest)
    return _before(children, end), _behind(children, following)


def _flat(children: _Words) -> str:
    """The letters of `children`; where links and code are to be left whole, their spaces keep them so."""
    return "".join(map(_letters, children))


def _letters(child: Inline) -> str:
    match child:
        case Text():
            return child.text
        case Code():
            return child.text.replace(" ", _NO_BREAK)
        case LineBreak():
            return "\n"
        case Image():
            return "*"
        case Link():
            return _WHITE.sub(_NO_BREAK, _flat(child.children))
        case _:
            return _flat(child.children)


def _before(children: _Words, at: int) -> _Words:
    """`children` up to the letter `at`; a style or link that is cut ends there."""
    found: list[Inline] = []
    for child in children:
        if at <= 0:
            break
        size = _size(child)
        found.append(child if size <= at else _halved(child, at)[0])
        at -= size
    return tuple(found)


def _behind(children: _Words, at: int) -> _Words:
    """`children` from the letter `at` on; a style or link that is cut begins there."""
    for number, child in enumerate(children):
        if at <= 0:
            return children[number:]
        size = _size(child)
        if size > at:
            return _halved(child, at)[1], *children[number + 1 :]
        at -= size
    return ()


def _size(child: Inline) -> int:
    match child:
        case Text() | Code():
            return len(child.text)
        case LineBreak() | Image():
            return 1
        case _:
            return sum(map(_size, child.children))


def _halved(child: Inline, at: int) -> tuple[Inline, Inline]:
    if isinstance(child, Text | Code):
        return type(child)(child.text[:at]), type(child)(child.text[at:])
    assert not isinstance(child, LineBreak | Image), "they are one letter"
    if isinstance(child, Link) and is_bare(child.url, words := _flat(child.children)):
        # Half an address leads nowhere.
        return Text(words[:at]), Text(words[at:])
    return (
        msgspec.structs.replace(child, children=_before(child.children, at)),
        msgspec.structs.replace(child, children=_behind(child.children, at)),
    )


def _loosened(children: _Words) -> _Words | None:
    """`children` with less around the first letter, of which nothing fits; None if nothing is around it."""
    first, *others = children
    match first:
        case Text() | Code() | LineBreak():
            return None
        case Image():
            return Text(f"{first.alt} ({first.url})" if first.alt else first.url), *others
        case Link(url=url):
            words = _flat(first.children)
            shown = () if is_bare(url, words) else (Text(f" ({url})"),)
            return *first.children, *shown, *others
        case _:
            return *first.children, *others
