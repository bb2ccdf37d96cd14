"""
Markdown as WhatsApp shows it (faq.whatsapp.com, How to format your messages, read 2026).

There are no links: addresses stand behind their words and WhatsApp makes them links. Signs that would begin
a list or a quote at the beginning of a line, and were not meant to, are kept from it.
"""

from __future__ import annotations

import re

from .document import Document
from .layout import Line, Run, lay_out
from .marks import LOOKALIKES, NO_BREAK, code_groups, harmless, harmless_address, marked

_BULLET = "- "
_LINE_START = re.compile(r"\A(?=\s*(?:[-*>]|\d+[.)])(?:\s|\Z))")


def to_whatsapp(document: Document) -> str:
    """`document` for ``text.body`` and captions."""
    lines = lay_out(document, links="spelled", bullet=_BULLET)
    shown = (
        _block(group) if is_code else "\n".join(map(_line, group)) for is_code, group in code_groups(lines)
    )
    return "\n".join(shown)


def _block(lines: list[Line]) -> str:
    code = "\n".join(line.text for line in lines).replace("```", LOOKALIKES["`"] * 3)
    return f"```\n{code}\n```"


def _line(line: Line) -> str:
    ours = "".join(run.text for run in line.runs if run.ours)
    words = marked([run for run in line.runs if not run.ours], _words, None)
    guarded = ours + _LINE_START.sub(NO_BREAK, words, count=1)
    return f"> {guarded}".rstrip() if line.quotes else guarded


def _words(run: Run) -> str:
    if run.link == run.text:
        return harmless_address(run.text)
    if run.code:
        return f"`{run.text.replace('`', LOOKALIKES['`'])}`"
    return harmless(run.text)
