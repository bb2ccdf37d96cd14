"""
What answers: adapters around functions, generators and objects, and agents of our own.

An `AgentBackend` gets a `Turn` and a way to `say` things while it works; whatever it returns at the
end is said with the end of the turn, in the same transaction. `as_backend` makes one of anything
that the documentation calls an agent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, runtime_checkable

from twisted.internet.defer import Deferred

from ..model import Turn

Say: TypeAlias = Callable[[object], "Deferred[None]"]
"""Takes anything that `replies.read_reply` reads; fires when it is committed."""

current_turn: ContextVar[Turn] = ContextVar("klein_channels.current_turn")
"""The turn that is being answered, for code far below an agent's function."""


@runtime_checkable
class AgentBackend(Protocol):
    """Answers turns."""

    deterministic: bool
    """Whether a second attempt at a turn says the same; then it goes on where the first ended."""

    def answer(self, turn: Turn, say: Say) -> Deferred[Any]:
        """Answer `turn`; the result is the last reply, or None.

        Cancelling the Deferred gives the turn up. Raise `AgentUnreachable` to let it wait.
        """


@runtime_checkable
class HasThreads(Protocol):
    """A backend whose turns need a thread each, which cannot be taken away from them."""

    capacity: int
    """Turns that may run at once."""

    def start(self, reactor: Any) -> None:
        """Start the threads."""

    def stop(self) -> None:
        """Take no more turns; threads that still work are left to end with the process."""

    def still_working(self, turn: Turn) -> Deferred[None] | None:
        """Fires when the thread of a cancelled turn is back; None if it is."""

    def write_off(self, turn: Turn) -> bool:
        """Replace the thread of a cancelled turn; False if too many were replaced before."""
