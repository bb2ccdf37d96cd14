"""Who wrote to an account of the stand-in, and when: whom it may answer, and for how long."""

from __future__ import annotations

WINDOW = 86_400.0
"""Seconds in which an account may write after a person did."""
HUMAN_AGENT_WINDOW = 7 * 86_400.0


class People:
    """The people of one product's accounts.

    Until `heard` is called for an account everybody is known there and no window closes: who only
    wants to see what would be sent need not play people.
    """

    def __init__(self) -> None:
        self._last: dict[str, dict[str, float]] = {}

    def heard(self, account: str, person: str, at: float) -> None:
        """`person` wrote to `account`; from now on it knows those only of whom it heard."""
        self._last.setdefault(account, {})[person] = at

    def knows(self, account: str, person: str) -> bool:
        """Whether `person` ever wrote to `account`."""
        return account not in self._last or person in self._last[account]

    def within(self, account: str, person: str, now: float, window: float = WINDOW) -> bool:
        """Whether the last word of `person` is no older than `window` seconds."""
        return account not in self._last or now - self._last[account].get(person, 0.0) <= window
