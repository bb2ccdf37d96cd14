"""Credentials that end are renewed before they do, and what they have become survives a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Renews
from .http import Http
from .intake import Intake
from .store import Cursor, Store

_log = Logger()
DEADLINE = 60.0
"""Seconds for all calls of one renewal."""
LONGEST_WAIT = 86_400.0
"""Seconds after which a wait looks at the store again: another process may have renewed."""
REST = 60.0
"""Seconds between two tries where something failed that nobody foresaw, the store above all."""


class Renewal:
    """One wait for each account of the channels whose credentials end; no start waits for one."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        http: Http,
        channels: Sequence[Renews],
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._intake = intake
        self._http = http
        self._channels = channels
        self._clock = clock
        self._now = now
        self._running: list[Deferred[None]] = []

    def start(self) -> None:
        """Go by what is stored, and renew what is due, now and from now on."""
        for channel in self._channels:
            for account in channel.renewable():
                running = Deferred.fromCoroutine(self._run(channel, account))
                self._running.append(running.addErrback(_ended))

    def stop(self) -> None:
        """Renew nothing more."""
        for running in self._running:
            running.cancel()

    async def _run(self, channel: Any, account: str) -> None:
        name = f"renewal:{quote(channel.name, safe='')}:{quote(account, safe='')}"
        refused_until = 0.0
        while True:
            try:
                due = max(await self._restored(channel, account, name), refused_until)
                if due <= self._now():
                    refused_until = await self._renew(channel, account, name)
                    due = refused_until
                wait = min(max(due - self._now(), 1.0), LONGEST_WAIT)
            except CancelledError:
                raise
            except Exception as error:
                _log.error(
                    "channel {channel}: a renewal for {account} failed: {error}",
                    channel=channel.name,
                    account=account,
                    error=error,
                )
                wait = REST
            await deferLater(self._clock, wait, lambda: None)

    async def _restored(self, channel: Any, account: str, name: str) -> float:
        """When what is stored wants to be renewed; at once if nothing is."""
        stored = await self._store.cursor(name)
        due = channel.restore(account, msgspec.json.decode(stored.value)) if stored else None
        return due if due is not None else 0.0

    async def _renew(self, channel: Any, account: str, name: str) -> float:
        renewed = await self._http.run(channel.renew(account, self._now()), DEADLINE)
        if renewed.trouble:
            _log.error("channel {channel}: {trouble}", channel=channel.name, trouble=renewed.trouble)
        if renewed.state is not None:
            kept = Cursor(name=name, value=msgspec.json.encode(renewed.state))
            if not await self._intake.take(channel, (), kept):
                raise OSError("what it brought could not be stored")
        return float(renewed.again_at)


def _ended(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("a renewal ended", failure)
