"""
Texts as platforms count them: measured, split and shortened, never inside what a reader sees as one letter.

Such a letter is an extended grapheme cluster (Unicode Standard Annex 29): a base with its marks, an emoji
sequence, a flag, a Hangul syllable, an Indic conjunct. The standard library knows neither clusters nor
emoji, so each character is mapped to one letter of a small alphabet, and a regular expression over that
alphabet finds the clusters. Where the exact Unicode tables are missing, more is kept together than the
annex asks, never less. All patterns are possessive: their time is linear in the text, whatever it holds.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["characters", "utf16", "bytes"]
WIDEST: dict[Unit, int] = {"characters": 1, "utf16": 2, "bytes": 4}
"""What one code point takes at most: the smallest limit by which any text can be split."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_JOINER = "\u200d"
_MOST_KNOWN = 8192


def clean(text: str) -> str:
    """`text` as stores and platforms take it: no NUL, and U+FFFD for a surrogate that has no partner."""
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "")


def measure(text: str, unit: Unit) -> int:
    """How long `text` is in code points, UTF-16 units or UTF-8 bytes."""
    if unit == "characters":
        return len(text)
    if unit == "utf16":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(text.encode("utf-8", "surrogatepass"))


def clusters(text: str) -> Iterator[str]:
    """The extended grapheme clusters of `text`, in order; joined they are `text`."""
    start = 0
    for end in _borders(text):
        yield text[start:end]
        start = end


def split(text: str, limit: int, unit: Unit) -> list[str]:
    """`text` in parts of at most `limit`, for a platform that takes no longer ones.

    Each part ends at its last blank line, else its last newline, white space or cluster border; white
    space at such a cut is dropped, and so is a part of nothing else. Only a cluster that is longer than
    `limit` is cut, between code points. Raises ValueError if not even one code point need fit.
    """
    if limit < WIDEST[unit]:
        raise ValueError(f"texts cannot be split by {limit} {unit}, at least {WIDEST[unit]} are needed")
    if measure(text, unit) <= limit:
        return [text] if text.strip() else []
    borders = _borders(text)
    gaps = _gaps(text, borders)
    parts: list[str] = []
    start = 0
    while start < len(text):
        furthest = start + _fitting(text[start : start + limit], limit, unit)
        end, following = _cut(text, start, furthest, borders, gaps)
        if part := text[start:end]:
            parts.append(part)
        start = following
    return [part for part in parts if part.strip()]


def cut_at(text: str, furthest: int) -> tuple[int, int]:
    """Where `split` would end a part of `text`, at the code point `furthest` at the latest, and go on.

    Raises ValueError if `furthest` is under 1.
    """
    if furthest < 1:
        raise ValueError("a part has a code point at least")
    borders = _borders(text)
    return _cut(text, 0, min(furthest, len(text)), borders, _gaps(text, borders))


def shorten(text: str, limit: int, unit: Unit, ellipsis: str = "…") -> str:
    """`text`, or as much of its beginning as `limit` allows together with `ellipsis`.

    Where not even the ellipsis leaves room for a code point, the text is cut without one; empty only if
    `limit` is too small for the first code point.
    """
    if measure(text, unit) <= limit:
        return text
    room = limit - measure(ellipsis, unit)
    kept = _beginning(text, room, unit)
    return kept + ellipsis if kept else _beginning(text, limit, unit)


def _beginning(text: str, room: int, unit: Unit) -> str:
    """As many whole clusters of `text` as fit into `room`, else as many code points."""
    if room <= 0:
        return ""
    end = _fitting(text[:room], room, unit)
    # Whether a cluster ends somewhere depends on what stands before and on one character behind.
    borders = _borders(text[: end + 1])
    before = bisect_right(borders, end)
    return text[: borders[before - 1] if before else end].rstrip().rstrip(_JOINER)


def _fitting(text: str, limit: int, unit: Unit) -> int:
    """How many code points of `text`, which has at most `limit` of them, fit into `limit`."""
    if unit == "characters":
        return len(text)
    return bisect_right(range(len(text) + 1), limit, key=lambda count: measure(text[:count], unit)) - 1


_Gaps: TypeAlias = tuple[list[int], list[int]]
_GAP = re.compile("[^\\S\u00a0\u2007\u202f]+")
_LINE_END = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")


def _gaps(text: str, borders: list[int]) -> list[_Gaps]:
    """Starts and ends of the white space in `text`: with blank lines, with one line end, without any."""
    whole = {0, *borders}
    found: list[_Gaps] = [([], []), ([], []), ([], [])]
    for gap in _GAP.finditer(text):
        # White space that carries a mark, or is carried by one, is part of something visible.
        start = gap.start() if gap.start() in whole else gap.start() + 1
        end = gap.end() if gap.end() in whole else gap.end() - 1
        if start < end:
            starts, ends = found[2 - min(2, len(_LINE_END.findall(gap[0])))]
            starts.append(start)
            ends.append(end)
    return found


def _cut(text: str, start: int, furthest: int, borders: list[int], gaps: list[_Gaps]) -> tuple[int, int]:
    """Where the part from `start` ends, at `furthest` if need be, and where the next one starts."""
    if furthest == len(text):
        return furthest, furthest
    for starts, ends in gaps:
        last = bisect_right(starts, furthest) - 1
        if last >= 0 and starts[last] > start:
            return starts[last], ends[last]
    last = bisect_right(borders, furthest) - 1
    end = borders[last] if last >= 0 and borders[last] > start else furthest
    return end, end


# ---------------------------------------------------------------------------------------------
# Clusters

_CLUSTER = re.compile(
    "rn|[rnc]"  # line ends and controls stand alone
    "|p*+(?:"  # what is put before
    "L*+(?:V++|H(?:V*+)|W)T*+|L++|T++"  # a Hangul syllable
    "|ff"  # a flag
    "|P(?:[EK]*+ZP)*+"  # emoji joined to one
    "|I(?:[EZ]*+K[EKZ]*+I)*+"  # an Indic conjunct
    "|[^rncp]"
    ")?[EKZS]*+"  # marks
)
_PREPENDED = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd"
    "\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011a84\U00011a85\U00011a86\U00011a87"
    "\U00011a88\U00011a89\U00011d46\U00011f02"
)
_RANGES = (
    (0x1100, 0x115F, "L"),
    (0xA960, 0xA97C, "L"),
    (0x1160, 0x11A7, "V"),
    (0xD7B0, 0xD7C6, "V"),
    (0x11A8, 0x11FF, "T"),
    (0xD7CB, 0xD7FB, "T"),
    (0x1F1E6, 0x1F1FF, "f"),
    (0x1F3FB, 0x1F3FF, "E"),  # skin tones
    (0xE0020, 0xE007F, "E"),  # tags, of which the flags of regions are made
    (0x1F000, 0x1FAFF, "P"),
    (0x1FC00, 0x1FFFD, "P"),
    (0x2190, 0x21FF, "P"),
    (0x2300, 0x23FF, "P"),
    (0x2460, 0x24FF, "P"),
    (0x25A0, 0x27BF, "P"),
    (0x2900, 0x297F, "P"),
    (0x2B00, 0x2BFF, "P"),
    (0xAC00, 0xD7A3, "W"),
)
_SINGLE = {
    **dict.fromkeys("\u200c\uff9e\uff9f", "E"),
    **dict.fromkeys("\u0e33\u0eb3", "S"),
    **dict.fromkeys("\u00a9\u00ae\u203c\u2049\u2122\u2139\u3030\u303d\u3297\u3299", "P"),
    **dict.fromkeys(_PREPENDED, "p"),
    "\r": "r",
    "\n": "n",
    _JOINER: "Z",
}


class _Alphabet(dict[int, str]):
    """Code point -> its letter in `_CLUSTER`; remembers the first thousands that it was asked for."""

    def __missing__(self, code: int) -> str:
        letter = _letter(code)
        if len(self) < _MOST_KNOWN:
            self[code] = letter
        return letter


_alphabet = _Alphabet()


def _borders(text: str) -> list[int]:
    """Where the clusters of `text` end."""
    return [cluster.end() for cluster in _CLUSTER.finditer(text.translate(_alphabet)) if cluster[0]]


def _letter(code: int) -> str:
    character = chr(code)
    if character in _SINGLE:
        return _SINGLE[character]
    for first, last, letter in _RANGES:
        if first <= code <= last:
            return "H" if letter == "W" and (code - first) % 28 == 0 else letter
    category = unicodedata.category(character)
    if category in ("Mn", "Me"):
        return "K" if unicodedata.combining(character) == 9 else "E"
    if category == "Mc":
        return "K" if unicodedata.combining(character) == 9 else "S"
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return "c"
    return "I" if category == "Lo" and code >= 0x0900 else "o"
