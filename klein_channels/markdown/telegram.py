"""
Markdown as Telegram's text and entities (core.telegram.org/bots/api, MessageEntity, read 2026).

Entities are counted in UTF-16 units and leave the text as it is, so nothing in it can be taken for markup.
Telegram wants them nested, never overlapping; ``code`` and ``pre`` stand alone.
"""

from __future__ import annotations

from typing import TypeAlias

from ..model import JSON
from ..text import measure
from .document import Document
from .layout import Line, Run, is_bare, lay_out

Entity: TypeAlias = dict[str, JSON]
MOST_ENTITIES = 100
_ORDER = ("blockquote", "pre", "text_link", "bold", "italic", "strikethrough", "code")
_Mark: TypeAlias = tuple[str, str]
"""The type of an entity and its address or language."""


def to_telegram(document: Document) -> tuple[str, list[Entity]]:
    """The text of `document` and its entities, of any length."""
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
