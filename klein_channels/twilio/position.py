"""
Where in a call a request stands.

Nothing of a call is kept here: each URL that we give to Twilio says which turn comes next, and in which
language and voice. URLs are signed, so nobody else can write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ..model import WebhookRequest
from .forms import base_url, own_query

MOST_WAITS = 90
"""How often a call waits on for one reply: a quarter of an hour, in which its agent has given up."""
_LONGEST_NAME = 100
_OURS = frozenset({"turn", "silent", "wait", "waited", "language", "voice"})


@dataclass(frozen=True, slots=True)
class Position:
    """One request of a call: its `turn` (None at the start), how often in a row nothing was understood.

    `wait` is the id of the event whose replies are asked for again, for the `waited`-th time.
    """

    url: str
    turn: int | None = None
    silent: int = 0
    wait: str | None = None
    waited: int = 0
    language: str | None = None
    voice: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the operator put into the URL."""

    @classmethod
    def of(cls, request: WebhookRequest) -> Position:
        """The position of `request`."""
        query = own_query(request)
        return cls(
            url=base_url(request),
            turn=_number(query.get("turn")),
            silent=_number(query.get("silent")) or 0,
            wait=query.get("wait") or None,
            waited=_number(query.get("waited")) or 0,
            language=_name(query.get("language")),
            voice=_name(query.get("voice")),
            others={name: value for name, value in query.items() if name not in _OURS},
        )

    def next_turn(self, *, silent: int = 0, language: str | None = None, voice: str | None = None) -> str:
        """The URL for what the caller says next."""
        return self._made(turn=(self.turn or 0) + 1, silent=silent, language=language, voice=voice)

    def waiting(self, event: str) -> str:
        """The URL that asks again for the replies to `event`."""
        return self._made(turn=self.turn, silent=self.silent, wait=event, waited=self.waited + 1)

    def _made(
        self,
        *,
        turn: int | None,
        silent: int,
        wait: str | None = None,
        waited: int = 0,
        language: str | None = None,
        voice: str | None = None,
    ) -> str:
        query = {
            **self.others,
            "turn": turn,
            "silent": silent or None,
            "wait": wait,
            "waited": waited or None,
            "language": language or self.language,
            "voice": voice or self.voice,
        }
        known = {name: value for name, value in query.items() if value is not None}
        return f"{self.url}?{urlencode(known, errors='replace')}" if known else self.url


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) < 7 and text.isascii() and text.isdigit() else None


def _name(text: str | None) -> str | None:
    return text if text and len(text) <= _LONGEST_NAME else None
