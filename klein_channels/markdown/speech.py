"""
Markdown as a voice can say it, and any text as XML can hold it.

Markup becomes pauses: each line ends with a sign that makes one. Emoji are dropped unless there is nothing
else to say; of an address only the host is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from urllib.parse import urlsplit

from .document import (
    Block,
    Cell,
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
    Table,
    Text,
)
from .layout import is_bare

_BESIDE = "\ufe0e\ufe0f\u20e3\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
_EMOJI = re.compile(
    "(?P<sign>[\U0001f000-\U0001faff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\u203c\u2049\u3030\u303d\u3297\u3299])"
    f"[{_BESIDE}]*+|[\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]"
)
_SILENT = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad]")
_LINES = re.compile(r"([^\w\s])\1{2,}")
PAUSES = frozenset(".!?:;,…。！？：；，、")
_MOST_NAMED = 3


def to_speech(document: Document) -> str:
    """What is said of `document`, a line for each thing; made safe for SSML by `xml_text`."""
    said = [_said(line) for line in _blocks(document.children)]
    sentences = [_with_pause(line) for line in said if any(c.isalnum() for c in line)]
    return "\n".join(sentences) or _named(document)


def _said(words: str) -> str:
    words = without_silent_signs(words)
    return " ".join(_LINES.sub(" ", words).split())


def _kept_number(found: re.Match[str]) -> str:
    sign = found["sign"]
    return "" if sign is None else sign if sign.isalnum() else " "


def _with_pause(words: str) -> str:
    return words if words.rstrip("\"'”’»)]")[-1:] in PAUSES else words + "."


def _named(document: Document) -> str:
    """The names of the first emoji, where there is nothing else."""
    shown = "".join(_blocks(document.children))
    signs = dict.fromkeys(found["sign"] or "" for found in _EMOJI.finditer(shown))
    names = [unicodedata.name(sign, "").lower() for sign in signs if sign]
    return _with_pause(", ".join(filter(None, names[:_MOST_NAMED]))) if any(names[:_MOST_NAMED]) else ""


def _blocks(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Paragraph() | Heading():
                yield from _words(block.children).split("\n")
            case CodeBlock():
                yield from block.text.split("\n")
            case ListBlock():
                yield from _items(block)
            case Quote():
                yield from _blocks(block.children)
            case Table():
                yield from _rows(block)


def _items(block: ListBlock) -> Iterator[str]:
    for number, item in enumerate(block.items, block.start or 0):
        lines = [line for line in _blocks(item) if line.strip()]
        if block.start is not None:
            lines[:1] = [f"{number}. {lines[0]}" if lines else str(number)]
        yield from lines


def _rows(table: Table) -> Iterator[str]:
    heads = [_cell(cell) for cell in table.head]
    if not table.rows:
        yield ", ".join(filter(None, heads))
    for row in table.rows:
        cells = zip_longest(heads, map(_cell, row), fillvalue="")
        yield ", ".join(": ".join(filter(None, cell)) for cell in cells if any(cell))


def _cell(cell: Cell) -> str:
    return _words(cell).replace("\n", " ")


def _words(children: Iterable[Inline]) -> str:
    return "".join(map(_word, children))


def _word(child: Inline) -> str:
    match child:
        case Text() | Code():
            return child.text
        case LineBreak():
            return "\n"
        case Image():
            return child.alt or place_of(child.url)
        case Link():
            words = _words(child.children)
            return place_of(child.url) if is_bare(child.url, words) else words
        case _:
            return _words(child.children)


def without_silent_signs(words: str) -> str:
    """`words` without emoji, and without signs that nobody sees; digits in boxes stay digits."""
    return _EMOJI.sub(_kept_number, _SILENT.sub("", words))


def place_of(url: str) -> str:
    """What is said of an address: the host, the mailbox, the number."""
    scheme, _, rest = url.partition(":")
    if not scheme.lower().startswith("http"):
        return rest
    try:
        host = urlsplit(url).hostname or rest
    except ValueError:
        host = rest.strip("/")
    return host.removeprefix("www.")


# ---------------------------------------------------------------------------------------------
# XML

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"})


def xml_text(text: str) -> str:
    """`text` for the inside of an XML element or attribute, as TwiML and SSML are.

    What XML 1.0 does not allow (https://www.w3.org/TR/xml/#charsets, 2008) is left out.
    """
    return _NOT_XML.sub("", text).translate(_XML)
