"""
Values that must never be shown, and the one place that hides them.

A `Secret` prints as ``Secret(…)`` wherever it ends up. Texts that were made elsewhere (a library's
traceback, a vendor's error) go through `redact`, which knows every `Secret` that is alive, as it
is, percent-encoded and in base64.
"""

from __future__ import annotations

import base64
import hmac
import re
import urllib.parse
import weakref

HIDDEN = "[secret]"
SHORTEST_REDACTED = 6
"""Shorter secrets are not searched for: replacing every "a" of a log would hide the log itself."""


class _Known:
    """The secrets that are alive, and the pattern that finds them, made anew when one was added."""

    def __init__(self) -> None:
        # By identity: of two equal secrets each must be known for itself, since one may outlive the other.
        self._alive: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()
        self._pattern: re.Pattern[str] | None = None
        self._stale = False

    def add(self, secret: Secret) -> None:
        self._alive[id(secret)] = secret
        self._stale = True

    def hide(self, text: str) -> str:
        if self._stale:
            self._stale = False
            # A list made at once: other threads may make secrets meanwhile.
            alive = [secret for ref in self._alive.valuerefs() if (secret := ref()) is not None]
            spellings = {s for secret in alive for s in _spellings(secret.reveal())}
            longest_first = sorted(
                (s for s in spellings if len(s) >= SHORTEST_REDACTED), key=len, reverse=True
            )
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


_known = _Known()


class Secret:
    """A text that is used and never shown; `reveal()` gives it to the code that needs it."""

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        _known.add(self)

    @classmethod
    def hiding(cls, value: object) -> object:
        """`value` with every text in it hidden, for what may be one text or a list of them."""
        if isinstance(value, list | tuple):
            return tuple(cls.hiding(item) for item in value)
        return cls(value) if isinstance(value, str) else value

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def matches(self, candidate: str | bytes) -> bool:
        """Whether `candidate` is this secret, in a time that does not depend on where they differ."""
        other = candidate if isinstance(candidate, bytes) else candidate.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(self._text.encode("utf-8", "surrogatepass"), other)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


def redact(text: str) -> str:
    """`text` with every known secret replaced, in each of the spellings in which it may travel."""
    return _known.hide(text)


def _spellings(text: str) -> set[str]:
    raw = text.encode("utf-8", "surrogatepass")
    found = {text, repr(text)[1:-1], urllib.parse.quote(raw, safe=""), urllib.parse.quote_plus(raw)}
    if len(raw) >= SHORTEST_REDACTED:
        # Base64 of a longer text shows a shorter one at three alignments; its inner characters are constant.
        for shift in range(3):
            inner = base64.b64encode(b"\0" * shift + raw)[(0, 2, 3)[shift] :].rstrip(b"=")
            whole = len(inner) - (0 if (shift + len(raw)) % 3 == 0 else 1)
            found.add(inner[:whole].decode())
            found.add(inner[:whole].decode().replace("+", "-").replace("/", "_"))
    return found
