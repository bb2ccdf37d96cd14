"""
The seam at which what happens is counted.

Those who do the work tell a `Meter`; what becomes of that is the meter's business. `UNCOUNTED` makes
nothing of it, and is what everybody has who was given no other. No word of a person's is ever told:
accounts are ours, kinds and outcomes are from short lists.
"""

from __future__ import annotations

from typing import Literal, Protocol

Rejection = Literal["signature", "replay", "schema", "size", "store", "rate", "paused"]
Wait = Literal["agent", "rate_limit", "sender_rate"]
Failing = Literal["rate", "network", "auth", "window", "permanent", "unknown"]


class Meter(Protocol):
    """Is told of what happens; its methods return at once and never raise. Times are seconds."""

    def received(self, channel: str, account: str, kind: str) -> None:
        """An event was stored, and had not been there before."""

    def repeated(self, channel: str) -> None:
        """An event came that was there already."""

    def rejected(self, channel: str, reason: Rejection) -> None:
        """A webhook, or what it brought, was not taken."""

    def acknowledged(self, channel: str, seconds: float) -> None:
        """A webhook was answered, `seconds` after it had been read."""

    def turn_began(self, channel: str, turn: int) -> None:
        """An attempt of a turn began."""

    def turn_ended(self, channel: str, turn: int, outcome: str) -> None:
        """That attempt ended."""

    def sent(self, channel: str, account: str, kind: str, seconds: float) -> None:
        """A platform took something, which is seen now."""

    def not_sent(self, channel: str, account: str, failing: Failing, seconds: float) -> None:
        """A platform did not take something, or nobody knows."""

    def waited(self, what: Wait, channel: str, seconds: float) -> None:
        """Work was held up by a bound of ours."""


class Uncounted:
    """Counts nothing."""

    def _nothing(self, *_: object) -> None:
        pass

    received = repeated = rejected = acknowledged = turn_began = turn_ended = _nothing
    sent = not_sent = waited = _nothing


UNCOUNTED: Meter = Uncounted()
