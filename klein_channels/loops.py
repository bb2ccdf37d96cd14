"""Two bots that answer each other never end: a conversation with more turns than people have is paused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from .buckets import Buckets
from .policy import Policy
from .store import Store

_log = Logger()


class LoopGuard:
    """Counts the turns of each conversation, and pauses one that has too many, for a time."""

    def __init__(self, store: Store, policy: Policy, now: Callable[[], float]) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._turns = Buckets(policy.loop_turns, policy.loop_turns / policy.loop_window)

    def too_many(self, conversation: str) -> bool:
        """Whether the turn that has ended there was one too many."""
        return self._turns.take(conversation, self._now()) > 0

    async def pause(self, conversation: str) -> None:
        """Let it rest, unless it is a human's by now."""
        now, policy = self._now(), self._policy
        if await self._store.rest(conversation, now, now + policy.loop_pause):
            _log.critical(
                "conversation {key} is paused for {pause:g} s: it had {turns} turns within {window:g} s and"
                " goes on, as if two bots answered each other",
                key=conversation,
                pause=policy.loop_pause,
                turns=policy.loop_turns,
                window=policy.loop_window,
            )
        self._turns.refill(conversation)
