"""What a running server does again and again: wake what is due, delete what is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Channel
from .errors import ConfigError
from .paused import Paused
from .policy import Policy
from .store import STORE_RETRY, Due, Store
from .store.purging import Cutoffs

_log = Logger()
DUE_AT_ONCE = 1000
"""Conversations that one poll wakes at most; the next poll wakes the next."""
RENEWALS = 3
"""How often a lease is renewed within its time."""
EXCHANGE_PATIENCE = 600.0
"""Seconds for which replies wait that travel in answers only."""


class Upkeep:
    """Looks after one store. `wake` gets what is due; `horizon` is the longest of a redelivery (seconds).

    `trouble` is why the store did not answer the last time, empty if it did.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        horizon: float,
        wake: Callable[[Due], None],
        paused: Paused,
        purge_files: Callable[[], object] | None = None,
    ) -> None:
        self.trouble = ""
        self._store = store
        self._policy = policy
        self._clock = clock
        self._now = now
        self._horizon = horizon
        self._wake = wake
        self._paused = paused
        self._purge_files = purge_files
        self._loops: list[LoopingCall] = []
        self._stopped = False

    def start(self) -> None:
        """Take up what a former server left, and go on from there."""
        self._take_up()
        for work, interval in (
            (self._poll, self._policy.poll_interval),
            (self._keep_alive, self._policy.lease / RENEWALS),
            (self._purge, self._policy.purge_interval),
        ):
            loop = LoopingCall(work)
            loop.clock = self._clock
            loop.start(interval, now=False).addErrback(lambda f: _log.failure("a periodic task ended", f))
            self._loops.append(loop)

    def stop(self) -> None:
        """Leave the store alone."""
        self._stopped = True
        for loop in self._loops:
            if loop.running:
                loop.stop()

    def _take_up(self) -> None:
        """Wake what waits; again, until the store tells."""

        def failed(failure: Failure) -> None:
            self._failed(failure)
            if not self._stopped:
                self._clock.callLater(STORE_RETRY, self._take_up)

        known = self._paused.refresh().addCallback(lambda _: self._store.waiting())
        known.addCallback(self._answered).addErrback(failed)

    def _keep_alive(self) -> Deferred[None]:
        return self._store.keep_alive(self._now()).addErrback(self._failed)

    def _poll(self) -> Deferred[None]:
        due = self._paused.refresh().addCallback(self._due)
        return due.addCallback(self._answered).addErrback(self._failed)

    def _due(self, resumed: bool) -> Deferred[Due]:
        """What has become due; where a pause has ended, all that waited for that."""
        return self._store.waiting() if resumed else self._store.due(self._now(), DUE_AT_ONCE)

    def look_again(self) -> None:
        """Look now: an operator has changed something."""
        if not self._stopped:
            self._poll()

    def _answered(self, due: Due) -> None:
        self.trouble = ""
        self._wake(due)
        if due.owners:
            back = self._store.return_owners(self._now(), DUE_AT_ONCE)
            back.addCallback(self._answered).addErrback(self._failed)

    def _purge(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._purge_chunks()).addErrback(self._failed)

    async def _purge_chunks(self) -> None:
        """Delete what is over, chunk by chunk, so that the writer is never held for long."""
        now, policy = self._now(), self._policy
        kept = policy.retention_seen if policy.retention_seen is not None else policy.retention
        await self._store.close_abandoned(now, now - EXCHANGE_PATIENCE)
        own = _cutoffs(policy, now)
        while await self._store.purge(now - max(kept, self._horizon), now - policy.retention, own):
            pass
        await self._store.stats()
        if self._purge_files is not None:
            self._purge_files()

    def _failed(self, failure: Failure) -> None:
        self.trouble = failure.getErrorMessage()
        _log.error("the store does not answer: {reason}", reason=self.trouble)


def _cutoffs(policy: Policy, now: float) -> Cutoffs:
    """What of each table is over, where its retention is one of its own."""
    own = {
        table: getattr(policy, f"retention_{table}")
        for table in ("events", "turns", "replies", "dead_letters", "audit")
    }
    return Cutoffs(**{table: now - kept for table, kept in own.items() if kept is not None})


def checked_horizon(policy: Policy, channels: Iterable[Channel]) -> float:
    """The longest time within which any of `channels` delivers again (seconds).

    Raises `ConfigError` where dedupe keys would be forgotten before it is over.
    """
    longest = max(channels, key=lambda channel: channel.capabilities.redelivery_horizon)
    horizon = longest.capabilities.redelivery_horizon
    if policy.retention_seen is not None and policy.retention_seen < horizon:
        raise ConfigError(
            f"policy: retention_seen: {policy.retention_seen:g} s is less than the {horizon:g} s within which"
            f" channel {longest.name} may deliver an event again: it would be answered twice"
        )
    return horizon
