"""
A text that is still being written: what is open is closed, and what may become markup waits.

A fence, a quote or a list that is open needs nothing: they end with the text. The rest is done in three
places: the last signs of the source, the last line of a table that begins, and the last words of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

_LAST_SIGNS = re.compile(
    r"[ \t>]*+(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*+"  # quotes and items without words
    r"(?:[-=_*+~`]{1,64}|\#{1,6}|\d{1,9}[.)]|\|)?[ \t]*"
)


def without_last_signs(text: str) -> str:
    """`text` without a last line that is only the beginning of something: a bullet, a fence, a rule."""
    line = text.rfind("\n") + 1
    return text[:line] if _LAST_SIGNS.fullmatch(text, line) else text


# ---------------------------------------------------------------------------------------------
# Tables

_HEAD = re.compile(r"[ ]{0,3}\|.*\S[ \t]*")
_DELIMITER = re.compile(r"[ ]{0,3}\|[ \t:|-]*|")
_ESCAPED = re.compile(r"\\.", re.DOTALL)


def complete_table(text: str, blocks_of: Callable[[str], list[Token]]) -> str:
    """`text` with the line of dashes that makes a table of its last line, if that is the head of one."""
    before, head, dashes = _last_lines(text)
    if not _HEAD.fullmatch(head) or not _DELIMITER.fullmatch(dashes):
        return text
    tokens = blocks_of(text)
    if not tokens or tokens[-1].type != "paragraph_close" or tokens[-1].level:
        return text
    head = head.rstrip()
    if not _ESCAPED.sub("", head).endswith("|") or head.strip() == "|":
        head += " |"
    columns = _ESCAPED.sub("", head).count("|") - 1
    return f"{before}{head}\n|{'-|' * columns}"


def _last_lines(text: str) -> tuple[str, str, str]:
    """What comes before, a line that may be a head, and the line of dashes that has begun under it."""
    before, end, last = text.rpartition("\n")
    if end and _DELIMITER.fullmatch(last):
        further, end, head = before.rpartition("\n")
        return further + end, head, last
    return before + end, last, ""


# ---------------------------------------------------------------------------------------------
# The last words


def close_unfinished(reader: MarkdownIt) -> None:
    """Let `reader` end the styles, links and code that the last words of a text leave open."""
    reader.core.ruler.before("inline", "unfinished", _mend_last_words)
    reader.inline.ruler2.after("balance_pairs", "unfinished", _close_styles)


def _mend_last_words(state: StateCore) -> None:
    for token in reversed(state.tokens):
        if token.type == "inline" and token.content:
            token.content = mended(token.content)
            state.env["last words"] = token.content
            return
        if token.nesting >= 0 and token.type != "inline":
            _hold_back_fence(token)
            return


def _hold_back_fence(token: Token) -> None:
    """Drop the fence that begins to be written at the end of the code."""
    if token.type == "fence":
        line = token.content.rfind("\n", 0, -1) + 1
        sign = token.content[line:].strip()
        if sign and set(sign) == set(token.markup[:1]) and len(sign) < len(token.markup):
            token.content = token.content[:line]


_MARK = re.compile(r"\\.|`+|!?\[|\]|\\\Z", re.DOTALL)
_HALF_ADDRESS = re.compile(r"<([a-z]{0,6})(:[^\s<>]*+)?\Z", re.IGNORECASE)
_SCHEMES = ("http:", "https:", "mailto:", "tel:")
_HALF_DESTINATION = re.compile(r"""\((?!\S*\))\S*(?:[ ]+(?:"[^"\n]*"?|'[^'\n]*'?)?)?\Z""")
_LONGEST_DESTINATION = 4096


def mended(words: str) -> str:
    """`words` with open code closed, a half link as its text, and the last signs held back."""
    runs = _runs_of_backticks(words)
    open_brackets: list[re.Match[str]] = []
    position = 0
    while mark := _MARK.search(words, position):
        position = mark.end()
        if mark[0][0] == "`":
            end = _end_of_code(runs, mark)
            if end is None:
                return _closed_code(words, mark)
            position = end
        elif mark[0][-1] == "[":
            open_brackets.append(mark)
        elif mark[0] == "]" and open_brackets:
            bracket = open_brackets.pop()
            if position == len(words) or _is_half(words, position):
                label = words[bracket.end() : mark.start()]
                return _without_end(words[: bracket.start()] + label)
    if open_brackets:
        last = open_brackets[-1]
        words = words[: last.start()] + words[last.end() :]
    half = _HALF_ADDRESS.search(words)
    if half and any(scheme.startswith(half[1].lower() + ":" * bool(half[2])) for scheme in _SCHEMES):
        words = words[: half.start()] + words[half.start() + 1 :]
    return _without_end(words)


def _is_half(words: str, position: int) -> bool:
    """Whether all that follows is an address, perhaps with a title, that has not ended yet."""
    return (
        len(words) - position <= _LONGEST_DESTINATION and _HALF_DESTINATION.match(words, position) is not None
    )


def _runs_of_backticks(words: str) -> dict[int, list[int]]:
    """Where runs of backticks end, by their length, the last one first."""
    runs: dict[int, list[int]] = {}
    for run in re.finditer("`+", words):
        runs.setdefault(len(run[0]), []).append(run.end())
    for ends in runs.values():
        ends.reverse()
    return runs


def _end_of_code(runs: dict[int, list[int]], mark: re.Match[str]) -> int | None:
    ends = runs.get(len(mark[0]), [])
    while ends and ends[-1] <= mark.end():
        ends.pop()
    return ends.pop() if ends else None


def _closed_code(words: str, mark: re.Match[str]) -> str:
    code = words[mark.end() :].rstrip("`")
    if not code.strip():
        return _without_end(words[: mark.start()])
    return words[: mark.end()] + code + (" " if code.endswith("\n") else "") + mark[0]


def _without_end(words: str) -> str:
    """`words` without the signs at their end that close a style, open one or escape what comes."""
    kept = words.rstrip("*_~")
    if len(kept) < len(words) and _escapes(kept):
        kept = words[: len(kept) + 1]
    kept = kept.removesuffix("!") if kept.endswith(" !") else kept
    return kept[:-1] if _escapes(kept) else kept


def _escapes(words: str) -> bool:
    return (len(words) - len(words.rstrip("\\"))) % 2 == 1


def _close_styles(state: StateInline) -> None:
    """Give each style that the last words leave open an end of its own."""
    if state.env.get("last words") != state.src:
        return
    given = state.delimiters
    reach = -1
    openers: list[int] = []
    for number, delimiter in enumerate(given):
        if delimiter.end > reach:
            reach = delimiter.end
        elif number > reach and delimiter.open:
            openers.append(number)
    for number in reversed(openers):
        opener = given[number]
        token = state.push("text", "", 0)
        token.content = state.tokens[opener.token].content
        opener.end = len(given)
        end = Delimiter(opener.marker, opener.length, len(state.tokens) - 1, -1, False, True)
        given.append(end)
