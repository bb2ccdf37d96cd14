"""Markdown as plain text: for platforms without markup, and for logs."""

from __future__ import annotations

from .document import Document
from .layout import lay_out


def to_plain(document: Document) -> str:
    """The words of `document`; links as ``text (address)``, lists with bullets, quotes behind ``>``."""
    lines = lay_out(document, links="spelled")
    return "\n".join(("> " * line.quotes + line.text).rstrip() for line in lines)
