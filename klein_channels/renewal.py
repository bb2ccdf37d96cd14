"""
Credentials that end are renewed before they do, and what they have become survives a restart.

They lie sealed beside the tokens of joined accounts (`installing`); these here began in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Renews
from .http import Http
from .sealing import Seal
from .store import Store
from .store.database import Database
from .store.grants import SealedGrant, begin_renewal, grants, keep

_log = Logger()
DEADLINE = 60.0
"""Seconds for all calls of one renewal."""
RENEWAL_LASTS = 120.0
"""Seconds for which a renewal is one server's."""
LONGEST_WAIT = 86_400.0
"""Seconds after which a wait looks at the store again: another process may have renewed."""
REST = 60.0
"""Seconds between two tries where something failed that nobody foresaw, the store above all."""


class Renewal:
    """One wait for each account of the channels whose credentials end; no start waits for one."""

    def __init__(
        self,
        store: Store,
        http: Http,
        channels: Sequence[Renews],
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._store = store
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
        refused_until = 0.0
        while True:
            try:
                due = max(await self._restored(channel, account), refused_until)
                if due <= self._now():
                    due = refused_until = await self._renew(channel, account)
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

    async def _restored(self, channel: Any, account: str) -> float:
        """When what is stored wants to be renewed; at once if nothing is, or nothing of use."""
        found = await self._store.look(grants)
        place = (channel.name, account)
        sealed = next((grant.sealed for grant in found if (grant.channel, grant.account) == place), None)
        state = _opened(channel, account, sealed) if sealed is not None else None
        due = channel.restore(account, state) if state is not None else None
        return due if due is not None else 0.0

    async def _renew(self, channel: Any, account: str) -> float:
        """Renew, unless another server does; when to look again."""
        now = self._now()
        if await self._store.operate(lambda db: is_renewed(db, channel.name, account, now)):
            return now + RENEWAL_LASTS
        renewed = await self._http.run(channel.renew(account, now), DEADLINE)
        if renewed.trouble:
            _log.error("channel {channel}: {trouble}", channel=channel.name, trouble=renewed.trouble)
        if renewed.state is not None:
            sealed = _seal(channel).seal(msgspec.json.encode([channel.name, account, renewed.state]))
            kept = SealedGrant(
                channel=channel.name, account=account, sealed=sealed, expires_at=renewed.again_at
            )
            await self._store.operate(lambda db: keep(db, kept, now))
        return float(renewed.again_at)


def is_renewed(db: Database, channel: str, account: str, now: float) -> bool:
    """Whether another server renews what is stored of an account; else it is the caller's for a while."""
    there = any((grant.channel, grant.account) == (channel, account) for grant in grants(db))
    return there and not begin_renewal(db, channel, account, now, now + RENEWAL_LASTS)


def _seal(channel: Any) -> Seal:
    return Seal(channel.seal_key, "renewed credentials")


def _opened(channel: Any, account: str, sealed: bytes) -> Any:
    """What was stored; None if it was sealed with another secret, or for another account."""
    try:
        name, whose, state = msgspec.json.decode(_seal(channel).open(sealed), type=tuple[str, str, Any])
    except ValueError:
        return None
    return state if (name, whose) == (channel.name, account) else None


def _ended(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("a renewal ended", failure)
