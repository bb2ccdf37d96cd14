"""
Markdown as Slack's mrkdwn (docs.slack.dev, Formatting message text, read 2026).

``&``, ``<`` and ``>`` are escaped everywhere, so no text becomes a mention, a channel or a command;
``@channel``, ``@here`` and ``@everyone`` are broken too, for messages that are sent with `link_names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from .document import Document
from .layout import Line, Run, is_bare, lay_out
from .marks import LOOKALIKES, NO_BREAK, code_groups, harmless, marked

_JOINT = "\u200b"
"""A space of no width: the border of a word where none is seen."""
_EVERYONE = re.compile(r"@(?=(?:channel|here|everyone|group)\b)", re.IGNORECASE)
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LINE_START = re.compile(r"\A(\s*)(?=&gt;)")


def to_mrkdwn(document: Document) -> str:
    """`document` for ``text`` of ``chat.postMessage`` and for objects of type ``mrkdwn``."""
    lines = lay_out(document, links="kept")
    shown = (
        _block(group) if is_code else "\n".join(map(_line, group)) for is_code, group in code_groups(lines)
    )
    return "\n".join(shown)


def escape(text: str) -> str:
    """`text` without anything that Slack takes for a mention, a link or a command."""
    return _EVERYONE.sub(f"@{NO_BREAK}", text.translate(_ESCAPES))


def _block(lines: list[Line]) -> str:
    code = "\n".join(line.text for line in lines).replace("```", LOOKALIKES["`"] * 3)
    return f"```\n{escape(code)}\n```"


def _line(line: Line) -> str:
    words = _LINE_START.sub(rf"\1{NO_BREAK}", marked(list(_whole_links(line.runs)), _words, _JOINT), count=1)
    return f"> {words}".rstrip() if line.quotes else words


def _whole_links(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs with each link as one: its label takes no marks, so it has the styles that all of it has."""
    for link, group in groupby(runs, lambda run: run.link):
        parts = list(group)
        if link is None or all(is_bare(link, run.text) for run in parts):
            yield from parts
            continue
        yield Run(
            "".join(run.text for run in parts),
            bold=all(run.bold for run in parts),
            italic=all(run.italic for run in parts),
            strike=all(run.strike for run in parts),
            link=link,
        )


def _words(run: Run) -> str:
    if run.link is not None:
        url = run.link.translate(_ESCAPES)
        return f"<{url}>" if is_bare(run.link, run.text) else f"<{url}|{escape(harmless(run.text))}>"
    if run.code:
        return f"`{escape(run.text.replace('`', LOOKALIKES['`']))}`"
    return escape(harmless(run.text))
