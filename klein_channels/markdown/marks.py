"""
Marks around words, ``*bold* _italic_ ~strike~ `code` ``, as Slack and WhatsApp read them.

Neither has an escape sign. A mark counts where it touches a word on one side only; so one that shall be
seen, and might count, is written as the letter that looks like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from .layout import Line, Run

LOOKALIKES: Mapping[str, str] = {"*": "\u2217", "_": "\u02cd", "~": "\u223c", "`": "\u02cb"}
"""What a mark in the text is written as where it might be taken for markup."""
NO_BREAK = "\u2060"
"""Word joiner: an invisible sign that keeps another from standing at the beginning of a line."""
_PERCENT = {mark: f"%{ord(mark):02X}" for mark in LOOKALIKES}
_STYLES = (("bold", "*"), ("italic", "_"), ("strike", "~"))
_MARK = re.compile("[*_~`]")

_Piece = tuple[Run, str]


def harmless(text: str, instead: Mapping[str, str] = LOOKALIKES) -> str:
    """`text` without marks that count; those between spaces, and ``_`` within a word, never do."""

    def written(mark: re.Match[str]) -> str:
        before, behind = text[: mark.start()][-1:], text[mark.end() :][:1]
        within = mark[0] == "_" and before.isalnum() and behind.isalnum()
        between = mark[0] != "`" and before.isspace() and behind.isspace()
        return mark[0] if within or between else instead[mark[0]]

    return _MARK.sub(written, text)


def harmless_address(url: str) -> str:
    """`url` with marks that count as percent signs and digits, which lead to the same place."""
    return harmless(url, _PERCENT)


def code_groups(lines: Sequence[Line]) -> Iterator[tuple[bool, list[Line]]]:
    """The lines in runs that are, or are not, of one code block."""
    for is_code, group in groupby(lines, lambda line: line.code is not None):
        yield is_code, list(group)


def marked(runs: Sequence[Run], write: Callable[[Run], str], joint: str | None) -> str:
    """The runs of one line with their marks; `write` gives the words of a run without marks.

    Inside a word a mark counts for nothing: there `joint` is put between, or, without one, the style is
    left out.
    """
    return _styled([(run, write(run)) for run in runs if run.text], 0, joint, "", "")


def _styled(pieces: Sequence[_Piece], level: int, joint: str | None, before: str, behind: str) -> str:
    if level == len(_STYLES):
        return "".join(words for _, words in pieces)
    name, mark = _STYLES[level]
    groups = [(on, list(group)) for on, group in groupby(pieces, lambda piece: getattr(piece[0], name))]
    texts = ["".join(words for _, words in group) for _, group in groups]
    out: list[str] = []
    for number, (on, group) in enumerate(groups):
        left = texts[number - 1][-1:] if number else before
        right = texts[number + 1][:1] if number + 1 < len(groups) else behind
        text = texts[number]
        touches = (
            left.isalnum() and not text[:1].isspace(),
            right.isalnum() and not text[-1:].isspace(),
        )
        if not on or not text.strip() or (joint is None and any(touches)):
            out.append(_styled(group, level + 1, joint, left, right))
            continue
        start, end = ((joint or "") if touch else "" for touch in touches)
        out.append(start + _wrapped(mark, _styled(group, level + 1, joint, "", "")) + end)
    return "".join(out)


def _wrapped(mark: str, words: str) -> str:
    """`words` in marks; space at their ends stays outside, where marks need it."""
    core = words.strip()
    start = words.index(core)
    return f"{words[:start]}{mark}{core}{mark}{words[start + len(core) :]}"
