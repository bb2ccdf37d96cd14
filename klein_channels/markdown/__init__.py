"""
What agents write, as each platform shows it: one parser, and one pure renderer for each dialect.

::

    render("**Hello** [there](https://example.com)", "slack").text

Nothing that an agent or a person says can mention everyone, or be taken for the markup of a platform.
"""

from __future__ import annotations

from .document import Document, as_written
from .parsing import end_of_settled, parse
from .plain import to_plain
from .rendering import Dialect, Rendered, render
from .slack import to_mrkdwn
from .speech import to_speech, xml_text
from .splitting import split_markdown
from .telegram import to_telegram
from .whatsapp import to_whatsapp

__all__ = [
    "Dialect",
    "Document",
    "Rendered",
    "as_written",
    "end_of_settled",
    "parse",
    "render",
    "split_markdown",
    "to_mrkdwn",
    "to_plain",
    "to_speech",
    "to_telegram",
    "to_whatsapp",
    "xml_text",
]
