"""Channels that are asked for events, where no webhook reaches us: one poll per account, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Polls
from .http import Http
from .intake import Intake
from .store import Cursor, Store

_log = Logger()
DEADLINE = 120.0
"""Seconds for all calls of one poll; a long poll names its own, shorter one."""
OTHERS_REST = 5.0
"""Seconds until it is asked again whether another server still polls."""
FIRST_REST, LONGEST_REST = 1.0, 60.0
"""Seconds of rest after a poll that failed, doubling."""


class Polling:
    """Polls, and moves on only when what came is durable: nothing is lost, at most asked for twice."""

    def __init__(
        self, store: Store, intake: Intake, http: Http, channels: Sequence[Polls], *, clock: IReactorTime
    ) -> None:
        self._store = store
        self._intake = intake
        self._http = http
        self._channels = channels
        self._clock = clock
        self._running: list[Deferred[None]] = []

    def start(self) -> None:
        """Begin to poll; the start of a server does not wait for it."""
        for channel in self._channels:
            account = channel.polled_account
            if account is not None:
                running = Deferred.fromCoroutine(self._run(channel, account))
                self._running.append(running.addErrback(_ended))

    def stop(self) -> None:
        """Ask no more; what was not committed is asked for again by the next server."""
        for running in self._running:
            running.cancel()

    async def _run(self, channel: Any, account: str) -> None:
        name = f"{quote(channel.name, safe='')}:{quote(account, safe='')}"
        rest = FIRST_REST
        while True:
            try:
                if await self._store.may_poll(name):
                    await self._poll_once(channel, name)
                else:
                    await deferLater(self._clock, OTHERS_REST, lambda: None)
                rest = FIRST_REST
            except CancelledError:
                raise
            except Exception as error:
                _log.error(
                    "channel {channel}: the poll failed, again in {rest:g} s: {error}",
                    channel=channel.name,
                    rest=rest,
                    error=error,
                )
                await deferLater(self._clock, rest, lambda: None)
                rest = min(rest * 2, LONGEST_REST)

    async def _poll_once(self, channel: Any, name: str) -> None:
        stored = await self._store.cursor(name)
        cursor = msgspec.json.decode(stored.value) if stored else None
        polled = await self._http.run(channel.poll(cursor), DEADLINE)
        if polled.cursor == cursor and not polled.events:
            return
        moved = Cursor(name=name, value=msgspec.json.encode(polled.cursor))
        if not await self._intake.take(channel, polled.events, moved):
            raise OSError("what it brought could not be stored")


def _ended(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("a poll ended", failure)
