"""
Markdown that is said while it is written: each piece as soon as nothing that follows could change it.

A voice cannot take back what it said, so what may still become markup, an address or a sign that is not
said waits for the signs behind it; all other letters go on at once. In whatever pieces a text comes, the
words are the same. It does by signs what `speech` does by the document; tables it reads row by row.
"""

from __future__ import annotations

import html
import re

from .speech import PAUSES, place_of, without_silent_signs

_LONGEST_WAIT = 2000
"""Characters after which something that never ends is said as it is."""
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_MARKS = frozenset("*_~`")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S*", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W_]+")
_JOINER = "\u200d"
_STARTS = ("http://", "https://", "www.")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\](?:\(\s*<?([^\s<>()]*)>?(?:\s+[^()\n]*)?\))?")
_HALF_LINK = re.compile(r"!?\[[^\[\]\n]*(?:\](?:\((?:[^()\n]*)?)?)?\Z")
_ANGLE = re.compile(r"<((?:https?|mailto|tel):[^\s<>]*|/?[A-Za-z!][^<>\n]*)>")
_HALF_ANGLE = re.compile(r"<[A-Za-z/!][^<>\n]*\Z|<\Z")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_HALF_ENTITY = re.compile(r"&(?:#?[a-z0-9]{0,31})?\Z", re.IGNORECASE)
_LINE_START = re.compile(
    r"[ \t]*(?:(?:>|[-+*][ \t]+(?:\[[ xX]\][ \t])?|\#{1,6}[ \t]+)[ \t]*)*"
    r"(?:(?:```+|~~~+)[^\n]*\n|\|?[ \t]*:?-{2,}[-|: \t]*\n|(?:[*_-][ \t]*){3,}\n|=+[ \t]*\n)?"
)
_MAY_BEGIN_A_LINE = re.compile(r"[ \t>*+\-_=#~`|:\[\]xX]*(?:(?:```+|~~~+)[^\n]*)?\Z")
_TRAILING = ".,;:!?'\")]}*_~"


class SpokenStream:
    """Turns a growing text into words for a voice; `feed` it pieces, and `end` it."""

    def __init__(self) -> None:
        self._rest = ""
        self._begins = True
        self._last = ""
        self._gap = ""
        self._after_emoji = False

    def feed(self, piece: str) -> str:
        """The words that can be said now that `piece` is here."""
        self._rest += piece
        return self._said(final=False)

    def end(self) -> str:
        """The last words."""
        return self._said(final=True)

    def _said(self, *, final: bool) -> str:
        said: list[str] = []
        while self._rest:
            taken = self._at_line_start(final) if self._begins else self._within_line(final)
            if taken is None and len(self._rest) > _LONGEST_WAIT:
                taken = 1, self._rest[0]
            if taken is None:
                break
            length, words = taken
            self._rest = self._rest[length:]
            said.append(self._with_gap(words))
        return "".join(said)

    def _with_gap(self, words: str) -> str:
        """`words` behind the pause or the space that stands before them, if there are any."""
        bare = words.strip()
        if not bare:
            if words and not self._gap:
                self._gap = " "
            return ""
        gap = self._gap if self._last else ""
        if words[0].isspace() and not gap and self._last:
            gap = " "
        self._gap = " " if words[-1].isspace() else ""
        self._last = bare[-1]
        return gap + bare

    def _at_line_start(self, final: bool) -> tuple[int, str] | None:
        """Drop what makes a list, a heading, a quote, a rule or a fence."""
        rest = self._rest
        if rest[0] == "\n":
            return 1, ""
        if not final and len(rest) < _LONGEST_WAIT and _MAY_BEGIN_A_LINE.match(rest):
            return None
        found = _LINE_START.match(rest + "\n" if final else rest)
        length = min(found.end() if found else 0, len(rest))
        self._begins = length > 0 and rest[length - 1] == "\n"
        return length, ""

    def _within_line(self, final: bool) -> tuple[int, str] | None:
        rest = self._rest
        sign = rest[0]
        if sign == "\n":
            return self._line_end(final)
        if sign in _MARKS:
            return self._mark(final)
        if sign == "\\":
            if len(rest) == 1 and not final:
                return None
            escaped = rest[1:2] in _PUNCTUATION and rest[1:2] != ""
            return (2, rest[1]) if escaped else (1, sign)
        if sign == "[" or rest.startswith("![") or (sign == "!" and len(rest) == 1 and not final):
            return self._link(final)
        if sign in "<&":
            return self._angle(final) if sign == "<" else self._entity(final)
        if sign == "|":
            self._gap = ", " if self._last and self._last not in PAUSES else " "
            return 1, ""
        return self._word(final)

    def _line_end(self, final: bool) -> tuple[int, str] | None:
        """The end of a line is a pause, unless the sentence goes on behind it."""
        lines = len(self._rest) - len(self._rest.lstrip("\n"))
        follows = self._rest[lines : lines + 1]
        if not follows and not final:
            return None
        self._begins = True
        wraps = lines == 1 and follows.islower()
        pauses = wraps or self._last in PAUSES or not self._last
        self._gap = " " if pauses else ". "
        return lines, ""

    def _mark(self, final: bool) -> tuple[int, str] | None:
        """Stars, underscores and backticks are said only where they can be no markup."""
        rest = self._rest
        run = len(rest) - len(rest.lstrip(rest[0]))
        follows = rest[run : run + 1]
        if not follows and not final:
            return None
        spaced_before = bool(self._gap) or not self._last
        if rest[0] != "`" and spaced_before and follows.isspace():
            return run, rest[:run]
        within = rest[0] == "_" and not self._gap and self._last.isalnum() and follows.isalnum()
        return run, " " if within else ""

    def _link(self, final: bool) -> tuple[int, str] | None:
        rest = self._rest
        if not final and (_HALF_LINK.match(rest) or rest == "!"):
            return None
        found = _LINK.match(rest)
        if found is None:
            return 1, rest[0] if rest[0] == "!" else ""
        words, target = found[1], found[2] or ""
        if not words.strip() or _ADDRESS.fullmatch(words):
            words = place_of(target or words)
        return found.end(), SpokenStream.of(words)

    def _angle(self, final: bool) -> tuple[int, str] | None:
        rest = self._rest
        if not final and _HALF_ANGLE.match(rest):
            return None
        found = _ANGLE.match(rest)
        if found is None:
            return 1, "<"
        inner = found[1]
        return found.end(), place_of(inner) if ":" in inner and inner[0] not in "/!" else ""

    def _entity(self, final: bool) -> tuple[int, str] | None:
        rest = self._rest
        if not final and _HALF_ENTITY.match(rest):
            return None
        found = _ENTITY.match(rest)
        return (found.end(), html.unescape(found[0])) if found else (1, "&")

    def _word(self, final: bool) -> tuple[int, str] | None:
        """Plain letters; an address waits for its end."""
        rest = self._rest
        found = _LETTERS.match(rest)
        if found is None:
            return 1, self._sign(rest[0])
        if self._gap or not self._last.isalnum():
            if rest[:8].lower().startswith(_STARTS):
                return self._address(final)
            if not final and len(rest) < 8 and _is_start(rest.lower()):
                return None
        self._after_emoji = False
        return len(found[0]), found[0]

    def _sign(self, sign: str) -> str:
        """A single sign: an emoji is a gap, and what only joins or colours one is nothing."""
        if sign == _JOINER and self._after_emoji:
            return ""
        said = without_silent_signs(sign)
        self._after_emoji = said != sign
        return said

    def _address(self, final: bool) -> tuple[int, str] | None:
        found = _ADDRESS.match(self._rest)
        assert found is not None, "_word looked"
        if found.end() == len(self._rest) and not final:
            return None
        url = found[0].rstrip(_TRAILING)
        return len(url), place_of(url if "://" in url else f"http://{url}") or url

    @staticmethod
    def of(text: str) -> str:
        """All of `text` at once."""
        stream = SpokenStream()
        return stream.feed(text) + stream.end()


def _is_start(word: str) -> bool:
    """Whether `word` may become the beginning of an address."""
    return bool(word) and any(start.startswith(word) for start in _STARTS)
