"""
A Markdown text that is too long for one message, as Markdown texts that are not.

What counts is what is sent: the length of a piece is measured in the dialects that its channel writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import ConfigError
from ..text import Unit, measure, split
from .cutting import cut, has_letters
from .document import Document, as_written
from .layout import lay_out
from .parsing import parse
from .plainer import in_lines, without_styles
from .rendering import Dialect, Rendered, in_dialect, render
from .source import to_markdown
from .telegram import MOST_ENTITIES

_GROWTH = 8
"""How much longer words on one line become in any dialect, at the most: ``&`` is five letters of Slack's."""
_MAY_GROW_MORE = re.compile(r"[\n|]|\]:")


def split_markdown(text: str, limit: int, unit: Unit, dialects: Sequence[Dialect] = ()) -> list[str]:
    """`text` in pieces, each complete Markdown of at most `limit` in each of `dialects`.

    A fence, a list, a link or a style that is cut is closed, and opened again in the next piece. Without
    `dialects` the Markdown itself is measured. White space at a cut is dropped, and so is a piece of
    nothing else; a text that need not be cut stays as it was written.
    """
    room = _Room(limit, unit, dialects)
    if room.surely_holds(text) or room.holds(text):
        return [text] if text.strip() else []
    try:
        document = parse(text)
    except ConfigError:
        return split(text, max(limit // _GROWTH, 4) if dialects else limit, unit)
    pieces = cut(document, room.holds_document)
    # Where marks are all there is, they are shown.
    return [piece for part in pieces for piece in room.written(part)] or list(room.as_written(text))


class _Room:
    """What fits into one message."""

    def __init__(self, limit: int, unit: Unit, dialects: Sequence[Dialect]) -> None:
        self._limit = limit
        self._unit = unit
        self._dialects = dialects

    def surely_holds(self, text: str) -> bool:
        """Whether `text` fits, whatever its marks mean: so most texts need not be read to know."""
        return measure(text, self._unit) * _GROWTH <= self._limit and not _MAY_GROW_MORE.search(text)

    def holds(self, text: str) -> bool:
        """Whether what is sent for `text` fits; where its marks show nothing, that is `text` itself."""
        rendered = [render(text, dialect) for dialect in self._dialects]
        blank = not all(shown.text.strip() for shown in rendered)
        return all(map(self._has_room_for, rendered)) and (not (blank or not rendered) or self._fits(text))

    def holds_document(self, document: Document) -> bool:
        """The same for what was read of a text."""
        if has_letters(document, 2 * self._limit):
            return False  # It need not be written to know.
        if not self._dialects:
            return self._fits(to_markdown(document))
        return all(self._has_room_for(in_dialect(document, dialect)) for dialect in self._dialects)

    def written(self, piece: Document) -> Iterator[str]:
        """`piece` as Markdown that says the same, if need be with fewer styles, or in smaller pieces."""
        if not _visible(piece):
            return
        for form in (piece, without_styles(piece), in_lines(piece)):
            text = to_markdown(form)
            read = parse(text)
            if self.holds_document(read) and _visible(read) == _visible(form):
                yield text
                return
        yield from self.as_written("\n".join(line.text for line in lay_out(piece, links="kept")))

    def as_written(self, words: str) -> Iterator[str]:
        """`words` as Markdown that shows them as they are."""
        for part in split(words, max(self._limit // _GROWTH, 4), self._unit):
            yield to_markdown(in_lines(as_written(part)))

    def _has_room_for(self, shown: Rendered) -> bool:
        return self._fits(shown.text) and len(shown.entities) <= MOST_ENTITIES

    def _fits(self, text: str) -> bool:
        return measure(text, self._unit) <= self._limit


def _visible(document: Document) -> list[tuple[object, ...]]:
    """The letters of `document`, each with how it looks."""
    return [
        (letter, run.bold, run.italic, run.strike, run.code, run.link, line.quotes, line.code)
        for line in lay_out(document, links="kept")
        for run in line.runs
        for letter in run.text
        if not letter.isspace()
    ]
