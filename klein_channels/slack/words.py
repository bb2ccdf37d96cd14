"""
Slack's own markup: what people wrote, read as plain words, and our words written so that they are only words.

In Slack's texts ``&``, ``<`` and ``>`` are control characters; between ``<`` and ``>`` stand links and
mentions, some of which notify everybody (Slack, "Formatting message text", read November 2026). What an
agent or a person says must never become one of those.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, TypeAlias
from urllib.parse import quote

from ..markdown import render as render_markdown

Format: TypeAlias = Literal["plain", "markdown"]

_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
_ENTITY = re.compile("&(?:amp|lt|gt);")
_SEQUENCE = re.compile("<([^<>]*)>( ?)|&(?:amp|lt|gt);")
_SCHEME = re.compile("(?:https?://|mailto:|tel:)", re.IGNORECASE)
_BARE_LINK = re.compile(r"https?://[^\s<>|\"]+", re.IGNORECASE)
_AFTER_A_LINK = ".,;:!?)]}'*_~`"
_OPENING = re.compile(r"<(?=[@!#]|\Z)")
_NOTHING = "\u200b"
"""A zero-width space: within a control sequence it leaves the letters and takes the meaning."""


def read_words(mrkdwn: str, ours: Collection[str] = ()) -> str:
    """The words of a text of Slack's: links and mentions as people see them, those of `ours` left out."""
    found_us = False

    def said(match: re.Match[str]) -> str:
        nonlocal found_us
        inside = match.group(1)
        if inside is None:
            return _ENTITIES[match.group()]
        if inside.startswith("@") and inside[1:].partition("|")[0] in ours:
            found_us = True
            return ""
        return _sequence_in_words(inside) + match.group(2)

    words = _SEQUENCE.sub(said, mrkdwn)
    return words.strip() if found_us else words


def mentions(mrkdwn: str, users: Collection[str]) -> bool:
    """Whether a text of Slack's mentions one of `users` (ids)."""
    return any(f"<@{user}>" in mrkdwn or f"<@{user}|" in mrkdwn for user in users)


def _sequence_in_words(inside: str) -> str:
    target, _, label = (_decoded(half) for half in inside.partition("|"))
    if target.startswith(("@", "#")):
        return target[0] + (label or target[1:]).removeprefix(target[0])
    if target.startswith("!date^"):
        return label or target
    if target.startswith("!"):
        return "@" + (label or target[1:].partition("^")[0]).removeprefix("@")
    scheme, _, rest = target.partition(":")
    if scheme in ("mailto", "tel"):
        return label or rest
    if not label or target.rstrip("/").endswith(label.rstrip("/")):
        return label or target
    return f"{label} ({target})"


def _decoded(text: str) -> str:
    return _ENTITY.sub(lambda match: _ENTITIES[match.group()], text)


# ---------------------------------------------------------------------------------------------
# Writing


def escape(text: str) -> str:
    """`text` with nothing in it that Slack would take for a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def render(text: str, format: Format = "plain") -> str:
    """The words of a part as Slack's markup: the one place where a format becomes mrkdwn."""
    # An empty link or a control character shows nothing, and Slack refuses a message without words.
    shown = render_markdown(text, "slack").text if format == "markdown" else ""
    return shown or escape(text)


def render_with_links(text: str, format: Format = "plain") -> str:
    """The same for a text object that Slack takes verbatim, so that addresses are to be marked by us."""
    if format == "markdown":
        return render(text, format)
    shown, done = [], 0
    for match in _BARE_LINK.finditer(text):
        url = match.group().rstrip(_AFTER_A_LINK)
        shown += [render(text[done : match.start()], format), f"<{escape(url)}>"]
        done = match.start() + len(url)
    return "".join([*shown, render(text[done:], format)])


def link(url: str, label: str | None = None) -> str:
    """A link with words of its own; what is no web, mail or telephone address is only shown."""
    url = url.strip()
    if _SCHEME.match(url) is None:
        return escape(f"{label}: {url}" if label else url)
    target = escape(re.sub(r'[<>|"\s]', lambda match: quote(match.group()), url))
    words = escape(" ".join((label or "").replace("|", " ").split()))
    return f"<{target}|{words}>" if words else f"<{target}>"


def is_address(url: str) -> bool:
    """Whether `url` leads to the web, to a mailbox or to a telephone, and nowhere else."""
    return _SCHEME.match(url) is not None and not re.search(r"\s", url)


def streamable(piece: str) -> str:
    """A piece of Markdown for a stream, in which no mention can begin, in it or with the next piece."""
    return _OPENING.sub(f"<{_NOTHING}", piece)
