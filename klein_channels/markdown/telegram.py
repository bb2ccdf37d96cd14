"""
Markdown as Telegram's text and entities (core.telegram.org/bots/api, MessageEntity, read 2026).

Entities are counted in UTF-16 units and leave the text as it is, so nothing in it can be taken for markup.
Telegram wants them nested, never overlapping; ``code`` and ``pre`` stand alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TypeAlias

from ..model import JSON
from ..text import measure, split
from .document import Document
from .layout import Line, Run, is_bare, lay_out

Entity: TypeAlias = dict[str, JSON]
MOST_UNITS = 4096
MOST_ENTITIES = 100
_ORDER = ("blockquote", "pre", "text_link", "bold", "italic", "strikethrough", "code")
_Mark: TypeAlias = tuple[str, str]
"""The type of an entity and its address or language."""


def to_telegram(document: Document) -> tuple[str, list[Entity]]:
    """The text of `document` and its entities; of any length, see `split_telegram`."""
    writer = _Writer()
    before: Line | None = None
    for line in lay_out(document, links="kept"):
        if before is not None:
            writer.write("\n", _around(before) & _around(line))
        for run in line.runs:
            writer.write(run.text, _around(line) | _marks(line, run))
        before = line
    return writer.finish()


def _around(line: Line) -> frozenset[_Mark]:
    """What a line and its neighbour have in common."""
    quote = {("blockquote", "")} if line.quotes else set()
    code = {("pre", line.code)} if line.code is not None else set()
    return frozenset(quote | code)


def _marks(line: Line, run: Run) -> frozenset[_Mark]:
    if line.code is not None:
        return frozenset()
    if run.link is not None and not is_bare(run.link, run.text):
        linked = {("text_link", run.link)}
    elif run.code:
        return frozenset({("code", "")})
    else:
        linked = set()
    styles = (("bold", run.bold), ("italic", run.italic), ("strikethrough", run.strike))
    return frozenset(linked | {(name, "") for name, on in styles if on})


class _Writer:
    """Puts texts together; an entity that ends within another ends the later one too, which begins anew."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._offset = 0
        self._open: list[tuple[_Mark, int]] = []
        self._entities: list[Entity] = []

    def write(self, text: str, marks: frozenset[_Mark]) -> None:
        """Add `text`, which all of `marks` cover."""
        if not text:
            return
        self._close_down_to(
            next((n for n, (m, _) in enumerate(self._open) if m not in marks), len(self._open))
        )
        begun = {mark for mark, _ in self._open}
        new = sorted(marks - begun, key=lambda mark: _ORDER.index(mark[0]))
        self._open += [(mark, self._offset) for mark in new]
        self._texts.append(text)
        self._offset += measure(text, "utf16")

    def finish(self) -> tuple[str, list[Entity]]:
        """All the text, and the entities in their order, the outer before the inner."""
        self._close_down_to(0)
        self._entities.sort(key=lambda e: (e["offset"], -e["length"], _ORDER.index(e["type"])))
        return "".join(self._texts), self._entities

    def _close_down_to(self, depth: int) -> None:
        while len(self._open) > depth:
            (kind, value), start = self._open.pop()
            self._entities.append(_entity(kind, value, start, self._offset - start))


def _entity(kind: str, value: str, offset: int, length: int) -> Entity:
    entity: Entity = {"type": kind, "offset": offset, "length": length}
    if value:
        entity["url" if kind == "text_link" else "language"] = value
    return entity


# ---------------------------------------------------------------------------------------------
# Splitting


def split_telegram(
    text: str, entities: Iterable[Entity], limit: int = MOST_UNITS
) -> list[tuple[str, list[Entity]]]:
    """`text` in pieces of at most `limit` UTF-16 units, each with its part of the entities.

    Cut as by `text.split`; but within code only between lines, where there are any, and nothing of the
    code but that line end is dropped. An entity that is cut goes on in the next piece. Telegram shows 100
    entities of a message: what a piece has beyond them is left out. ValueError for a limit under 2.
    """
    ordered = sorted(entities, key=lambda e: (e["offset"], -e["length"]))
    units = _Units(text)
    code = [
        (units.index(e["offset"]), units.index(e["offset"] + e["length"]))
        for e in ordered
        if e["type"] == "pre"
    ]
    pieces: list[tuple[str, list[Entity]]] = []
    start = 0
    while start < len(text):
        start, end, following = _cut(text, start, limit, code)
        if text[start:end].strip():
            piece = _within(ordered, units.offset(start), units.offset(end))
            pieces.append((text[start:end], piece[:MOST_ENTITIES]))
        start = following
    return pieces


class _Units:
    """Positions in a text: code points and UTF-16 units."""

    def __init__(self, text: str) -> None:
        self._offsets = [0]
        for character in text:
            self._offsets.append(self._offsets[-1] + (2 if character > "\uffff" else 1))

    def offset(self, index: int) -> int:
        """The UTF-16 units before the code point `index`."""
        return self._offsets[index]

    def index(self, offset: int) -> int:
        """The code points before the UTF-16 unit `offset`."""
        return min(bisect_left(self._offsets, offset), len(self._offsets) - 1)


def _cut(text: str, start: int, limit: int, code: list[tuple[int, int]]) -> tuple[int, int, int]:
    """Where the piece from `start` begins and ends, and where the next one starts."""
    window = text[start : start + 2 * limit]
    parts = split(window, limit, "utf16")
    if not parts:
        return start, start, start + len(window)
    begin = start + window.index(parts[0])
    end = begin + len(parts[0])
    if len(parts) == 1 and start + len(window) == len(text):
        return begin, end, len(text)
    if not any(first < end < last for first, last in code):
        return begin, end, end + len(text[end:]) - len(text[end:].lstrip())
    furthest = begin + _fitting(text[begin : begin + limit], limit)
    line_end = text.rfind("\n", begin, furthest + 1)
    if line_end > begin and any(first < line_end < last for first, last in code):
        return begin, line_end, line_end + 1
    return begin, end, end


def _fitting(text: str, limit: int) -> int:
    """How many code points of `text` fit into `limit`."""
    return bisect_left(range(len(text)), True, key=lambda count: measure(text[: count + 1], "utf16") > limit)


def _within(entities: list[Entity], start: int, end: int) -> list[Entity]:
    """What of the entities lies between two offsets, counted from the first."""
    found: list[Entity] = []
    for entity in entities:
        first, last = max(start, entity["offset"]), min(end, entity["offset"] + entity["length"])
        if first < last:
            found.append({**entity, "offset": first - start, "length": last - first})
    return found
