"""The one way from Markdown to a document; the library behind it is an extra, loaded when it is needed."""

from __future__ import annotations

from ..errors import ConfigError
from ..text import clean
from .document import Document


def parse(text: str, *, partial: bool = False) -> Document:
    """Read `text`: CommonMark, tables, ~~strikethrough~~, bare addresses; `partial` if more of it will come.

    HTML is text. Nothing visible is dropped: what cannot be understood stays as it was written.
    Of a partial text, what is open is shown as if it were closed, and a last sign that may become markup is
    held back, so that a growing text neither breaks nor flickers. Raises `ConfigError` without the extra
    ``[markdown]``, and nothing else for any text.
    """
    try:
        from .commonmark import read
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("markdown_it", "mdurl"):
            raise
        raise ConfigError("Markdown needs an extra: pip install 'klein_channels[markdown]'") from None
    return read(clean(text), partial=partial)


def end_of_settled(text: str) -> int:
    """How much of a growing text is blocks that more of it does not change: all before its last one.

    Without the extra it is sent as it is written, and all before its last blank line is settled.
    """
    try:
        from . import commonmark
    except ImportError:
        return text.rfind("\n\n") + 1
    return commonmark.end_of_settled(text)
