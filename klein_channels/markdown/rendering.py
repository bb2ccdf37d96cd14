"""From Markdown to a dialect: which renderer is whose, and what a platform gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Literal, TypeAlias

from twisted.logger import Logger

from ..errors import ConfigError
from ..model import JSON, Value
from .document import Document, as_written
from .parsing import parse
from .plain import to_plain
from .slack import to_mrkdwn
from .speech import to_speech
from .telegram import to_telegram
from .whatsapp import to_whatsapp

Dialect: TypeAlias = Literal["plain", "slack", "telegram", "whatsapp", "speech"]
RECENT = 256
"""Texts whose form is remembered: what is measured when it is said is sent a moment later."""
_log = Logger()


class Rendered(Value, frozen=True, kw_only=True):
    """What a platform gets: a text in its dialect, and Telegram's entities."""

    text: str
    entities: tuple[JSON, ...] = ()


def render(
    text: str,
    dialect: Dialect,
    format: Literal["plain", "markdown"] = "markdown",
    *,
    partial: bool = False,
) -> Rendered:
    """`text` in `dialect`: what a channel sends for a `Text` of that `format`.

    `partial` where more of the text will come. Never raises: without the extra ``[markdown]`` the text is
    shown with its marks as they were written, and the log says so once.
    """
    return _rendered(text, dialect, format, partial)


@lru_cache(maxsize=RECENT)
def _rendered(text: str, dialect: Dialect, format: str, partial: bool) -> Rendered:
    return in_dialect(_read(text, partial) if format == "markdown" else as_written(text), dialect)


def forget() -> None:
    """Remember no text any more."""
    _rendered.cache_clear()
    _read.cache_clear()


def in_dialect(document: Document, dialect: Dialect) -> Rendered:
    """`document` in `dialect`."""
    return _RENDERERS[dialect](document)


@lru_cache(maxsize=RECENT // 8)
def _read(text: str, partial: bool) -> Document:
    try:
        return parse(text, partial=partial)
    except ConfigError as error:
        _warn_once(str(error))
        return as_written(text)


@cache
def _warn_once(reason: str) -> None:
    _log.warn("Markdown is sent as it is written. {reason}", reason=reason)


def _telegram(document: Document) -> Rendered:
    text, entities = to_telegram(document)
    return Rendered(text=text, entities=tuple(entities))


def _written(renderer: Callable[[Document], str]) -> Callable[[Document], Rendered]:
    return lambda document: Rendered(text=renderer(document))


_RENDERERS: Mapping[Dialect, Callable[[Document], Rendered]] = {
    "plain": _written(to_plain),
    "slack": _written(to_mrkdwn),
    "telegram": _telegram,
    "whatsapp": _written(to_whatsapp),
    "speech": _written(to_speech),
}
