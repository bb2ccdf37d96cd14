"""From the tokens inside a block to styles, links and words; and the rule for addresses without marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from .document import (
    Code,
    Emphasis,
    Image,
    Inline,
    LineBreak,
    Link,
    Strike,
    Strong,
    Text,
    is_safe,
    one_line,
    without_tail,
)

DEEPEST_STYLE = 8
"""Styles within styles; a deeper one leaves its words as they are."""

_STYLES: dict[str, Callable[[tuple[Inline, ...]], Inline]] = {
    "strong": Strong,
    "em": Emphasis,
    "s": Strike,
}


class _Open:
    """A style or a link that has begun."""

    def __init__(self, make: Callable[[tuple[Inline, ...]], Inline] | None = None) -> None:
        self.make = make
        self.children: list[Inline] = []


def inlines(tokens: list[Token]) -> tuple[Inline, ...]:
    """What stands inside a block. Iterative: styles can be nested as deep as a text is long."""
    stack = [_Open()]
    for token in tokens:
        kind, _, side = token.type.rpartition("_")
        if side == "open":
            stack.append(_opened(token, kind, stack))
        elif side == "close":
            closed = stack.pop()
            if closed is not stack[-1]:
                stack[-1].children += _closed(closed)
        else:
            stack[-1].children += _leaf(token)
    return _joined(stack[0].children)


def _opened(token: Token, kind: str, stack: list[_Open]) -> _Open:
    """A new level; the level around it once more where a style lies too deep."""
    if kind == "link":
        url = str(token.attrs["href"])
        return _Open(partial(_link, url) if is_safe(url) else None)
    return _Open(_STYLES[kind]) if len(stack) <= DEEPEST_STYLE else stack[-1]


def _closed(level: _Open) -> list[Inline]:
    children = _joined(level.children)
    is_link = isinstance(level.make, partial)
    return [level.make(children)] if level.make and (children or is_link) else list(children)


def _link(url: str, children: tuple[Inline, ...]) -> Link:
    return Link(url, children if _visible(children) else (Text(url),))


def _visible(children: tuple[Inline, ...]) -> bool:
    return any(
        not isinstance(c, Text | LineBreak) or (isinstance(c, Text) and c.text.strip()) for c in children
    )


def _leaf(token: Token) -> list[Inline]:
    match token.type:
        case "softbreak" | "hardbreak":
            return [LineBreak()]
        case "code_inline":
            text = one_line(token.content)
            return [Code(text)] if text.strip() else [Text(text)]
        case "image":
            alt = "".join(_spoken(token.children or []))
            url = str(token.attrs["src"])
            return [Image(url, one_line(alt).strip()) if is_safe(url) else Text(one_line(alt))]
    text = one_line(token.content)
    return [Text(text)] if text else []


def _spoken(tokens: list[Token]) -> Iterator[str]:
    """The description of a picture, in words."""
    for token in tokens:
        if token.type == "image":
            yield from _spoken(token.children or [])
        else:
            yield "\n" if token.type in ("softbreak", "hardbreak") else token.content


def _joined(children: list[Inline]) -> tuple[Inline, ...]:
    """`children` with neighbouring texts as one."""
    found: list[Inline] = []
    for are_texts, group in groupby(children, lambda child: isinstance(child, Text)):
        if are_texts:
            found.append(Text("".join(child.text for child in group if isinstance(child, Text))))
        else:
            found += group
    return tuple(found)


# ---------------------------------------------------------------------------------------------
# Addresses in the text

_SCHEME = re.compile(r"(?<![^\W_])https?\Z", re.IGNORECASE)
_REST = re.compile(r"://[^\s\[\]<>\"|`\\^{}\x00-\x1f]+")


def bare_address(state: StateInline, silent: bool) -> bool:
    """A rule for addresses without any marks: a link, and none of its signs a mark."""
    scheme = _SCHEME.search(state.src[max(0, state.pos - 6) : state.pos])
    rest = _REST.match(state.src, state.pos, state.posMax)
    if scheme is None or rest is None:
        return False
    url = without_tail(scheme[0] + rest[0])
    if not is_safe(url) or not (silent or state.pending.endswith(scheme[0])):
        return False
    if state.linkLevel and not silent:
        state.pending += url[len(scheme[0]) :]
    elif not silent:
        state.pending = state.pending[: -len(scheme[0])]
        state.push("link_open", "a", 1).attrs = {"href": url.replace("&amp;", "&")}
        state.push("text", "", 0).content = url.replace("&amp;", "&")
        state.push("link_close", "a", -1)
    state.pos += len(url) - len(scheme[0])
    return True
